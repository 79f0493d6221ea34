"""Under siege nobody is locked out of a session: each request is accepted, and answered at once.

The network loses nothing, so each exchange is counted. Its request is accepted within a second, whatever comes before
it. It is answered within a second too, unless copies of it come from elsewhere: they cost the answer, not the report.
And nobody but the device uses up its share.
"""

from dataclasses import dataclass

from dpe_coap.binding import Code
from dpe_server.session.shares import BURST, EVERY
from dpe_tools.simulation.events import RequestSent, SiegeBegan, SiegeInterrupted
from dpe_tools.simulation.invariants.asked import Requests
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.names import FIRST_REPORT
from dpe_tools.simulation.session_events import (
    Copied,
    ProtectedAnswered,
    ProtectedSent,
    RequestsAccepted,
    ResponseBelieved,
)
from dpe_tools.simulation.world import SECOND, World


@dataclass(slots=True)
class _Exchange:
    """One that has not been answered: its request, and when that was sent first (ms)."""

    request: bytes
    at: int
    excused: bool = False
    """Whether its device has had its share."""


class Exchanges:
    """Counts the exchanges of each device under siege."""

    def __init__(self, world: World, durable: Durable, requests: Requests) -> None:
        self._world = world
        self._durable = durable
        self._requests = requests
        self._is_siege = False
        self._open: dict[bytes, _Exchange] = {}
        """By device."""
        self._copied: set[bytes] = set()
        self._accepted: dict[bytes, list[int]] = {}
        """By session, when its requests have been accepted (ms)."""
        world.on(SiegeBegan, lambda _: self._besiege(True))
        world.on(SiegeInterrupted, lambda _: self._besiege(False))
        world.on(ProtectedSent, self._sent)
        world.on(RequestSent, lambda event: self._lost(event.device))
        world.on(Copied, lambda event: self._copied.add(event.request))
        world.on(RequestsAccepted, self._accept)
        world.on(ProtectedAnswered, self._answered)
        world.on(ResponseBelieved, self._believed)

    def _besiege(self, is_siege: bool) -> None:
        self._is_siege = is_siege
        self._open.clear()

    def _sent(self, event: ProtectedSent) -> None:
        if not self._is_siege or event.again or any(device == event.device for _, device in self._durable.revoked):
            return
        world = self._world
        world.counts["exchanges under siege"] += 1
        self._lost(event.device)
        self._open[event.device] = _Exchange(event.request, world.now)

    def _lost(self, device: bytes) -> None:
        """Look at an exchange whose answer the device does not wait for any more, if there is one."""
        lost, world = self._open.pop(device, None), self._world
        if lost is None:
            return
        world.counts["answers lost"] += 1
        if lost.excused:
            return
        asked = self._requests.made[lost.request]
        if asked.number not in self._requests.sessions[asked.session].accepted:
            world.fail(FIRST_REPORT, "a request is not accepted")
        elif lost.request not in self._copied:
            world.fail(FIRST_REPORT, "an answer is lost, and nobody has copied the request")

    def _accept(self, _: RequestsAccepted) -> None:
        for asked, _row, _is_new in self._requests.just:
            if asked is not None:
                self._accepted.setdefault(asked.session, []).append(self._world.now)

    def _answered(self, event: ProtectedAnswered) -> None:
        asked = self._requests.made.get(event.request)
        exchange = None if asked is None else self._open.get(asked.device)
        if asked is None or exchange is None or exchange.request != event.request:
            return
        if event.reply.code == Code.SERVICE_UNAVAILABLE:
            since = self._world.now - BURST * EVERY * SECOND
            used = sum(at >= since for at in self._accepted.get(asked.session, ()))
            exchange.excused |= used >= BURST

    def _believed(self, event: ResponseBelieved) -> None:
        exchange = self._open.get(event.device)
        if exchange is None or exchange.request != event.request:
            return
        del self._open[event.device]
        took = self._world.now - exchange.at
        if took > SECOND and event.request not in self._copied and not exchange.excused:
            self._world.fail(FIRST_REPORT, f"an answer has taken {took} ms")
