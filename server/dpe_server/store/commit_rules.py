"""What a commit makes of its changes: the rules of ``Store.commit``, free of any database."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from dpe_coap.errors import LocalError
from dpe_server.store import record
from dpe_server.store.contract import (
    Beat,
    Change,
    Contact,
    Deregister,
    ForgottenError,
    Measure,
    Outcome,
    ReplacedError,
    RestrictEpoch,
    Session,
    SetMinimumEpoch,
)


class Registered(NamedTuple):
    """Neighbouring sessions of a commit."""

    sessions: list[Session]


class Accepted(NamedTuple):
    """Neighbouring requests of sessions, of a commit."""

    requests: list[Contact | Deregister]


def steps(changes: Iterable[Change]) -> Iterator[Registered | Accepted | Measure]:
    """Yield the changes in order, neighbours of one sort together. LocalError at an epoch that is not 0 to 255."""
    sessions: list[Session] = []
    requests: list[Contact | Deregister] = []
    for change in changes:
        if sessions and not isinstance(change, Session):
            yield Registered(sessions)
            sessions = []
        if requests and not isinstance(change, (Contact, Deregister)):
            yield Accepted(requests)
            requests = []
        if isinstance(change, Session):
            sessions.append(change)
        elif isinstance(change, (Contact, Deregister)):
            requests.append(change)
        else:
            if isinstance(change, (RestrictEpoch, SetMinimumEpoch)) and not 0 <= change.minimum_epoch <= 255:
                raise LocalError(f"not a key epoch: {change.minimum_epoch}", hint="an epoch is 0 to 255")
            yield change
    if sessions:
        yield Registered(sessions)
    if requests:
        yield Accepted(requests)


class Stored(Protocol):
    """What must be known of a device's row; a ``Session`` will do. The trace of an ended session has no Client ID."""

    @property
    def client_id(self) -> int | None: ...  # noqa: D102
    @property
    def device(self) -> bytes: ...  # noqa: D102
    @property
    def ordinal(self) -> int: ...  # noqa: D102
    @property
    def success_hash(self) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Effect:
    """What sessions change in the store: first some sessions end, then others start, in order."""

    outcomes: list[Outcome]
    ended: list[int]
    """Client IDs."""
    replaced: list[int]
    """Client IDs of all stored sessions that give way to newer ones of their devices."""
    started: list[Session]
    """Each takes the place of its device's session, if the device still has one."""


def decide(sessions: Sequence[Session], stored: Iterable[Stored], revoked: AbstractSet[bytes]) -> Effect:
    """Judge ``sessions`` in order, each against those before it and against what the store has.

    ``stored`` has the store's rows with a Client ID or a device of ``sessions``; ``revoked`` has the revoked devices.
    """
    latest: dict[bytes, Stored] = {row.device: row for row in stored}
    holders: dict[int, Stored] = {row.client_id: row for row in latest.values() if row.client_id is not None}
    started: dict[int, Session] = {}
    ended: dict[int, bytes] = {}

    def judge(session: Session) -> Outcome:
        if session.device in revoked:
            return Outcome.REVOKED
        mine = latest.get(session.device)
        if mine and mine.client_id is not None and mine.success_hash == session.success_hash:
            return Outcome.COMMITTED
        if mine and mine.ordinal >= session.ordinal:
            return Outcome.ENDED if mine.client_id is None else Outcome.SUPERSEDED
        holder = holders.get(session.client_id)
        # Even if that session is over: its device may have nothing else that refuses an older SUCCESS.
        if holder and holder.device != session.device:
            return Outcome.CLIENT_ID_TAKEN
        outcome = Outcome.COMMITTED
        if mine and mine.client_id is not None:
            outcome = Outcome.REPLACED
            del holders[mine.client_id]
            if started.pop(mine.client_id, None) is None:
                ended[mine.client_id] = mine.device
        holders[session.client_id] = latest[session.device] = started[session.client_id] = session
        return outcome

    outcomes = [judge(session) for session in sessions]
    # A device's new session replaces its row. Only where another device has its old Client ID by then must the row go
    # first.
    gone = [
        client_id for client_id, device in ended.items() if client_id in started and started[client_id].device != device
    ]
    return Effect(outcomes, gone, list(ended), list(started.values()))


class InSession(NamedTuple):
    """What must be known of a session before a request of it is accepted, and what it is afterwards."""

    client_id: int
    ordinal: int
    mark: int | None
    attempt: bytes | None
    seen_at: int | None
    lifetime: int | None
    expires_at: int | None
    record: bytes


@dataclass(frozen=True, slots=True)
class Contacts:
    """What requests change in the store."""

    outcomes: list[Outcome]
    ended: list[int]
    """Client IDs."""
    changed: list[InSession]


def accept(requests: Sequence[Contact | Deregister], stored: Iterable[InSession], now: int) -> Contacts:
    """Judge ``requests`` in order, each against those before it and against the sessions that the store has.

    ``stored`` has the sessions with a Client ID of ``requests``; ``now`` is the time of the machine that has the
    database.
    """
    live = {row.client_id: row for row in stored if row.expires_at is None or row.expires_at > now}
    changed: dict[int, InSession] = {}
    ended: list[int] = []
    committed = Outcome.COMMITTED

    def judge(request: Contact | Deregister) -> Outcome:
        client_id = request.client_id
        row = live.get(client_id)
        if row is None or row.ordinal != request.ordinal:
            return Outcome.NOT_ACCEPTED
        if row.mark is not None and request.number <= row.mark:
            if isinstance(request, Deregister) or (request.number, request.attempt) != (row.mark, row.attempt):
                return Outcome.NOT_ACCEPTED
            # All that it changes was changed then, and keeps its time.
            too_large = request.items is not None and record.merge(row.record, request.items, now) is None
            return Outcome.TOO_LARGE if too_large else committed
        if isinstance(request, Deregister):
            del live[client_id]
            changed.pop(client_id, None)
            ended.append(client_id)
            return Outcome.SESSION_ENDED
        merged = None if request.items is None else record.merge(row.record, request.items, now)
        if merged is None:
            row = row._replace(mark=request.number, attempt=request.attempt)
        else:
            lifetime = request.lifetime
            expires_at = None if lifetime is None else now + lifetime
            # Not by _replace, which takes three times as long.
            row = InSession(client_id, row.ordinal, request.number, request.attempt, now, lifetime, expires_at, merged)
        live[client_id] = changed[client_id] = row
        return committed if merged is not None or request.items is None else Outcome.TOO_LARGE

    outcomes = [judge(request) for request in requests]
    return Contacts(outcomes, ended, list(changed.values()))


def check_beat(remembered: Beat | None, found: bytes | None, oldest: int | None) -> None:
    """Raise ReplacedError or ForgottenError unless the beat that is remembered is in the store.

    ``found`` is what the store has under its number; ``oldest`` is the number of the oldest beat that the store has.
    """
    if remembered is None and oldest is not None:
        raise ForgottenError("it has beats of a server, and this state directory remembers none")
    if remembered is None or found == remembered.random:
        return
    if found is None and oldest is not None and remembered.number < oldest:
        raise ForgottenError(f"this state directory remembers beat {remembered.number}, and the oldest is {oldest}")
    raise ReplacedError(
        f"it is not as this server left it: beat {remembered.number} is " + ("missing" if found is None else "another")
    )
