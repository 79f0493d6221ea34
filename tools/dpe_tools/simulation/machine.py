"""A simulated machine as the processes on it see it: its address, its clocks, its disk, and what is wrong with it."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dpe_server import policy
from dpe_server.handling.records import AuditRecord
from dpe_server.keys.ring import KeyRing
from dpe_server.registration.ordinals import OrdinalSource
from dpe_server.store.contract import TRACE, Beat, ForgottenError, ReplacedError, Session
from dpe_tools.simulation.cluster import Cluster
from dpe_tools.simulation.database import Database
from dpe_tools.simulation.events import Address, Pruned, Revoked, Stored
from dpe_tools.simulation.session_events import PolicyLoaded, SessionsEnded
from dpe_tools.simulation.trouble import Trouble
from dpe_tools.simulation.world import WALL, World

WAKE = 1
"""Milliseconds from a datagram's arrival until it is read, with all that have arrived by then."""

parse_policy = lru_cache(64)(policy.parse)


@dataclass(slots=True)
class Condition:
    """What is wrong with a machine at the moment; nothing by default."""

    disk: str = ""
    """Empty, or one of ``database``'s faults."""
    commits: tuple[int, int] | None = None
    """The least and the most milliseconds of a commit, if it is not as fast as the trouble says."""
    wakes: int = WAKE
    crash_at: str = ""
    """The point at which the next process ends."""


class Machine:
    """A machine with a server's keys, realm and policy. ``name`` is what events call it.

    The policy is ``rules``, and its last rule grants what ``trouble`` says. ``path`` is the database's file; without
    one it is in memory. If ``first`` is another node of the same server, they share its database.
    """

    ordinals: OrdinalSource
    """Shared by the processes since the last boot."""

    def __init__(
        self,
        world: World,
        name: str,
        address: Address,
        keys: KeyRing,
        realm: str,
        rules: str,
        trouble: Trouble,
        path: Path | None = None,
        first: "Machine | None" = None,
    ) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.keys = keys
        self.realm = realm
        self._rules = rules
        self.policy = parse_policy(rules + trouble.terms)
        self.trouble = trouble
        self.condition = Condition()
        self.revoked: set[bytes] = set()
        """The devices on the revocation list."""
        self.node = "" if first is None else "b"
        """Which of two nodes it is."""
        self._first: Machine = self if first is None else first._first
        """Who keeps what has been told of the database."""
        self.database: Database = self._own_database(path) if first is None else first.database
        self._chance = random.Random(f"beats of {name}{self.node}")  # noqa: S311  # a simulation must repeat
        self._beat: Beat | None = None if first is None else first._beat
        """The last that this machine remembers; a further node is given one to begin with."""
        self._rows: tuple[Session, ...] = ()
        """What was durable when that was told last."""
        self._ended: dict[bytes, Session] = {}
        """By device, the last session that has ended."""
        self._latest_wall = WALL
        self._wall_offset = 0.0
        self._booted_at = -world.random.randrange(10_000_000)

    def _own_database(self, path: Path | None) -> Database:
        if self.trouble.cluster and path is None:
            return Cluster(self.world, self.trouble, random.Random(f"database of {self.keys.at_rest.hex()}"))  # noqa: S311
        return Database(path)

    # its clocks

    def monotonic(self) -> float:
        """Return seconds since the boot."""
        return (self.world.now - self._booted_at) / 1000

    def wall(self) -> float:
        """Return Unix time, as far as this machine knows it."""
        now = WALL + self._wall_offset + self.world.now / 1000
        first = self._first
        first._latest_wall = max(first._latest_wall, now)
        return now

    @property
    def clock_is_behind(self) -> bool:
        """Whether the wall clock has shown a later time than now."""
        return self.wall() < self._first._latest_wall

    def set_clock(self, seconds: float) -> None:
        """Let the wall clock jump."""
        self.world.note(f"{self.address[0]}: the wall clock jumps by {seconds:.0f} s")
        self._wall_offset += seconds
        self.wall()

    # its disk

    def tell(self) -> None:
        """Tell what is durable now."""
        if self._first is not self:
            self._first.tell()
            return
        if self.database.remote:
            self._latest_wall = max(self._latest_wall, self.database.now(self.wall))
        before, self._rows = self._rows, self.database.rows()
        devices = {row.device for row in self._rows}
        self._ended |= {row.device: row for row in before if row.device not in devices}
        self.world.emit(Stored(self.name, self._rows, self._latest_wall))

    def beat(self) -> bool:
        """Leave a sign of life in the database, and remember it; False if the database is not the one that was left."""
        try:
            self._beat = self.database.beat(self._beat, self._chance.randbytes(8))
        except (ReplacedError, ForgottenError) as error:
            self.world.note(f"{self.address[0]} does not serve: {type(error).__name__}")
            return False
        return True

    def recover(self) -> None:
        """Do as ``dpe recover`` does."""
        rows = self.database.rows()
        self.world.note(f"{self.address[0]}: the operator recovers the database")
        self.world.counts["recoveries"] += 1
        beat = self._beat.number if self._beat is not None else 0
        self._beat = self.database.recover(self.revoked, int(self.wall()), beat, self._chance.randbytes(8))
        self._ends((*self._first._rows, *rows))

    def end(self, device: bytes) -> None:
        """Do as ``dpe sessions end`` does."""
        self.world.note(f"{self.address[0]}: the operator ends a session")
        rows = self.database.rows()
        self.database.end(device, int(self.wall()))
        self._ends(row for row in rows if row.device == device)

    def _ends(self, rows: Iterable[Session]) -> None:
        """Tell that an operator has ended sessions."""
        self.world.emit(SessionsEnded(tuple(row.success_hash for row in rows)))
        self.tell()

    def told(self, process: str) -> PolicyLoaded:
        """Return what a process that has loaded the policy tells devices."""
        told = {rule.name: self.policy.told(rule.name) for rule in self.policy.rules}
        return PolicyLoaded(process, tuple((name, one.answer, one.lifetime) for name, one in told.items() if one))

    def prune(self, now: int) -> int:
        """End sessions that are over at ``now`` (Unix seconds), and delete the traces of old ones; return how many."""
        if self.condition.disk or not self.database.answers:
            return 0
        self.wall()
        now = int(self.database.now(lambda: now))
        self.database.expire(now)
        self.tell()
        count = self.database.prune(now - TRACE)
        known = self.database.devices()
        ended = self._first._ended
        gone = [device for device in ended if device not in known]
        self.world.emit(Pruned(self.name, tuple(ended.pop(device) for device in gone)))
        self.tell()
        return count

    def revoke(self, device: bytes) -> None:
        """Do as ``dpe revoke`` does."""
        self.world.note(f"{self.address[0]}: a device is revoked")
        self.revoked.add(device)
        self.world.emit(Revoked(self.name, device))
        self.database.revoke(device, int(self.wall()))
        self.tell()

    # what its processes ask

    def thread(self) -> tuple[int, int]:
        """Return how long the thread that commits takes to begin, and to tell that it is done, in ms."""
        chance = self.world.random
        least, most = self.condition.commits or self.trouble.commits
        return chance.randint(0, least), chance.randint(least, most)

    def counted(self, audit: Sequence[AuditRecord]) -> None:
        """Count what a process has decided."""
        for one in audit:
            self.world.counts[one.event] += 1
