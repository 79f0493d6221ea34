"""The state machine of a registration under way, from REQUEST to the end of the transaction's life.

A transaction is known by its TH1 (a resent REQUEST gets the same RESPONSE) and by its Client ID (SUCCESS names it).
``transaction_table.py`` keeps them.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from dpe_coap.keys import ConfirmStep, SuccessStep
from dpe_coap.messages import Version
from dpe_coap.numbers import Status
from dpe_server.policy import Terms

LIFE = 300.0
"""Seconds a transaction lives (docs/protocol.md, "State machines")."""

NO_TH3 = bytes(32)
"""The TH3 of a transaction whose SUCCESS has not come."""


class _Named(IntEnum):
    """A number with a meaning in words."""

    meaning: str

    def __new__(cls, number: int, meaning: str) -> "_Named":
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member


class State(_Named):
    """Where a transaction stands."""

    ANSWERED = 0, "answered with a refusal"
    PENDING = 1, "Client ID offered"
    COMMITTING = 2, "SUCCESS verified, not durable yet"
    ESTABLISHED = 3, "session durable"
    RELEASED = 4, "declined by the client"
    SUPERSEDED = 5, "a newer registration of the device won"


class Event(_Named):
    """What moves a transaction on."""

    CONFIRMED = 0, "SUCCESS with status ok"
    DECLINED = 1, "SUCCESS with another status"
    COMMITTED = 2, "the commit is durable"
    STORE_FAILED = 3, "the commit failed, or is unknown"
    NEWER_WON = 4, "a newer registration of the device is durable"


TRANSITIONS = {
    (State.PENDING, Event.CONFIRMED): State.COMMITTING,
    (State.PENDING, Event.DECLINED): State.RELEASED,
    (State.COMMITTING, Event.COMMITTED): State.ESTABLISHED,
    (State.COMMITTING, Event.STORE_FAILED): State.PENDING,
    (State.COMMITTING, Event.NEWER_WON): State.SUPERSEDED,
    (State.ESTABLISHED, Event.NEWER_WON): State.SUPERSEDED,
}
"""The whole state machine. In any state a transaction may also go: its life ends, or a bound evicts it."""


@dataclass(slots=True)
class Offer:
    """What the server offered with status ok, and what it needs when SUCCESS comes."""

    client_id: int
    imei: bytes = field(repr=False)
    """Packed, 7 bytes."""
    version: Version
    firmware: str | None
    suite: int
    epoch: int
    """The key epoch of its credential."""
    terms: Terms
    prk3: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class Transaction:
    """One REQUEST whose security token was valid, and what became of it."""

    th1: bytes = field(repr=False)
    device: bytes = field(repr=False)
    """Keyed hash of the IMEI (16 bytes)."""
    freshness: int
    """Of the handle in REQUEST, beside others of the device (``keys.ring.freshness``)."""
    ordinal: int
    """Order of the REQUEST among all that the server has answered."""
    ends: float
    """When its life ends (monotonic seconds)."""
    status: Status
    """The status in the RESPONSE."""
    response: bytes = field(repr=False)
    """The RESPONSE as it was sent."""
    offer: Offer | None = None
    """None when the answer was a refusal."""
    state: State = State.ANSWERED
    th3: bytes = field(default=NO_TH3, repr=False)
    """Names the SUCCESS that was accepted; the same bytes get the same answer."""

    @property
    def success_step(self) -> SuccessStep:
        """The key schedule after the RESPONSE, of a transaction with an offer."""
        assert self.offer is not None
        return SuccessStep.after(self.th1, self.response, self.offer.prk3)

    @property
    def confirm_step(self) -> ConfirmStep:
        """The key schedule after SUCCESS."""
        assert self.offer is not None
        return ConfirmStep(self.th3, self.offer.prk3)
