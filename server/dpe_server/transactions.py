"""Registrations under way: from REQUEST to the end of the transaction's life, in memory only and bounded.

A transaction is known by its TH1 (a resent REQUEST gets the same RESPONSE) and by its Client ID (SUCCESS names it). It
stays for its whole life of 300 s, so that resent messages get the same bytes; the oldest goes first when a device has
more than four, or all devices together more than the table holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from dpe_coap.imei import Imei
from dpe_coap.keys import ConfirmStep, SuccessStep
from dpe_coap.messages import Version
from dpe_server.policy import Accept
from dpe_server.reply import Reply

_Key = TypeVar("_Key")

LIFE = 300.0
"""Seconds a transaction lives (docs/protocol.md, "State machines")."""
PER_DEVICE = 4
TOTAL = 65_536


class State(Enum):
    """Where a transaction stands."""

    ANSWERED = "answered with a refusal"
    PENDING = "Client ID offered"
    COMMITTING = "SUCCESS verified, not durable yet"
    ESTABLISHED = "session durable"
    RELEASED = "declined by the client"
    SUPERSEDED = "a newer registration of the device won"


class Event(Enum):
    """What moves a transaction on."""

    CONFIRMED = "SUCCESS with status ok"
    DECLINED = "SUCCESS with another status"
    COMMITTED = "the commit is durable"
    STORE_FAILED = "the commit failed"
    NEWER_WON = "a newer registration of the device is durable"


TRANSITIONS = {
    (State.PENDING, Event.CONFIRMED): State.COMMITTING,
    (State.PENDING, Event.DECLINED): State.RELEASED,
    (State.COMMITTING, Event.COMMITTED): State.ESTABLISHED,
    (State.COMMITTING, Event.STORE_FAILED): State.PENDING,
    (State.COMMITTING, Event.NEWER_WON): State.SUPERSEDED,
    (State.ESTABLISHED, Event.NEWER_WON): State.SUPERSEDED,
}
"""The whole state machine. Beside it, a transaction may go at any time: its life ends, or a bound evicts it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the server offered with status ok, and what SUCCESS needs."""

    client_id: int
    imei: Imei
    version: Version
    firmware: str | None
    suite: int
    accept: Accept
    step: SuccessStep


@dataclass(slots=True, eq=False)
class Transaction:
    """One REQUEST whose security token was valid, and what became of it."""

    th1: bytes = field(repr=False)
    device: bytes = field(repr=False)
    """Keyed hash of the IMEI."""
    ordinal: int
    """Order of the REQUEST among all that the server has answered."""
    ends: float
    """When its life ends (monotonic seconds)."""
    response: Reply = field(repr=False)
    offer: Offer | None = field(default=None, repr=False)
    """None when the answer was a refusal."""
    state: State = State.ANSWERED
    success: bytes = field(default=b"", repr=False)
    """The SUCCESS that was accepted; the same bytes get the same answer."""
    confirm_step: ConfirmStep | None = field(default=None, repr=False)
    answer: Reply | None = field(default=None, repr=False)
    """The reply to SUCCESS, once there is one."""

    def move(self, event: Event) -> None:
        """Go to the next state; KeyError where TRANSITIONS has none."""
        self.state = TRANSITIONS[self.state, event]


class Transactions:
    """The bounded table of transactions."""

    def __init__(self, *, total: int = TOTAL) -> None:
        self._total = total
        self._by_th1: dict[bytes, Transaction] = {}  # insertion order is the order of age
        self._by_client_id: dict[int, list[Transaction]] = {}
        self._by_device: dict[bytes, list[Transaction]] = {}

    def __len__(self) -> int:
        """How many transactions there are."""
        return len(self._by_th1)

    def of_request(self, th1: bytes) -> Transaction | None:
        """Return the transaction that a REQUEST with this TH1 began."""
        return self._by_th1.get(th1)

    def of_client_id(self, client_id: int) -> list[Transaction]:
        """Return the transactions in which this Client ID was offered."""
        return self._by_client_id.get(client_id, [])

    def of_device(self, device: bytes) -> list[Transaction]:
        """Return the transactions of one device, the oldest first."""
        return self._by_device.get(device, [])

    def is_reserved(self, client_id: int) -> bool:
        """Say whether a transaction that may still be confirmed holds this Client ID."""
        return any(t.state in (State.PENDING, State.COMMITTING) for t in self.of_client_id(client_id))

    def add(self, transaction: Transaction) -> None:
        """Take in a new transaction; the oldest of the device, or of all, makes room when a bound is reached."""
        mine = self.of_device(transaction.device)
        if len(mine) >= PER_DEVICE:
            self.remove(mine[0])
        elif len(self) >= self._total:
            self.remove(next(iter(self._by_th1.values())))
        self._by_th1[transaction.th1] = transaction
        self._by_device.setdefault(transaction.device, []).append(transaction)
        if transaction.offer is not None:
            self._by_client_id.setdefault(transaction.offer.client_id, []).append(transaction)

    def remove(self, transaction: Transaction) -> None:
        """Forget a transaction."""
        del self._by_th1[transaction.th1]
        _discard(self._by_device, transaction.device, transaction)
        if transaction.offer is not None:
            _discard(self._by_client_id, transaction.offer.client_id, transaction)

    def expire(self, now: float) -> None:
        """Forget all whose life has ended."""
        for transaction in list(self._ended(now)):
            self.remove(transaction)

    def _ended(self, now: float) -> Iterator[Transaction]:
        for transaction in self._by_th1.values():
            if transaction.ends > now:
                return
            yield transaction


def _discard(index: dict[_Key, list[Transaction]], key: _Key, transaction: Transaction) -> None:
    entries = index[key]
    entries.remove(transaction)
    if not entries:
        del index[key]
