"""What is durable, and what has been: the rows of each server, read from its store whenever they may have changed."""

from collections import defaultdict

from dpe_server.store.contract import Session
from dpe_tools.simulation.events import Address, ProcessStarted, Pruned, Revoked, ServerKnown, Stored
from dpe_tools.simulation.session_events import SessionsEnded
from dpe_tools.simulation.world import World


class Durable:
    """The stores of all servers, by the server's name. It sees an event before any invariant does."""

    def __init__(self, world: World) -> None:
        self.servers: dict[Address, str] = {}
        """What boards mean by an address."""
        self.server_of: dict[str, str] = {}
        """By process."""
        self.rows: dict[str, tuple[Session, ...]] = {}
        self.new: list[Session] = []
        """The rows that the last ``Stored`` has added."""
        self.ever: dict[bytes, Session] = {}
        """Every row that there has been at any server, as it was last, by the SHA-256 of its SUCCESS."""
        self.of_device: defaultdict[bytes, dict[bytes, Session]] = defaultdict(dict)
        """The same, by device."""
        self.by_ordinal: dict[tuple[str, int, int], Session] = {}
        """By server, Client ID and ordinal, every row as it was first."""
        self.by_th3: dict[bytes, Session] = {}
        """Every row as it was first."""
        self.lost: set[bytes] = set()
        """The SHA-256 of the SUCCESS of sessions that an operator has ended, or whose database is an earlier one."""
        self.pruned: set[bytes] = set()
        """The SHA-256 of SUCCESSes."""
        self.came: dict[bytes, int] = {}
        """By the SHA-256 of its SUCCESS, when each row came (ms)."""
        self.back: list[Session] = []
        """The rows of the last ``Stored`` that were there before, but not last time, and whose traces are not pruned.
        """
        self._seen: defaultdict[str, set[bytes]] = defaultdict(set)
        """By server, the SHA-256 of the SUCCESS of every row that there has been."""
        self.revoked: dict[tuple[str, bytes], int] = {}
        """By server and device, when (ms)."""
        self._world = world
        self.latest_wall: dict[str, float] = {}
        self._counts = world.counts
        world.on(ServerKnown, self._known)
        world.on(ProcessStarted, self._started)
        world.on(Stored, self._stored)
        world.on(Pruned, self._pruned)
        world.on(Revoked, self._revoked)
        world.on(SessionsEnded, self._ended)

    def lives(self, process: str, name: bytes, wall: float) -> bool:
        """Say whether the session of a SUCCESS, by its SHA-256, lives at this Unix time in the store of a process."""
        for row in self.rows[self.server_of[process]]:
            if row.success_hash == name:
                return row.expires_at is None or row.expires_at > wall
        return False

    def _known(self, event: ServerKnown) -> None:
        self.servers[event.address] = event.server

    def _started(self, event: ProcessStarted) -> None:
        self.server_of[event.process] = event.server

    def _stored(self, event: Stored) -> None:
        before = {row.success_hash for row in self.rows.get(event.server, ())}
        self.rows[event.server] = event.rows
        come = [row for row in event.rows if row.success_hash not in before]
        self.came.update((row.success_hash, self._world.now) for row in come)
        seen = self._seen[event.server]
        self.back = [row for row in come if row.success_hash in seen - self.pruned]
        seen.update(row.success_hash for row in come)
        self.latest_wall[event.server] = event.latest_wall
        self.new = [row for row in event.rows if row.success_hash not in self.ever]
        for row in self.new:
            self.by_ordinal[event.server, row.client_id, row.ordinal] = self.by_th3[row.th3] = row
            self._counts["commits"] += 1
        for row in event.rows:
            self.ever[row.success_hash] = self.of_device[row.device][row.success_hash] = row

    def _ended(self, event: SessionsEnded) -> None:
        self.lost.update(event.sessions)

    def _pruned(self, event: Pruned) -> None:
        self.pruned.update(row.success_hash for row in event.rows)

    def _revoked(self, event: Revoked) -> None:
        self.revoked.setdefault((event.server, event.device), self._world.now)
