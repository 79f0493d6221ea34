"""What a commit makes of its changes: the rules of ``Store.commit``, free of any database."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from dpe_coap.errors import LocalError
from dpe_server.store.contract import Change, Outcome, RestrictEpoch, Revoke, Session, SetMinimumEpoch

Measure = Revoke | RestrictEpoch | SetMinimumEpoch
"""What an operator changes."""


def steps(changes: Iterable[Change]) -> Iterator[list[Session] | Measure]:
    """Yield the changes in order, neighbouring sessions as one list. LocalError at an epoch that is not 0 to 255."""
    sessions: list[Session] = []
    for change in changes:
        if isinstance(change, Session):
            sessions.append(change)
            continue
        if sessions:
            yield sessions
            sessions = []
        if not isinstance(change, Revoke) and not 0 <= change.minimum_epoch <= 255:
            raise LocalError(f"not a key epoch: {change.minimum_epoch}", hint="an epoch is 0 to 255")
        yield change
    if sessions:
        yield sessions


class Stored(Protocol):
    """What must be known of a stored session; a ``Session`` will do."""

    @property
    def client_id(self) -> int: ...  # noqa: D102
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
    started: list[Session]
    """Each takes the place of its device's session, if the device still has one."""


def decide(sessions: Sequence[Session], stored: Iterable[Stored], revoked: AbstractSet[bytes]) -> Effect:
    """Judge ``sessions`` in order, each against those before it and against what the store has.

    ``stored`` has the store's sessions with a Client ID or a device of ``sessions``; ``revoked`` has the revoked
    devices.
    """
    holders: dict[int, Stored] = {row.client_id: row for row in stored}
    client_ids = {row.device: row.client_id for row in holders.values()}
    started: dict[int, Session] = {}
    ended: list[Stored] = []

    def judge(session: Session) -> Outcome:
        if session.device in revoked:
            return Outcome.REVOKED
        mine = holders[client_ids[session.device]] if session.device in client_ids else None
        if mine and mine.success_hash == session.success_hash:
            return Outcome.COMMITTED
        if mine and mine.ordinal >= session.ordinal:
            return Outcome.SUPERSEDED
        holder = holders.get(session.client_id)
        # Even if that session is over: its row is what refuses an older SUCCESS of its device.
        if holder and holder.device != session.device:
            return Outcome.CLIENT_ID_TAKEN
        if mine:
            del holders[mine.client_id]
            if started.pop(mine.client_id, None) is None:
                ended.append(mine)
        holders[session.client_id] = started[session.client_id] = session
        client_ids[session.device] = session.client_id
        return Outcome.COMMITTED

    outcomes = [judge(session) for session in sessions]
    # A device's new session replaces its row. Only where another device has its old Client ID by then must the row go
    # first.
    gone = [one.client_id for one in ended if started.get(one.client_id, one).device != one.device]
    return Effect(outcomes, gone, list(started.values()))
