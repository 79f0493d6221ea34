"""A simulated machine as the processes on it see it: its address, its clocks, its disk, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dpe_server import policy
from dpe_server.handling.records import AuditRecord
from dpe_server.keys.ring import KeyRing
from dpe_server.registration.ordinals import Ordinals
from dpe_server.store.contract import TRACE, Session
from dpe_tools.simulation.database import Database
from dpe_tools.simulation.events import Address, Pruned, Revoked, Stored
from dpe_tools.simulation.trouble import Trouble
from dpe_tools.simulation.world import World

WALL = 1_800_000_000.0
"""The Unix time at which the world's clock shows 0."""
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
    one it is in memory.
    """

    ordinals: Ordinals
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
        self.database = Database(path)
        self._ended: dict[bytes, Session] = {}
        """By device, the last session that has ended by its time."""
        self._latest_wall = WALL
        self._wall_offset = 0.0
        self._booted_at = -world.random.randrange(10_000_000)

    # its clocks

    def monotonic(self) -> float:
        """Return seconds since the boot."""
        return (self.world.now - self._booted_at) / 1000

    def wall(self) -> float:
        """Return Unix time, as far as this machine knows it."""
        now = WALL + self._wall_offset + self.world.now / 1000
        self._latest_wall = max(self._latest_wall, now)
        return now

    @property
    def clock_is_behind(self) -> bool:
        """Whether the wall clock has shown a later time than now."""
        return self.wall() < self._latest_wall

    def set_clock(self, seconds: float) -> None:
        """Let the wall clock jump."""
        self.world.note(f"{self.address[0]}: the wall clock jumps by {seconds:.0f} s")
        self._wall_offset += seconds
        self.wall()

    # its disk

    def tell(self) -> None:
        """Tell what is durable now."""
        self.world.emit(Stored(self.name, self.database.rows(), self._latest_wall))

    def prune(self, now: int) -> int:
        """End sessions that are over at ``now`` (Unix seconds), and delete the traces of old ones; return how many."""
        if self.condition.disk:
            return 0
        self.wall()
        rows = self.database.rows()
        self.database.expire(now)
        left = {row.success_hash for row in self.database.rows()}
        self._ended |= {row.device: row for row in rows if row.success_hash not in left}
        count = self.database.prune(now - TRACE)
        known = self.database.devices()
        gone = [device for device in self._ended if device not in known]
        self.world.emit(Pruned(self.name, tuple(self._ended.pop(device) for device in gone)))
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
