"""What is found when the installation and the state directory are examined."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dpe_server.web.pages.common import site_of
from dpe_server.web.rendering import page


def show(request: Request) -> Response:
    """Show all findings."""
    findings = site_of(request).findings.now()
    order = {"fail": 0, "warn": 1, "ok": 2}
    return page(request, "health.html", findings=sorted(findings, key=lambda finding: order[finding.level]))


ROUTES = [Route("/health", show)]
