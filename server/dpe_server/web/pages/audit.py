"""The audit log, the newest first, and as it grows."""

import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dpe_server.operators import audit_log
from dpe_server.operators.audit_log import Place, Wanted
from dpe_server.web.faults import Fault
from dpe_server.web.pages.common import address, given, site_of
from dpe_server.web.rendering import page
from dpe_server.web.streams import answer, event, pause

AT_ONCE = 100
"""Lines on a page."""
EVENTS = (
    "response", "established", "first-contact", "session-ended", "declined", "superseded", "limited", "store-failed",
    "unauthenticated", "malformed", "revoked", "unrevoked", "policies-set", "policies-cleared", "imei-shown",
    "device-looked-up", "web-login",
)  # fmt: skip
FIELDS = ("event", "device", "registration", "id")


def audit(request: Request) -> Response:
    """Show lines that fit what is asked for."""
    site = site_of(request)
    asked, wanted = _asked(request)
    before = given(request, "before", 60)
    path = site.opened().audit_path
    try:
        follow = audit_log.end_of(path)
        found = audit_log.newest(path, wanted, before=Place.parse(before) if before else None, most=AT_ONCE)
    except ValueError:
        raise Fault(400) from None
    except LookupError:
        raise Fault(
            404, "That part of the audit log is gone: its files are rotated.", "Begin at the newest line."
        ) from None
    return page(
        request,
        "audit.html",
        asked=asked,
        lines=[in_columns(line) for line in found.lines],
        older=address("/audit", **asked, before=str(found.place)) if found.place else None,
        stream=None if before else address("/audit/stream", **asked, since=str(follow)),
        events=EVENTS,
    )


async def stream(request: Request) -> Response:
    """Send lines as they come."""
    site = site_of(request)
    _, wanted = _asked(request)
    try:
        place = Place.parse(request.headers.get("last-event-id") or given(request, "since", 60))
    except ValueError:
        raise Fault(400) from None
    path = (await run_in_threadpool(site.opened)).audit_path

    async def events() -> AsyncIterator[str]:
        at = place
        while await pause(site, 1.0):
            try:
                found = await run_in_threadpool(audit_log.since, path, wanted, at, most=AT_ONCE)
            except OSError:
                continue
            at = found.place or at
            yield event([in_columns(line) for line in found.lines], number=str(at))

    return answer(request, events())


def _asked(request: Request) -> tuple[dict[str, str], Wanted]:
    asked = {name: given(request, name, 64) for name in FIELDS}
    registration = asked["registration"]
    if registration and not re.fullmatch(r"[0-9]{1,19}", registration):
        raise Fault(400, "A registration is a number.", "Write digits only, or leave it empty.")
    return asked, Wanted(
        event=asked["event"],
        device=asked["device"].lower(),
        registration=int(registration) if registration else None,
        client_id=asked["id"].lower(),
    )


def in_columns(line: dict[str, Any]) -> dict[str, Any]:
    """Return what a row has: the time, the event, whom it is about, and the rest in words."""
    rest = {
        name: value
        for name, value in line.items()
        if name not in ("time", "event", "device", "registration", "client_id")
    }
    return {
        "time": str(line.get("time", ""))[:23].replace("T", " "),
        "event": line["event"],
        "device": line.get("device", ""),
        "registration": str(line.get("registration", "")),  # more digits than JavaScript's numbers have
        "client_id": line.get("client_id", ""),
        "rest": ", ".join(f"{name} {value}" for name, value in rest.items()),
    }


ROUTES = [Route("/audit", audit), Route("/audit/stream", stream)]
