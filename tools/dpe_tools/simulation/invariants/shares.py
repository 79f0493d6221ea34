"""What one device can cause in a minute once its key is proved, and that others cannot use up its share of that."""

from bisect import bisect_right

from dpe_tools.simulation.events import RequestRefused, ResponseGiven
from dpe_tools.simulation.invariants.freshness import Freshness
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.names import LIMITED, OWN_SHARE
from dpe_tools.simulation.world import World

MINUTE = 60.0
"""Seconds."""
SHARE = 20
"""New transactions in a minute: so many with a handle fresher than all that the device has used, and as many others."""
RETRIES = 10
"""How much of the former may be used with the freshest handle again."""
MOST = 2 * 2 * SHARE
"""In any 60 s: they may be the end of one of the server's minutes and the beginning of the next."""


class Shares:
    """Looks at each REQUEST that begins a transaction or is refused."""

    def __init__(self, world: World, messages: Messages, freshness: Freshness) -> None:
        self._fail = world.fail
        self._messages = messages
        self._freshness = freshness
        world.on(ResponseGiven, self._response)
        world.on(RequestRefused, self._refused)

    def _response(self, event: ResponseGiven) -> None:
        made = self._messages.requests.get(event.request)
        if made is not None:
            begun = self._freshness.begun(event.process, made.device)
            if len(begun) - bisect_right(begun, event.now - MINUTE, key=lambda one: one.at) > MOST:
                self._fail(LIMITED, f"more than {MOST} transactions of one device in a minute")

    def _refused(self, event: RequestRefused) -> None:
        made = self._messages.requests.get(event.request)
        if made is None:
            return
        used = self._freshness.as_fresh_since(event.process, made.device, event.now - MINUTE)
        if used < SHARE and self._freshness.is_fresh(event.process, event.request):
            self._fail(OWN_SHARE, f"a REQUEST with a fresh handle is refused after {used} in a minute")
        if used < RETRIES and self._freshness.is_as_fresh(event.process, event.request):
            self._fail(OWN_SHARE, f"a REQUEST with the freshest handle is refused after {used} in a minute")
