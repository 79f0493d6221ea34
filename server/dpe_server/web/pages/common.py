"""What several pages need."""

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from dpe_server.web.faults import Fault
from dpe_server.web.site import Site


def site_of(request: Request) -> Site:
    """Return what a request's page stands on."""
    site: Site = request.app.state.site
    return site


def given(request: Request, name: str, longest: int = 200) -> str:
    """Return a parameter of the address without spaces around it, or an empty string; Fault if it is too long."""
    value = request.query_params.get(name, "").strip()
    if len(value) > longest:
        raise Fault(400, f"{name} has more than {longest} characters.", "Make it shorter.")
    return value


def address(path: str, **values: Any) -> str:
    """Return an address with those parameters that are not empty."""
    query = urlencode({name: value for name, value in values.items() if value not in ("", None)})
    return f"{path}?{query}" if query else path
