"""Of two registrations of a device the newer wins: the one whose RESPONSE a server made later."""

from collections import defaultdict
from collections.abc import Collection

from dpe_coap.numbers import Status
from dpe_server.store.contract import Session
from dpe_tools.simulation.events import ResponseGiven, Stored, SuccessAnswered
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.names import NEWER_WINS
from dpe_tools.simulation.invariants.replies import status_of
from dpe_tools.simulation.world import World


class Order:
    """Looks at each row that replaces another, and at each device that is told it is superseded."""

    def __init__(self, world: World, messages: Messages, durable: Durable) -> None:
        self._fail = world.fail
        self._messages = messages
        self._durable = durable
        self._places: defaultdict[bytes, dict[bytes, int]] = defaultdict(dict)
        """By REQUEST, its RESPONSEs, each with its place among all."""
        self._count = 0
        self._last: dict[tuple[str, bytes], Session] = {}
        """The last row that came, by server and device."""
        world.on(ResponseGiven, self._response)
        world.on(Stored, self._stored)
        world.on(SuccessAnswered, self._answered)

    def _response(self, event: ResponseGiven) -> None:
        places = self._places[event.request]
        if event.response not in places:
            self._count += 1
            places[event.response] = self._count

    def _stored(self, event: Stored) -> None:
        for row in self._durable.new:
            name = event.server, row.device
            before, self._last[name] = self._last.get(name), row
            if before is not None and before.success_hash not in self._durable.pruned:
                new, old = self._places_of(row), self._places_of(before)
                if new and old and max(new) < min(old):
                    self._fail(NEWER_WINS, "an older registration has replaced a newer one")

    def _answered(self, event: SuccessAnswered) -> None:
        made = self._messages.successes.get(event.success)
        if made is None or not event.confirm or status_of(event.confirm) in (Status.OK, Status.RELEASED):
            return
        mine = self._places[made.request].values()
        others = (self._places_of(row) for row in self._durable.of_device[made.device].values())
        if not any(max(other, default=0) > min(mine, default=0) for other in others):
            self._fail(NEWER_WINS, "there is no other")

    def _places_of(self, row: Session) -> Collection[int]:
        """Return the places of the RESPONSEs to the REQUEST that this row goes back to."""
        made = self._messages.by_hash.get(row.success_hash)
        return () if made is None else self._places[made.request].values()
