"""One process of a simulated server: the real socket's users from the lane and aiocoap to the registrar and the store.

Only the socket, the event loop and the disk are the simulation's. Before each callback, each datagram that is sent and
each step of a commit the process may end: that is a ``point``.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dpe_server.coap.resources import Resources

from dpe_server.coap.aiocoap_endpoint import CoapServer
from dpe_server.coap.lane import Lane
from dpe_server.handling.batching import Batcher
from dpe_server.net.udp import Endpoint, Link, Received
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transactions import Transactions
from dpe_server.store.contract import (
    COMMIT_PATIENCE,
    Change,
    Facts,
    Outcome,
    Questions,
    Session,
    Stats,
    Store,
    StoreError,
)
from dpe_tools.simulation.invariants import NO_DEFECT
from dpe_tools.simulation.loop import Killed, Loop
from dpe_tools.simulation.witness import Witness
from dpe_tools.simulation.world import Address

if TYPE_CHECKING:
    from dpe_tools.simulation.host import Host

RETRY_AFTER = 30
BUFFER = 64
"""The most datagrams that wait in a socket."""
NOBODYS = 4
"""The server's own number would take a third of the time of a simulation: there, they hide how long an answer takes."""
WAKE = 1
"""Milliseconds from a datagram's coming to its being read, with all that have come by then."""


class Socket:
    """What the kernel keeps of a worker's socket; it outlives the process."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, Address]] = deque(maxlen=BUFFER)
        self.woken: Callable[[], None] = lambda: None

    def receive(self, datagram: bytes, sender: Address) -> None:
        """Take a datagram from the network."""
        self.waiting.append((datagram, sender))
        if len(self.waiting) == 1:
            self.woken()


class _Link:
    """A ``Link`` of the server, over a simulated socket."""

    def __init__(self, process: "Process", socket: Socket) -> None:
        self._process = process
        self._socket = socket
        self._received: Received | None = None

    def start(self, received: Received) -> None:
        self._received = received
        self._socket.woken = self._woken
        if self._socket.waiting:
            self._woken()

    def stop(self) -> None:
        self._socket.woken = lambda: None
        self._received = None

    def close(self) -> None:
        self.stop()

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        for datagram, endpoint in zip(datagrams, endpoints, strict=True):
            self._process.send(datagram, _address(endpoint))

    def _woken(self) -> None:
        self._process.loop.call_later(self._process.host.wakes / 1000, self._read)

    def _read(self) -> None:
        if self._received is None:
            return
        waiting, self._socket.waiting = list(self._socket.waiting), deque(maxlen=BUFFER)
        if not self._process.host.lane:
            for datagram, sender in waiting:
                self._process.host.invariants.server_reads(self._process, datagram, sender)
        if waiting:
            self._received([datagram for datagram, _ in waiting], [_endpoint(sender) for _, sender in waiting])


def _endpoint(address: Address) -> Endpoint:
    return f"{address[0]}:{address[1]}".encode()


def _address(endpoint: Endpoint) -> Address:
    host, _, port = endpoint.decode().rpartition(":")
    return host, int(port)


class _Opened:
    """A store as one process has it open: it fails when the disk does."""

    def __init__(self, process: "Process", store: Store) -> None:
        self._process = process
        self._store = store

    def _read(self) -> Store:
        if self._process.host.fault == "unreadable":
            raise StoreError("made to fail")
        return self._store

    def look(self, questions: Questions) -> Facts:
        return self._read().look(questions)

    def last_ordinal(self) -> int:
        return self._read().last_ordinal()

    def commit(self, changes: Sequence[Change], *, patience: float = COMMIT_PATIENCE) -> list[Outcome]:
        host = self._process.host
        if host.fault:
            raise StoreError("made to fail")
        if host.on_disk:
            self._process.point("before the commit")
            changes = _Interruptible(changes, self._process.point)
        outcomes = self._store.commit(changes, patience=patience)
        host.invariants.committed(host)
        self._process.point("after the commit")
        return outcomes

    def prune(self, before: int) -> int:
        return self._store.prune(before)

    def session(self, client_id: int) -> Session | None:
        return self._read().session(client_id)

    def session_of(self, device: bytes) -> Session | None:
        return self._read().session_of(device)

    def live(self, now: int) -> Iterator[Session]:
        return self._read().live(now)

    def stats(self, now: int) -> Stats:
        return self._read().stats(now)

    def close(self) -> None:
        self._store.close()


class _Interruptible(list[Change]):
    """Changes that a store takes one by one, in the midst of its transaction; before each there is a point."""

    def __init__(self, changes: Sequence[Change], point: Callable[[str], None]) -> None:
        super().__init__(changes)
        self._point = point

    def __iter__(self) -> Iterator[Change]:
        for change in super().__iter__():
            self._point("write")
            yield change


class Process:
    """A worker of ``host``, from its start to its end."""

    def __init__(self, host: "Host", number: int) -> None:
        self.host = host
        self.number = number
        world = host.world
        self._buried = False
        defect = partial(world.fail, NO_DEFECT)
        self.loop = Loop(world, self.point, host.monotonic, host.thread, defect)  # type: ignore[abstract]
        self.store = _Opened(self, host.open(self.point))
        self.transactions = Transactions(total=host.total, nobodys=NOBODYS)
        self._registrar = Registrar(
            realm=host.realm,
            keys=host.keys,
            policy=host.policy,
            store=self.store,
            random=world.random_bytes,
            retry_after=RETRY_AFTER,
            transactions=self.transactions,
            ordinals=copy.copy(host.ordinals),
        )
        self.loop.enter(self._start)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self.loop.dead

    def _start(self) -> None:
        host = self.host
        self._batcher = Batcher(
            Witness(self, self._registrar),
            self.store.commit,
            retry_after=RETRY_AFTER,
            on_batch=lambda: host.counted(self._registrar.take_audit()),
            clock=self.loop.time,
            wall=host.wall,
        )
        link: Link = _Link(self, host.sockets[self.number])
        if host.lane:
            link = Lane(link, self._batcher.offer)
        self._coap = CoapServer([link], Resources(self._batcher.submit), retry_after=RETRY_AFTER)
        self._coap.start()

    def point(self, what: str) -> None:
        """Go on; or Killed, when the process ends here: at an "await", a "send", a "write", or around a commit."""
        if self.loop.dead:
            raise Killed
        host = self.host
        if host.crash_at == what or host.world.chance(host.crashes):
            host.crash_at = ""
            host.crash(self, what)
            raise Killed

    def send(self, datagram: bytes, receiver: Address) -> None:
        """Send a datagram, as the kernel does; the process may end before."""
        self.point("send")
        if not self.host.lane:
            self.host.invariants.server_sends(self, datagram, receiver)
        self.host.world.send(self.host.address, receiver, datagram)

    def reload(self) -> None:
        """Go on with the policy that the host has now, as on SIGHUP."""
        policy, keys = self.host.policy, self.host.keys
        action = partial(self._registrar.reload, keys=keys, policy=policy)
        self.loop.enter(lambda: self.loop.create_task(self._batcher.exclusively(action)))

    def prune(self, before: int) -> None:
        """Prune the store as housekeeping does."""

        def prune() -> int:
            return 0 if self.host.fault else self.host.prune(before)

        self.loop.enter(lambda: self.loop.create_task(self._batcher.exclusively(prune)))

    def stop(self, then: Callable[[], None]) -> None:
        """End gracefully, as on SIGTERM."""

        async def stop() -> None:
            await self._coap.stop()
            await self._batcher.close()
            await self._coap.close()
            then()

        self.loop.enter(lambda: self.loop.create_task(stop()))

    def kill(self) -> None:
        """End at once."""
        if self.is_alive:
            self.loop.kill()
            self.host.sockets[self.number].woken = lambda: None
            self.host.world.after(0, self.bury)  # not now: it may be in the midst of a commit

    def bury(self) -> None:
        """Let go of what a process leaves that has ended."""
        if not self._buried:
            self._buried = True
            self.loop.bury()
            self.store.close()
