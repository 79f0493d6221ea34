"""A store in memory behind the store's contract: the rules are the server's own (``store.batch``), the disk is a list.

What is durable outlives the process: it is in a ``Disk``, which any number of stores have open. A commit is prepared
write by write, and takes effect at once in the end; ``point`` is called before it and before each write, and may raise
there.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from dpe_coap.errors import LocalError
from dpe_server.store.commit_rules import decide
from dpe_server.store.contract import Confirmed, Outcome, Restriction, Session
from dpe_server.store.sqlite.store import PRUNE_CHUNK

_NOBODYS = Confirmed(bytes(32), None, b"")


@dataclass
class Disk:
    """What is durable. Nothing here keeps two sessions from having one Client ID: that is for invariants to see."""

    sessions: tuple[Session, ...] = ()
    restrictions: dict[bytes, Restriction] = field(default_factory=dict)
    minimum_epoch: int = 0
    last_ordinal: int = 0


class MemoryStore:
    """A ``Store`` on ``disk``."""

    def __init__(self, disk: Disk, point: Callable[[str], None] = lambda _: None) -> None:
        self._disk = disk
        self._point = point

    # -- the contract --

    def sessions(self, client_ids: Collection[bytes]) -> dict[bytes, Session]:
        """See ``Store.sessions``."""
        wanted = set(client_ids)
        return {session.client_id: session for session in self._disk.sessions if session.client_id in wanted}

    def confirmed(self, client_ids: Collection[bytes]) -> dict[bytes, Confirmed]:
        """See ``Store.confirmed``."""
        found = self.sessions(client_ids)
        return {
            client_id: Confirmed(found[client_id].success_hash, found[client_id].expires_at, found[client_id].confirm)
            if client_id in found
            else _NOBODYS
            for client_id in client_ids
        }

    def sessions_of(self, devices: Collection[bytes]) -> dict[bytes, Session]:
        """See ``Store.sessions_of``."""
        wanted = set(devices)
        return {session.device: session for session in self._disk.sessions if session.device in wanted}

    def held(self, client_ids: Collection[int]) -> set[int]:
        """See ``Store.held``."""
        return {int.from_bytes(session.client_id, "big") for session in self._disk.sessions}.intersection(client_ids)

    def taken(self, first: int, last: int) -> set[int]:
        """See ``Store.taken``."""
        held = (int.from_bytes(session.client_id, "big") for session in self._disk.sessions)
        return {client_id for client_id in held if first <= client_id <= last}

    def restrictions(self, devices: Collection[bytes]) -> dict[bytes, Restriction]:
        """See ``Store.restrictions``."""
        known = self._disk.restrictions
        return {device: known[device] for device in devices if device in known}

    def minimum_epoch(self) -> int:
        """See ``Store.minimum_epoch``."""
        return self._disk.minimum_epoch

    def last_ordinal(self) -> int:
        """See ``Store.last_ordinal``."""
        return self._disk.last_ordinal

    def commit(self, sessions: Sequence[Session]) -> list[Outcome]:
        """See ``Store.commit``."""
        disk = self._disk
        self._point("before the commit")
        revoked = {device for device, laid in disk.restrictions.items() if laid.revoked}
        verdict = decide(sessions, disk.sessions, revoked)
        for _ in verdict.ended:
            self._point("write")
        ended = set(verdict.ended)
        kept = {session.device: session for session in disk.sessions if session.client_id not in ended}
        for started in verdict.started:
            self._point("write")
            kept[started.device] = started
        disk.sessions = tuple(kept.values())
        disk.last_ordinal = max([disk.last_ordinal, *(session.ordinal for session in verdict.started)])
        return verdict.outcomes

    def close(self) -> None:
        """See ``Store.close``."""

    # -- for operators --

    def live(self, now: int) -> Iterator[Session]:
        """Yield the sessions that are live at ``now`` (Unix seconds), all as of one moment, by ascending Client ID."""
        live = (session for session in self._disk.sessions if session.expires_at is None or session.expires_at > now)
        yield from sorted(live, key=lambda session: session.client_id)

    def count(self, now: int) -> int:
        """Return how many sessions are live at ``now`` (Unix seconds)."""
        return sum(1 for _ in self.live(now))

    def revoke(self, device: bytes, at: int) -> bool:  # the date is for operators to read
        """Put ``device`` (16 bytes) on the revocation list and end its session; return whether it had one."""
        before = self._disk.sessions
        self._lay(device, revoked=True)
        self._disk.sessions = tuple(session for session in before if session.device != device)
        return len(self._disk.sessions) < len(before)

    def restrict(self, device: bytes, minimum_epoch: int) -> None:
        """Set the lowest key epoch (0 to 255) accepted of ``device`` (16 bytes)."""
        self._lay(device, minimum_epoch=_epoch(minimum_epoch))

    def set_minimum_epoch(self, minimum_epoch: int) -> None:
        """Set the lowest key epoch (0 to 255) accepted of any device."""
        self._disk.minimum_epoch = _epoch(minimum_epoch)

    def prune(self, before: int) -> int:
        """Delete sessions that ended before ``before`` (Unix seconds), PRUNE_CHUNK of them at most; return how many."""
        sessions = self._disk.sessions
        over = [session for session in sessions if session.expires_at is not None and session.expires_at < before]
        gone = {id(session) for session in over[:PRUNE_CHUNK]}
        self._disk.sessions = tuple(session for session in sessions if id(session) not in gone)
        return len(gone)

    def _lay(self, device: bytes, revoked: bool | None = None, minimum_epoch: int | None = None) -> None:
        before = self._disk.restrictions.get(device, Restriction(revoked=False, minimum_epoch=0))
        self._disk.restrictions[device] = Restriction(
            before.revoked if revoked is None else revoked,
            before.minimum_epoch if minimum_epoch is None else minimum_epoch,
        )


def _epoch(number: int) -> int:
    if not 0 <= number <= 255:
        raise LocalError(f"not a key epoch: {number}", hint="an epoch is 0 to 255")
    return number
