"""Whether this process can answer, for a balancer. It is told to everybody, and says nothing else."""

import time
from threading import Lock

from fastapi import APIRouter, Request

from dpe_coap.errors import DpeError
from dpe_server.web.api.context import problems
from dpe_server.web.api.models import Health
from dpe_server.web.api.problems import unavailable
from dpe_server.web.site import Site

HOLDS = 1.0
"""Seconds for which an answer holds: whoever asks without an access token causes little work."""

router = APIRouter(tags=["health"])


class Pulse:
    """Looks whether the store answers, once in HOLDS."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = Lock()
        self._until = float("-inf")
        self._good = False

    def is_good(self) -> bool:
        """Say whether the store answers, or did a moment ago."""
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    with self._site.stores.open() as store:
                        store.standing()
                    self._good = True
                except DpeError:
                    self._good = False
                self._until = time.monotonic() + HOLDS
            return self._good


@router.get("/health", responses={503: problems()[503]})
@router.head("/health", include_in_schema=False)
def show_health(request: Request) -> Health:
    """Say whether the store of this server answers. No access token is needed."""
    if not request.app.state.pulse.is_good():
        raise unavailable()
    return Health(status="ok")
