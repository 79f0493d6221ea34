"""One process of a simulated server: the real code from the lane and aiocoap to the handlers and the store.

Only the socket, the event loop and the disk are the simulation's. The process may end before each callback, each
datagram that is sent and each step of a commit: each of these is a ``point``.
"""

import copy
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dpe_coap.binding import Code
from dpe_server.coap.aiocoap_endpoint import CoapServer
from dpe_server.handling.batching import Batcher
from dpe_server.handling.handler import Handler
from dpe_server.net.link import Link
from dpe_server.operation.resources import lane, router
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transaction_table import Transactions
from dpe_server.session.sessions import Sessions
from dpe_tools.simulation.database import UNREADABLE
from dpe_tools.simulation.events import Address, DatagramRead, DatagramSent, DefectSeen, ProcessStarted
from dpe_tools.simulation.loop import Killed, Loop
from dpe_tools.simulation.machine import Machine
from dpe_tools.simulation.session_events import Accepted, RequestsAccepted, Unauthorized
from dpe_tools.simulation.sockets import Socket, SocketLink
from dpe_tools.simulation.witness import SessionsWitness, Witness

RETRY_AFTER = 30
NOBODYS = 4
"""Fewer than in a real server, where they hide how long an answer takes: so many would take a third of a simulation."""


class Process:
    """A worker on ``machine``, from its start to its end. ``name`` is what events call it.

    ``crash`` is told when the process ends at a point, and at which.
    """

    def __init__(
        self, machine: Machine, socket: Socket, number: int, name: str, crash: Callable[["Process", str], None]
    ) -> None:
        self.machine = machine
        self.number = number
        self.name = name
        self._crash = crash
        self._socket = socket
        self._emit = machine.world.emit
        self._buried = False
        self.loop = Loop(machine.world, self.point, machine.monotonic, machine.thread, self._defect)  # type: ignore[abstract]
        self._store = machine.database.serve(self.point, machine.wall, lambda: machine.condition.disk, self._committed)
        self._transactions = Transactions(machine.world.random_bytes, total=machine.trouble.total, nobodys=NOBODYS)
        self._registrar = Registrar(
            realm=machine.realm,
            keys=machine.keys,
            policy=machine.policy,
            random=machine.world.random_bytes,
            retry_after=RETRY_AFTER,
            transactions=self._transactions,
            ordinals=copy.copy(machine.ordinals),
        )
        self._sessions = Sessions(
            keys=machine.keys,
            policy=machine.policy,
            random=random.Random(f"sessions of {name}").randbytes,  # noqa: S311  # a simulation must repeat
            retry_after=RETRY_AFTER,
        )
        self._emit(ProcessStarted(name, machine.name, machine.trouble.total))
        self._emit(machine.told(name))
        machine.tell()
        self.loop.enter(self._start)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self.loop.dead

    def point(self, what: str) -> None:
        """Go on, or raise Killed if the process ends here: at an "await", a "send", a "write", or around a commit."""
        if self.loop.dead:
            raise Killed
        machine = self.machine
        if machine.condition.crash_at == what or machine.world.chance(machine.trouble.crashes):
            machine.condition.crash_at = ""
            self._crash(self, what)
            raise Killed

    def reload(self) -> None:
        """Go on with the policy that the machine has now, as on SIGHUP."""

        def take_over() -> None:
            machine = self.machine
            machine.database.settle()  # what was given under the old policy
            self._registrar.reload(keys=machine.keys, policy=machine.policy)
            self._sessions.reload(policy=machine.policy)
            self._emit(machine.told(self.name))

        self.loop.enter(lambda: self.loop.create_task(self._batcher.exclusively(take_over)))

    def prune(self, now: int) -> None:
        """End and prune as housekeeping does."""
        action = partial(self.machine.prune, now)
        self.loop.enter(lambda: self.loop.create_task(self._batcher.exclusively(action)))

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
            self._socket.woken = lambda: None
            self.machine.world.after(0, self.bury)  # not now: it may be in the middle of a commit

    def bury(self) -> None:
        """Let go of what a dead process leaves."""
        if not self._buried:
            self._buried = True
            self.loop.bury()
            self._store.close()

    def _start(self) -> None:
        machine = self.machine
        wall = partial(machine.database.now, machine.wall)
        sessions = SessionsWitness(self.name, self._sessions, self._emit)
        registrar = Witness(
            self.name,
            self._registrar,
            self._transactions,
            self._emit,
            wall,
            None if self._store.remote else lambda: machine.condition.disk != UNREADABLE,
        )
        self._batcher = Batcher(
            self._store,
            retry_after=RETRY_AFTER,
            audit=machine.counted,
            clock=self.loop.time,
            wall=wall,
        )
        handlers: tuple[Handler[Any], ...] = registrar, sessions
        resources = router(*(partial(self._batcher.submit, handler) for handler in handlers))
        self._coap = CoapServer([self._link(handlers)], resources, retry_after=RETRY_AFTER)
        self._coap.start()

    def _link(self, handlers: Sequence[Handler[Any]]) -> Link:
        if self.machine.trouble.lane:
            link = SocketLink(self._socket, self._wake, self._send)
            return lane(link, *(partial(self._batcher.take, handler) for handler in handlers))
        return SocketLink(self._socket, self._wake, self._send, self._read)

    def _wake(self, action: Callable[[], None]) -> None:
        self.loop.call_later(self.machine.condition.wakes / 1000, action)

    def _send(self, datagram: bytes, receiver: Address) -> None:
        """Send a datagram, as the kernel does; the process may end before."""
        self.point("send")
        if datagram[1] == Code.UNAUTHORIZED:
            self._emit(Unauthorized(self.name, datagram))
        if not self.machine.trouble.lane:
            self._emit(DatagramSent(self.name, datagram, receiver))
        self.machine.world.send(self.machine.address, receiver, datagram)

    def _read(self, datagram: bytes, sender: Address) -> None:
        self._emit(DatagramRead(self.name, datagram, sender))

    def _committed(self, accepted: Sequence[Accepted]) -> None:
        if accepted:
            now = self.machine.database.now(self.machine.wall)
            self._emit(RequestsAccepted(self.name, now, tuple(accepted)))
        self.machine.tell()

    def _defect(self, what: str) -> None:
        self._emit(DefectSeen(what))
