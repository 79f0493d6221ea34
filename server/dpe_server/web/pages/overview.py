"""What the server does now, and what is wrong."""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dpe_server.operation import loaded
from dpe_server.web.pages.common import site_of
from dpe_server.web.rendering import page
from dpe_server.web.sampling import in_json
from dpe_server.web.streams import answer, event


def overview(request: Request) -> Response:
    """Show charts, figures, and what is wrong."""
    site = site_of(request)
    opened = site.opened()
    findings = site.findings.now()
    return page(
        request,
        "overview.html",
        running=loaded.is_running(opened),
        uri=opened.config.uri,
        wrong=[finding for finding in findings if finding.level != "ok"],
        good=sum(finding.level == "ok" for finding in findings),
        last=site.sampler.points[-1] if site.sampler.points else None,
    )


async def stream(request: Request) -> Response:
    """Send what the server does, once a second."""
    site = site_of(request)

    async def events() -> AsyncIterator[str]:
        seen = 0.0
        while not site.ending.is_set():
            points = await site.sampler.watch(seen)
            if points:
                seen = points[-1].at
            told = {"points": list(map(in_json, points)), "why": site.sampler.why, "hint": site.sampler.hint}
            yield event(told)

    return answer(request, events())


ROUTES = [Route("/", overview), Route("/overview/stream", stream)]
