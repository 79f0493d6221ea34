"""A simulated server: a machine at an address, and the processes on it that come and go."""

import zlib
from functools import partial
from pathlib import Path

from dpe_server.keys.ring import KeyRing
from dpe_server.registration.ordinals import Ordinals, SequenceOrdinals
from dpe_tools.simulation.database import Copy
from dpe_tools.simulation.events import Address
from dpe_tools.simulation.machine import Machine, parse_policy
from dpe_tools.simulation.process import Process
from dpe_tools.simulation.sockets import Socket
from dpe_tools.simulation.trouble import Trouble
from dpe_tools.simulation.world import World

LINGERING = 10_000
"""Milliseconds after which a process that was asked to end is killed."""


class Host(Machine):
    """A server, shared by as many processes as ``trouble`` says. See ``Machine``."""

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
        first: "Host | None" = None,
    ) -> None:
        super().__init__(world, name, address, keys, realm, rules, trouble, path, first)
        self.nodes: list[Host] = [self] if first is None else first.nodes
        """All of the same server, behind what sends each sender to one of them."""
        if first is not None:
            self.nodes.append(self)
        self._sockets = [Socket() for _ in range(trouble.workers)]
        self.processes: list[Process] = []
        self._started: list[Process] = []
        self._boot()

    def receive(self, datagram: bytes, sender: Address) -> None:
        """Give a datagram to the node, and there to the socket, that is chosen by the sender's address."""
        if len(self.nodes) == 1:
            self._take(datagram, sender)
            return
        chosen = zlib.crc32(f"node of {sender}".encode()) % len(self.nodes)
        serving = [node for node in self.nodes if any(process.is_alive for process in node.processes)]
        node = self.nodes[chosen]
        (node if node in serving or not serving else serving[0])._take(datagram, sender)

    def _take(self, datagram: bytes, sender: Address) -> None:
        number = zlib.crc32(f"{sender}".encode()) % len(self._sockets) if len(self._sockets) > 1 else 0
        self._sockets[number].receive(datagram, sender)

    def reload(self, terms: str) -> None:
        """Go on with another policy, whose last rule grants other terms."""
        self.world.note(f"{self.address[0]} gets another policy")
        self.policy = parse_policy(self._rules + terms)
        for process in self.processes:
            if process.is_alive:
                process.reload()

    def restart(self) -> None:
        """End all processes gracefully, by force if they linger, and start them anew."""
        self.world.note(f"{self.address[0]} restarts")
        self._stopping = True
        ending = self.processes

        def finish() -> None:
            if self.processes is ending:
                self._end_all()
                self._boot()

        def ended(process: Process) -> None:
            process.kill()
            if not any(one.is_alive for one in ending):
                finish()

        for process in ending:
            if process.is_alive:
                process.stop(partial(ended, process))
        self.world.after(LINGERING, finish)

    def back_up(self) -> Copy:
        """Return a copy of the database. A beat follows: so it is known to be older."""
        self.world.note(f"{self.address[0]}: a copy of the database is made")
        copy = self.database.copy()
        self.beat()
        return copy

    def restore(self, copy: Copy, *, says_so: bool) -> None:
        """Stop, put a copy of the database back, and start; ``says_so``: as ``dpe restore`` does, which recovers it."""
        self.world.note(f"{self.address[0]}: a copy of the database is put back")
        self._end_all()
        for process in self._started:
            process.bury()  # so that none has it open
        self.database.put_back(copy)
        if says_so:
            self.recover()
        self._boot()

    def close(self) -> None:
        """End all processes and close the database."""
        for process in self._started:
            process.kill()
            process.bury()
        self.database.close()

    def _crash(self, process: Process, where: str) -> None:
        """End a process or, now and then, all processes and the machine with them."""
        world = self.world
        world.counts["crashes"] += 1
        world.counts[f"crashes: {where}"] += 1
        whole = len(self._sockets) == 1 or world.chance(0.4)
        name = self.address[0] if whole else f"{self.address[0]}/{process.number}"
        world.note(f"{name} crashes: {where}")
        if whole:
            self._power_off(world.random.choice((0, 100, 10_000)))
        else:
            process.kill()
            world.after(world.random.choice((0, 1000)), lambda: self._replace(process))

    def _power_off(self, delay: int) -> None:
        """End all processes, and boot again later; the monotonic clock may begin anew."""
        world = self.world
        self._end_all()
        for socket in self._sockets:
            socket.waiting.clear()
        if world.chance(0.5):
            self._booted_at = world.now
        world.after(delay, self._boot_again)

    def _boot_again(self) -> None:
        if not self.processes:
            self._boot()

    def _boot(self) -> None:
        """Start all processes, which know nothing of each other but an ordinal."""
        self._stopping = False
        if not self.beat():
            self.recover()
        self.ordinals = (
            SequenceOrdinals()
            if self.database.remote
            else Ordinals.after(self.database.last_ordinal(), self.monotonic(), self.wall())
        )
        self.processes = [self._start(number) for number in range(len(self._sockets))]

    def _start(self, number: int) -> Process:
        name = f"{self.name}{self.node}/{number}, start {len(self._started) + 1}"
        process = Process(self, self._sockets[number], number, name, self._crash)
        self._started.append(process)
        return process

    def _end_all(self) -> None:
        for process in self.processes:
            process.kill()
        self.processes = []

    def _replace(self, process: Process) -> None:
        if process in self.processes and not process.is_alive and not self._stopping:
            self.processes[process.number] = self._start(process.number)
