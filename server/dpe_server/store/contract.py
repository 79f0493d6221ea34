"""The store's contract, to which ``tests/server/store/contract`` holds every store.

Handlers ask ``Questions`` and get ``Facts``, all in one round trip; what they decide is a list of changes, which
``commit`` makes durable in one transaction. Everything is checked again in the commit: facts may be old by then.
Commits of different processes take effect one after the other. A look sees every commit, by any process, that ended
before the look began.

A device is named by the keyed hash of its IMEI (16 bytes, ``AtRest.device_id``), a Client ID is an integer of 56 bits.
Times are whole Unix seconds, by the clock of the machine that has the database.

A device has one row. When its session ends, everything goes but the device's name and the session's ordinal: this trace
refuses a SUCCESS that comes late, which would bring the same keys back.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from dpe_coap.errors import DpeError
from dpe_coap.messages import Version
from dpe_coap.session_messages import Items
from dpe_server.store.changes import Changes, Standing
from dpe_server.store.listing import Listed, Wanted
from dpe_server.store.questions import Facts, Questions

NOBODY = bytes(16)
"""The name of no device. Whoever has proved nothing is looked up by it, so that the time does not reveal that.

A store has a row for it, as for a restricted device, but without a restriction.
"""


class StoreError(DpeError):
    """The store cannot be read, or the changes are not durable. Holds no data of any device."""


class CommitUnknown(StoreError):
    """Whether the changes are durable is not known, and they may become so later.

    Sessions and requests may be given again, any number of times and to any node: that settles it. One exception: a
    ``Deregister`` that was durable is NOT_ACCEPTED then, as its session is gone and with it what would show whose it
    was.
    """


class ReplacedError(StoreError):
    """The store is not the one whose last beat is remembered: it was put back, or has lost what it had acknowledged."""


class ForgottenError(ReplacedError):
    """What is remembered says nothing: the store has beats, and all are newer, or no beat is remembered."""


class MixedError(ReplacedError):
    """A part of the store was put back and a part was not. No command can mend that; a backup can."""


# What is stored


@dataclass(slots=True, kw_only=True, unsafe_hash=True)  # not frozen, which takes three times as long to make
class Session:
    """An established DPE session, and the profile record of its device. Given to ``commit``: establish it."""

    client_id: int
    device: bytes = field(repr=False)
    sealed_imei: bytes = field(repr=False)
    version: Version
    firmware: str | None
    suite: int
    """1 plain, 2 X25519."""
    rule: str
    """The name of the policy rule that accepted the device."""
    ordinal: int
    """Of two sessions of a device, the one with the higher ordinal is from the newer REQUEST. Positive, below 2^63.

    Ordinals rise across restarts and across all processes that share the store, with gaps (``OrdinalSource``).
    """
    established_at: int
    lifetime: int | None
    """Seconds from the device's last contact to the end; None: without end."""
    expires_at: int | None
    """The session is over from this second on; None: it has no end."""
    th3: bytes = field(repr=False)
    """32 bytes."""
    success_hash: bytes = field(repr=False)
    """SHA-256 of the SUCCESS message, 32 bytes."""
    confirm: bytes = field(repr=False)
    """The CONFIRM message, sent again when SUCCESS comes again."""
    sealed_keys: bytes = field(repr=False)
    """The master secret and the master salt of its OSCORE context."""
    mark: int | None = None
    """The highest number of a request that was accepted; None: none yet."""
    seen_at: int | None = None
    """When the device last refreshed the session; None: not yet."""
    record: bytes = field(default=b"", repr=False)
    """What the device has reported (``record.py``)."""
    epoch: int | None = None
    """The key epoch of the credential that it was begun with; None: an earlier version began it, and did not say."""


# What changes


class Revoke(NamedTuple):
    """Put ``device`` on the revocation list as of ``at``, and end its session. A listed device keeps its date."""

    device: bytes
    at: int


class Unrevoke(NamedTuple):
    """Take ``device`` from the revocation list. Its minimum epoch stays, and it gets no session back."""

    device: bytes


class End(NamedTuple):
    """End the session of ``device`` as of ``at``."""

    device: bytes
    at: int


class RestrictEpoch(NamedTuple):
    """Set the lowest key epoch (0 to 255) accepted from ``device``."""

    device: bytes
    minimum_epoch: int


class SetMinimumEpoch(NamedTuple):
    """Set the lowest key epoch (0 to 255) accepted from any device."""

    minimum_epoch: int


class Forget(NamedTuple):
    """End the session of ``device``, date its trace to ``at``, and drop its minimum epoch and its own policies.

    A revocation stays.
    """

    device: bytes
    at: int


class OverridePolicies(NamedTuple):
    """Have ``device`` report by these policies instead of its rule's, in this session and all later ones.

    They are encoded as in a dpe-answer (at most 1,010 bytes). None: by the rule's again.
    """

    device: bytes
    policies: bytes | None


Measure = Revoke | Unrevoke | End | Forget | RestrictEpoch | SetMinimumEpoch | OverridePolicies
"""What an operator changes."""


class Contact(NamedTuple):
    """Accept a request of a session: raise its mark, set what the device reports, and begin its lifetime anew."""

    client_id: int
    ordinal: int
    """As it was read with the keys that the request was verified with."""
    number: int
    """Its Partial IV."""
    attempt: bytes
    """16 bytes, drawn for this request and kept when it is committed again: only who drew them may answer it."""
    items: Items | None
    """Encoded properties and values; empty: none is reported. None: raise the mark and do nothing else."""
    lifetime: int | None
    """Seconds from now to the session's end; None: without end."""

    def __repr__(self) -> str:
        """Show nothing that was reported."""
        return f"Contact(number={self.number})"


class Deregister(NamedTuple):
    """Accept a request that ends a session."""

    client_id: int
    ordinal: int
    number: int


Change = Session | Contact | Deregister | Measure


class Outcome(StrEnum):
    """What became of a change given to ``Store.commit``."""

    COMMITTED = "committed"
    """It is durable, now or since an earlier commit of the same SUCCESS."""
    REPLACED = "replaced"
    """It is durable, and the device's session before it is gone."""
    SESSION_ENDED = "session-ended"
    """It is durable, and has ended the session."""
    UNCHANGED = "unchanged"
    """There was nothing to lift, to end or to forget."""
    SUPERSEDED = "superseded"
    """A registration of the same device that is at least as new is durable already."""
    ENDED = "ended"
    """A registration of the same device that is at least as new was durable, and its session has ended."""
    CLIENT_ID_TAKEN = "client-id-taken"
    """Another device's session has the Client ID."""
    REVOKED = "revoked"
    """The device is on the revocation list."""
    TOO_LARGE = "too-large"
    """The mark is raised and nothing else: the record would have too many properties, or too large ones."""
    NOT_ACCEPTED = "not-accepted"
    """The session is over, or another one; or its mark is not below the number."""


# What operators ask


class Stats(NamedTuple):
    """How much a store holds."""

    live: int
    """Sessions that are live."""
    ended: int
    """Sessions past their end, and traces of sessions that have ended."""
    revoked: int
    """Devices on the revocation list."""


class Examination(NamedTuple):
    """What is found in a store that is examined without being opened for use."""

    schema: int
    """The version of its schema."""
    newest: int
    """The newest version that this program knows."""
    faults: list[str]
    """What is damaged, one line for each fault."""


class Beat(NamedTuple):
    """A sign of life in the store, which whoever wrote it remembers elsewhere too: so he knows the store again."""

    number: int
    random: bytes
    """8 bytes."""


BEATS = 20_000
"""How many beats a store keeps of each server: two weeks of one each minute."""
RECOVERY_GAP = 1 << 20
"""By how much a recovery moves the last ordinal on: what was committed after the backup is not known."""

COMMIT_PATIENCE = 1.5
"""Seconds that a registration's commit waits for other writers: a device asks again after 2 s at the soonest."""
OPERATOR_PATIENCE = 5.0
"""Seconds that an operator's commit waits for other writers."""

PRUNE_CHUNK = 500
"""The most sessions that are ended or deleted at once, so that registrations need not wait long."""
TRACE = 3_600
"""Seconds that the trace of an ended session is kept at least. No transaction lives longer than 300 s, and no commit is
tried again for longer than 600 s."""


class Expired(NamedTuple):
    """A session whose end had come."""

    client_id: int
    device: bytes
    ordinal: int


class Store(Protocol):
    """Durable sessions. One thread may commit while another reads; a read never shows half a commit.

    Every method raises StoreError when the store does not answer.
    """

    @property
    def remote(self) -> bool:
        """Whether a look takes a network's time, so that the event loop must not wait for it."""

    def wall(self) -> float:
        """Return Unix time by the clock of the machine that has the database, as known here: nothing is asked."""

    def look(self, questions: Questions) -> Facts:
        """Answer all of a batch's questions in one round trip."""

    def commit(self, changes: Sequence[Change], *, patience: float = COMMIT_PATIENCE) -> list[Outcome]:
        """Make changes durable in one transaction and say what became of each, in order.

        They take effect in the order given. For a session, the first of these that applies: REVOKED if its device is
        revoked; COMMITTED, again, if it has the SUCCESS of its device's session; SUPERSEDED if it is not newer than its
        device's session, ENDED if it is not newer than the trace of one; CLIENT_ID_TAKEN if another device's session,
        live or over, has its Client ID. Otherwise it is REPLACED, profile and all, if its device has a session, and
        else COMMITTED.

        A request of a session is NOT_ACCEPTED if no live session has its Client ID and its ordinal, or if the mark is
        not below its number; but COMMITTED, again and without any change, if the mark and the attempt are its own. What
        it reports is merged with the record as it is by then, as a whole or, if that is TOO_LARGE, not at all.

        ``patience`` is how many seconds to wait for other writers, and for a database elsewhere to answer. Raises
        StoreError, or LocalError if a minimum epoch is not 0 to 255: then nothing has happened. Raises CommitUnknown
        when a database elsewhere did not answer in time: then that is not known.
        """

    def last_ordinal(self) -> int:
        """Return the highest ordinal ever committed, even by a session that is gone; 0 if there was none."""

    def expire(self, now: int) -> list[Expired]:
        """End sessions that are over at ``now``, PRUNE_CHUNK of them at most; return which."""

    def prune(self, before: int) -> int:
        """Delete traces of sessions that ended before ``before``, PRUNE_CHUNK of them at most; return how many."""

    def prepare_purge(self) -> None:
        """Do most of the work of ``purge`` beforehand, beside those who read and commit; StoreError."""

    def purge(self) -> bool:
        """Remove from the disk what is left there of what was ended or deleted; False if readers prevent that now."""

    def beat(self, remembered: Beat | None, random: bytes) -> Beat:
        """Append a beat with these 8 bytes, if ``remembered`` is in the store unchanged; keep the last BEATS.

        With none remembered, there must be none. Otherwise ReplacedError or ForgottenError, and nothing has happened.
        """

    def drop_changes(self, after: int, before: int) -> int | None:
        """Drop what nobody need read any more of the changes after number ``after``, some of them at once.

        These are changes that were made before ``before``, and of others the sessions that have changed again since.
        The newest change stays. Returns the number after which to go on; None: that was all.
        """

    def close(self) -> None:
        """Release the database."""

    # For operators

    def session(self, client_id: int) -> Session | None:
        """Return the session with this Client ID, even past its end, until ``expire`` ends it."""

    def session_of(self, device: bytes) -> Session | None:
        """Return the session of a device, even past its end, until ``expire`` ends it."""

    def live(self, now: int) -> Iterator[Session]:
        """Yield the sessions that are live at ``now``, by ascending Client ID.

        Nothing is held open while the caller takes its time, so it is not one moment: a session that lasts as long as
        this takes is there once; one that begins, ends or is replaced meanwhile may be there or not.
        """

    def listed(self, wanted: Wanted, now: int) -> Iterator[Listed]:
        """Yield those sessions of ``live`` that are wanted, with what a list has of them."""

    def next_listed(self, after: int, most: int) -> list[Listed]:
        """Return sessions with a Client ID above ``after``, live or not, by ascending Client ID; ``most`` at most."""

    def count(self, wanted: Wanted, now: int) -> int:
        """Return how many sessions that are live at ``now`` are wanted."""

    def standing(self) -> Standing:
        """Return which changes there are. ReplacedError if another file is in the place of the one that is open."""

    def changes(self, after: int, most: int) -> list[Changes]:
        """Return the changes after number ``after``, of ``most`` commits at most, in the order of the commits.

        A commit that changes what is reported, or ends sessions, is one change. A session that ended in it is named; of
        one that changed comes all that it has when this is read. If several changes that are read here are of one
        session, only the last has it. So whoever has read all changes in their order, some perhaps twice, has what the
        store has.
        """

    def stats(self, now: int) -> Stats:
        """Count what is there."""

    def measures(self) -> Iterator[Measure]:
        """Yield what operators have imposed and not lifted, as the measures that impose it: by device, then of all."""

    def recover(self, measures: Iterable[Measure], at: int) -> int:
        """End all sessions as of ``at``, move the last ordinal on by RECOVERY_GAP, and apply measures, in one commit.

        A new history of changes begins with it.

        Returns how many sessions have ended.
        """

    def beat_anew(self, after: int, random: bytes) -> Beat:
        """Append a beat after number ``after`` and after all that there are. An operator vouches for the store."""
