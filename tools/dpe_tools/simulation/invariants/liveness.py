"""Nothing fails inside the server; every device registers, in the end and under siege.

Under siege the network loses nothing, so each attempt is counted. A REQUEST with a new nonce begins one, and it ends
REGISTERED within a second. It may be lost in two ways. Transactions of as fresh handles push out its own: that needs
recordings of the very same handle, or that the device has lost its storage; and it happens once, as the RESPONSE gives
the device a handle that is fresher than any that it has used. Or its REQUEST has a handle that it has used before, and
the server has answered so many of these within the minute that it answers no more.
"""

from dataclasses import dataclass
from functools import partial

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_server.store.contract import Outcome
from dpe_tools.simulation.events import (
    BoardChanged,
    DefectSeen,
    PatienceOver,
    RequestRefused,
    RequestSent,
    ResponseGiven,
    SessionSettled,
    SiegeBegan,
    SiegeInterrupted,
    SuccessAnswered,
    SuccessSent,
)
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.freshness import Freshness
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.names import FIRST_ATTEMPT, LAST_WORD, NO_DEFECT
from dpe_tools.simulation.invariants.shares import MINUTE, RETRIES
from dpe_tools.simulation.world import SECOND, World


class Liveness:
    """Looks at what the server logs, and at the end of a run."""

    def __init__(self, world: World) -> None:
        world.on(DefectSeen, lambda event: world.fail(NO_DEFECT, event.what))
        world.on(PatienceOver, lambda event: world.fail(LAST_WORD, str(dict(event.states))))


@dataclass(slots=True)
class _Attempt:
    """An attempt that has not ended: its last REQUEST, and when that was sent (ms)."""

    request: bytes
    at: int
    excused: bool = False
    """Whether its transaction may have been pushed out, or its REQUEST, with a used handle, was one too many."""


class Attempts:
    """Counts the attempts of each device under siege."""

    def __init__(self, world: World, messages: Messages, durable: Durable, freshness: Freshness) -> None:
        self._world = world
        self._messages = messages
        self._durable = durable
        self._freshness = freshness
        self._is_siege = False
        self._open: dict[bytes, _Attempt] = {}
        """By device."""
        world.on(SiegeBegan, lambda _: self._besiege(True))
        world.on(SiegeInterrupted, lambda _: self._besiege(False))
        world.on(RequestSent, self._request)
        world.on(ResponseGiven, self._response)
        world.on(RequestRefused, self._refused)
        world.on(SuccessSent, self._success)
        world.on(SuccessAnswered, self._answered)
        world.on(SessionSettled, self._settled)
        world.on(BoardChanged, self._changed)

    def _besiege(self, is_siege: bool) -> None:
        self._is_siege = is_siege
        self._open.clear()

    def _request(self, event: RequestSent) -> None:
        if not self._is_siege or event.again or any(device == event.device for _, device in self._durable.revoked):
            return
        world, lost = self._world, self._open.get(event.device)
        world.counts["attempts under siege"] += 1
        if lost is not None:
            world.counts["attempts lost"] += 1
            if not lost.excused:
                world.fail(FIRST_ATTEMPT, "one is lost, and nothing as fresh has pushed it out")
        self._open[event.device] = _Attempt(event.request, world.now)

    def _response(self, event: ResponseGiven) -> None:
        made = self._messages.requests.get(event.request)
        attempt = None if made is None else self._open.get(made.device)
        if made is not None and attempt is not None and attempt.request == event.request and not event.offer:
            del self._open[made.device]  # the server refuses; perhaps the client asks again in another way

    def _refused(self, event: RequestRefused) -> None:
        made = self._messages.requests.get(event.request)
        attempt = None if made is None else self._open.get(made.device)
        if made is not None and attempt is not None and attempt.request == event.request:
            used = self._freshness.as_fresh_since(event.process, made.device, event.now - MINUTE)
            attempt.excused |= not self._freshness.is_as_fresh(event.process, event.request) or (
                used >= RETRIES and not self._freshness.is_fresh(event.process, event.request)
            )

    def _success(self, event: SuccessSent) -> None:
        if self._messages.successes[event.success].status != Status.OK:
            self._open.pop(event.device, None)

    def _answered(self, event: SuccessAnswered) -> None:
        made = self._messages.successes.get(event.success)
        attempt = None if made is None else self._open.get(made.device)
        if (
            made is not None
            and attempt is not None
            and made.request in (attempt.request, b"")  # empty: its transaction was evicted within its own batch
            and event.reply.code == Code.UNAUTHORIZED
        ):
            may_be = partial(self._freshness.may_be_pushed_out, event.process, attempt.request)
            attempt.excused |= may_be() or may_be(before=True)

    def _settled(self, event: SessionSettled) -> None:
        if event.outcome == Outcome.CLIENT_ID_TAKEN:  # two workers have offered the same: there are only four
            self._open.pop(event.session.device, None)

    def _changed(self, event: BoardChanged) -> None:
        if event.session is not None:
            attempt = self._open.pop(event.device, None)
            if attempt is not None and self._world.now - attempt.at > SECOND:
                self._world.fail(FIRST_ATTEMPT, f"one has taken {self._world.now - attempt.at} ms")
