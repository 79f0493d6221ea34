"""What becomes of each session of a batch: the rules of ``Store.commit``, free of any database."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from dpe_server.store import Outcome, Session


class Held(Protocol):
    """What must be known of a session that holds a Client ID; a ``Session`` will do."""

    @property
    def client_id(self) -> bytes: ...  # noqa: D102
    @property
    def device(self) -> bytes: ...  # noqa: D102
    @property
    def ordinal(self) -> int: ...  # noqa: D102
    @property
    def success_hash(self) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Verdict:
    """The change that a batch makes: first some sessions end, then others start, in order."""

    outcomes: list[Outcome]
    ended: list[bytes]
    """Client IDs."""
    started: list[Session]
    """Each takes the place of its device's session, if the device still has one."""


def decide(sessions: Sequence[Session], held: Iterable[Held], revoked: AbstractSet[bytes]) -> Verdict:
    """Judge ``sessions`` in order, each against those before it and against what the store holds.

    ``held`` are the stored sessions with a Client ID or a device of the batch, ``revoked`` its revoked devices.
    """
    holders: dict[bytes, Held] = {row.client_id: row for row in held}
    client_ids = {row.device: row.client_id for row in holders.values()}
    started: dict[bytes, Session] = {}
    ended: list[Held] = []

    def judge(session: Session) -> Outcome:
        if session.device in revoked:
            return Outcome.REVOKED
        mine = holders[client_ids[session.device]] if session.device in client_ids else None
        if mine and mine.success_hash == session.success_hash:
            return Outcome.COMMITTED
        if mine and mine.ordinal >= session.ordinal:
            return Outcome.SUPERSEDED
        holder = holders.get(session.client_id)
        # Also when that session is over: without its row an older SUCCESS of its device would be taken.
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
    # The new session takes its place in the store, unless by then another device has the Client ID.
    gone = [one.client_id for one in ended if started.get(one.client_id, one).device != one.device]
    return Verdict(outcomes, gone, list(started.values()))
