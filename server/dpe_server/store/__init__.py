"""The store's contract: what the registrar asks of a database. ``sqlite.py`` is the one that comes with the server."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from dpe_coap.errors import DpeError
from dpe_coap.messages import Version


class StoreError(DpeError):
    """The store cannot be read, or what was asked is not durable. Holds no data of any device."""


class Outcome(Enum):
    """What became of a session given to ``Store.commit``."""

    COMMITTED = "committed"
    """It is durable, now or since an earlier commit of the same SUCCESS."""
    SUPERSEDED = "superseded"
    """A registration of the same device that is at least as new is durable already."""
    CLIENT_ID_TAKEN = "client-id-taken"
    """Another device's live session holds the Client ID."""
    REVOKED = "revoked"
    """The device is on the revocation list."""


@dataclass(frozen=True, slots=True)
class Session:
    """An established DPE session, and the initial profile record of its device. Times are whole Unix seconds."""

    client_id: bytes
    """7 bytes."""
    device: bytes = field(repr=False)
    """The keyed hash of the IMEI, 16 bytes (``AtRest.device_id``)."""
    sealed_imei: bytes = field(repr=False)
    version: Version
    firmware: str | None
    suite: int
    """1 plain, 2 X25519."""
    rule: str
    """The name of the policy rule that accepted the device."""
    ordinal: int
    """The registrar's count of accepted REQUESTs; of two sessions of a device the higher is the newer."""
    established_at: int
    expires_at: int | None
    """The session is over from this second on; None: it has no end."""
    th3: bytes = field(repr=False)
    """32 bytes."""
    success_hash: bytes = field(repr=False)
    """SHA-256 of the SUCCESS message, 32 bytes."""
    confirm: bytes = field(repr=False)
    """The CONFIRM message, sent again when SUCCESS comes again."""
    sealed_keys: bytes = field(repr=False)
    properties: str
    """JSON."""
    policies: str
    """JSON."""


class Confirmed(NamedTuple):
    """What was answered to the SUCCESS that established a session, to be answered again."""

    success_hash: bytes
    """SHA-256 of the SUCCESS message, 32 bytes; zeros when there is no session. Then the rest means nothing."""
    expires_at: int | None
    """The session is over from this second on; None: it has no end."""
    confirm: bytes


@dataclass(frozen=True, slots=True)
class Restriction:
    """What an operator has laid on one device."""

    revoked: bool
    minimum_epoch: int
    """The lowest key epoch accepted of this device, 0 to 255."""


class Store(Protocol):
    """Durable sessions. One thread may commit while another reads; a read never shows half a batch.

    Every method raises StoreError when the store does not answer.
    """

    def sessions(self, client_ids: Collection[bytes]) -> dict[bytes, Session]:
        """Return the sessions that hold these Client IDs, by Client ID; those past their end too, until pruned."""

    def confirmed(self, client_ids: Collection[bytes]) -> dict[bytes, Confirmed]:
        """Return how each of these Client IDs was confirmed; of sessions past their end too, until pruned.

        Where no session holds it, ``Confirmed`` fits no SUCCESS: finding none is not to be quicker.
        """

    def sessions_of(self, devices: Collection[bytes]) -> dict[bytes, Session]:
        """Return the sessions of these devices, by device; those past their end too, until pruned."""

    def held(self, client_ids: Collection[int]) -> set[int]:
        """Return those of these Client IDs, big-endian integers, that are in use."""

    def taken(self, first: int, last: int) -> set[int]:
        """Return the Client IDs in use from ``first`` to ``last``, both included, as big-endian integers."""

    def restrictions(self, devices: Collection[bytes]) -> dict[bytes, Restriction]:
        """Return what is laid on these devices; a device with nothing laid on it is absent."""

    def minimum_epoch(self) -> int:
        """Return the lowest key epoch accepted of any device, 0 to 255."""

    def last_ordinal(self) -> int:
        """Return the highest ordinal ever committed, or 0."""

    def commit(self, sessions: Sequence[Session]) -> list[Outcome]:
        """Make a batch durable in one transaction and say what became of each session, in order.

        In the order given, a session: of a revoked device is REVOKED; with the SUCCESS of its device's session is
        COMMITTED again; not newer than its device's session is SUPERSEDED; with the Client ID of another device's
        session, even if that one is over, is CLIENT_ID_TAKEN; else replaces its device's session, profile and all.
        Raises StoreError: then nothing of the batch happened.
        """

    def close(self) -> None:
        """Release the database."""
