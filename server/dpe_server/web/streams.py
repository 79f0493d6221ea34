"""Server-sent events: a page stays up to date without asking again and again."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from dpe_server.web.faults import Fault
from dpe_server.web.forms import cookie_of
from dpe_server.web.site import Site

MOST = 64
"""Streams at once."""


def event(data: Any, *, name: str = "", number: str = "") -> str:
    """Return one event. Its data is JSON."""
    lines = [f"event: {name}"] if name else []
    lines += [f"id: {number}"] if number else []
    return "\n".join([*lines, f"data: {json.dumps(data, separators=(',', ':'))}", "", ""])


async def pause(site: Site, seconds: float) -> bool:
    """Wait; return whether the process goes on."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await site.ending.wait()
    return not site.ending.is_set()


def answer(request: Request, events: AsyncIterator[str]) -> StreamingResponse:
    """Return the answer that sends events until the visitor goes, may not be here any more, or the process ends.

    Fault if there are MOST streams already.
    """
    site: Site = request.app.state.site
    if len(site.streams) >= MOST:
        raise Fault(503, "Too many pages are open.", "Close some of them.")
    cookie = cookie_of(request, site) or ""

    async def sent() -> AsyncIterator[str]:
        this = object()
        site.streams.add(this)
        try:
            yield "retry: 3000\n\n"
            async for one in events:
                if site.ending.is_set() or site.door.visitor(cookie, heard=False) is None:
                    return
                yield one
        finally:
            site.streams.discard(this)

    return StreamingResponse(sent(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
