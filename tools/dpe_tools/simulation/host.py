"""A simulated machine that is a server: its address, disk and clocks, and the worker processes that come and go."""

import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

from dpe_server import policy
from dpe_server.keys.ring import KeyRing
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Audit
from dpe_server.store.contract import Revoke, Session, Store
from dpe_server.store.opening import open_store
from dpe_tools.simulation.invariants import Invariants
from dpe_tools.simulation.memory_store import Disk, MemoryStore
from dpe_tools.simulation.process import WAKE, Process, Socket
from dpe_tools.simulation.world import Address, World

WALL = 1_800_000_000.0
"""The Unix time at which the world's clock shows 0."""
LINGERING = 10_000
"""Milliseconds after which a process is killed that was asked to end."""
EVER = -(2**62)
"""A Unix time before that of any session."""

parse_policy = lru_cache(64)(policy.parse)


class Host:
    """A server at one address, shared by ``workers`` processes. ``lane``: they have the fast lane, not aiocoap alone.

    ``path`` is the database's file; without, the store is in memory. ``total`` bounds the transactions of a process.
    """

    def __init__(
        self,
        world: World,
        invariants: Invariants,
        address: Address,
        keys: KeyRing,
        realm: str,
        rules: str,
        terms: str = "",
        *,
        workers: int = 1,
        lane: bool = True,
        total: int = 1 << 20,
        path: Path | None = None,
    ) -> None:
        self.world = world
        self.invariants = invariants
        self.address = address
        self.keys = keys
        self.realm = realm
        self._rules = rules
        self.policy = parse_policy(rules + terms)
        self.lane = lane
        self.total = total
        self.fault = ""
        """What the disk has: "" nothing, "broken" it cannot be written, "unreadable" neither."""
        self.crashes = 0.0
        """How often a process ends at one of its points."""
        self.crash_at = ""
        """The point at which the next process ends."""
        self.commits = (1, 3)
        """The least and the most milliseconds of a commit."""
        self.wakes = WAKE
        self.latest_wall = WALL
        """The latest Unix time that a process was told."""
        self.revoked: set[bytes] = set()
        """The devices on the revocation list."""
        self._path = path
        self._disk = Disk()
        self._store = self.open()
        self._wall_offset = 0.0
        self._booted_at = -world.random.randrange(10_000_000)
        self.sockets = [Socket() for _ in range(workers)]
        self.processes: list[Process] = []
        self._started: list[Process] = []
        self.boot()

    # its clocks

    def monotonic(self) -> float:
        """Return seconds since the boot."""
        return (self.world.now - self._booted_at) / 1000

    def wall(self) -> float:
        """Return Unix time, as far as this machine knows it."""
        now = WALL + self._wall_offset + self.world.now / 1000
        self.latest_wall = max(self.latest_wall, now)
        return now

    def set_clock(self, seconds: float) -> None:
        """Let the wall clock jump."""
        self.world.note(f"{self.address[0]}: the wall clock jumps by {seconds:.0f} s")
        self._wall_offset += seconds
        self.wall()

    # its disk

    @property
    def on_disk(self) -> bool:
        """Whether the store is in a real file; it has no points of its own then."""
        return self._path is not None

    def open(self, point: Callable[[str], None] = lambda _: None) -> Store:
        """Open the store for a process."""
        return MemoryStore(self._disk, point) if self._path is None else open_store(f"sqlite:{self._path}")

    def rows(self) -> Sequence[Session]:
        """Return all sessions that are durable."""
        return self._disk.sessions if self._path is None else list(self._store.live(EVER))

    def prune(self, before: int) -> int:
        """Delete sessions that ended before ``before``; return how many."""
        self.wall()
        over = [row.device for row in self.rows() if row.expires_at is not None and row.expires_at < before]
        self.invariants.pruned(self, over)
        return self._store.prune(before)

    def revoke(self, device: bytes) -> None:
        """Do as ``dpe revoke`` does."""
        self.world.note(f"{self.address[0]}: a device is revoked")
        self.revoked.add(device)
        self._store.commit([Revoke(device, int(self.wall()))])

    def close(self) -> None:
        """Let go of everything, in the end."""
        for process in self._started:
            process.kill()
            process.bury()
        self._store.close()

    # its processes

    def reload(self, terms: str) -> None:
        """Go on with another policy, whose last rule grants other terms."""
        self.world.note(f"{self.address[0]} gets another policy")
        self.policy = parse_policy(self._rules + terms)
        for process in self.processes:
            if process.is_alive:
                process.reload()

    def boot(self) -> None:
        """Start all processes, which know nothing of each other but an ordinal."""
        self._stopping = False
        self.ordinals = Ordinals.after(self._store.last_ordinal(), self.monotonic(), self.wall())
        self.processes = [self._start(number) for number in range(len(self.sockets))]

    def receive(self, datagram: bytes, sender: Address) -> None:
        """Give a datagram to the socket that the kernel chooses by the sender's address."""
        number = zlib.crc32(f"{sender}".encode()) % len(self.sockets) if len(self.sockets) > 1 else 0
        self.sockets[number].receive(datagram, sender)

    def crash(self, process: Process, where: str) -> None:
        """End a process, or now and then all and the machine with them."""
        world = self.world
        world.counts["crashes"] += 1
        world.counts[f"crashes: {where}"] += 1
        whole = len(self.sockets) == 1 or world.chance(0.4)
        name = self.address[0] if whole else f"{self.address[0]}/{process.number}"
        world.note(f"{name} crashes: {where}")
        if whole:
            self.power_off(world.random.choice((0, 100, 10_000)))
        else:
            process.kill()
            world.after(world.random.choice((0, 1000)), lambda: self._replace(process))

    def power_off(self, delay: int) -> None:
        """End all processes, and boot again later; the monotonic clock may begin anew."""
        world = self.world
        self._end_all()
        for socket in self.sockets:
            socket.waiting.clear()
        if world.chance(0.5):
            self._booted_at = world.now
        world.after(delay, self._boot_again)

    def _boot_again(self) -> None:
        if not self.processes:
            self.boot()

    def restart(self) -> None:
        """End all processes gracefully, or those that linger by force, and start them anew."""
        self.world.note(f"{self.address[0]} restarts")
        self._stopping = True
        ending = self.processes

        def finish() -> None:
            if self.processes is ending:
                self._end_all()
                self.boot()

        def ended(process: Process) -> None:
            process.kill()
            if not any(one.is_alive for one in ending):
                finish()

        for process in ending:
            if process.is_alive:
                process.stop(partial(ended, process))
        self.world.after(LINGERING, finish)

    def _start(self, number: int) -> Process:
        process = Process(self, number)
        self._started.append(process)
        return process

    def _end_all(self) -> None:
        for process in self.processes:
            process.kill()
        self.processes = []

    def _replace(self, process: Process) -> None:
        if process in self.processes and not process.is_alive and not self._stopping:
            self.processes[process.number] = self._start(process.number)

    # what the processes ask

    def thread(self) -> tuple[int, int]:
        """Return how long the thread that commits takes to begin, and to tell that it is done."""
        chance = self.world.random
        least, most = self.commits
        return chance.randint(0, least), chance.randint(least, most)

    def counted(self, audit: Sequence[Audit]) -> None:
        """Count what a process has decided."""
        for one in audit:
            self.world.counts[one.event] += 1
