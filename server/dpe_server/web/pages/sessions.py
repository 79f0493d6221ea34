"""Sessions: a search among them."""

import time

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_coap.messages import Version
from dpe_server.operators.disclosing import device_of
from dpe_server.operators.searching import LAST, of_prefix, search
from dpe_server.operators.times import parse_span
from dpe_server.store.listing import Wanted
from dpe_server.store.record import count
from dpe_server.web.door import Visitor
from dpe_server.web.faults import Fault
from dpe_server.web.forms import posted
from dpe_server.web.pages.common import address, given, site_of
from dpe_server.web.rendering import page

AT_ONCE = 50
"""Sessions on a page."""
FIELDS = ("id", "version", "rule", "firmware", "silent")


def sessions(request: Request) -> Response:
    """Show sessions that fit what is asked for."""
    site = site_of(request)
    asked = {name: given(request, name) for name in FIELDS}
    now = int(time.time())
    problem = ""
    found = None
    try:
        after, upto = (-1, LAST) if not asked["id"] else of_prefix(asked["id"])
        if begin := given(request, "after", 14):
            after = max(after, of_prefix(begin.rjust(14, "0"))[0] + 1)
        wanted = Wanted(
            rule=asked["rule"] or None,
            version=Version.parse(asked["version"]) if asked["version"] else None,
            firmware=asked["firmware"] or None,
            heard_before=now - parse_span(asked["silent"]) if asked["silent"] else None,
        )
    except LocalError as error:
        problem = f"{error}: {error.hint}"
    except ValueError as error:
        problem = f"{error}"
    else:
        with site.stores.open() as store:
            found = search(store, wanted, now, after=after, upto=upto, most=AT_ONCE)
    policy = site.policy.read_if_good()
    return page(
        request,
        "sessions.html",
        status=400 if problem else 200,
        asked=asked,
        problem=problem,
        found=found,
        first=not given(request, "after"),
        next=None
        if found is None or found.after is None
        else address("/sessions", **asked, after=f"{found.after:014x}"),
        rules=[] if policy is None else [rule.name for rule in policy.rules[:200]],
        count=count,
        now=now,
    )


def find(request: Request) -> Response:
    """Ask for an IMEI, to find the device."""
    return page(request, "find.html")


def _find(request: Request, visitor: Visitor, form: FormData) -> Response:
    site = site_of(request)
    try:
        device = device_of(
            site.opened(), Imei.parse(str(form.get("imei", ""))), str(form.get("reason", "")), visitor.name
        )
    except LocalError as error:
        raise Fault(400, f"{error}.", error.hint) from None
    return RedirectResponse(f"/devices/{device.hex()}", 303)


ROUTES = [
    Route("/sessions", sessions),
    Route("/find", find, methods=["GET"]),
    Route("/find", posted(_find), methods=["POST"]),
]
