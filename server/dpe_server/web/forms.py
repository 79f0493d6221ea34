"""Forms, the cookie, and how it is seen that a request comes from this page itself (OWASP's CSRF cheat sheet)."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from dpe_server.web.door import Role, Visitor, is_same
from dpe_server.web.faults import Fault
from dpe_server.web.site import Site

TOKEN = "form_token"  # noqa: S105  # the name of a field
MOST_FIELDS = 20


def cookie_name(request: Request, site: Site) -> str:
    """Return what the cookie is called. Servers on other ports of a host share its cookies, so it has the port."""
    if site.secure:
        return "__Host-dpe"
    return f"dpe-{request.url.port or 80}"


def cookie_of(request: Request, site: Site) -> str | None:
    """Return the value of the visitor's cookie."""
    return request.cookies.get(cookie_name(request, site))


def is_from_here(request: Request, site: Site) -> bool:
    """Say whether a page of ours has made a request, as browsers tell it. Who tells nothing of it is no browser."""
    fetched = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if fetched is None and origin is None:
        return False
    own = {f"{request.url.scheme}://{request.headers.get('host', '')}", *site.origins}
    return fetched in (None, "same-origin") and (origin is None or _normal(origin) in map(_normal, own))


def _normal(origin: str) -> str:
    parts = urlsplit(origin)
    return f"{parts.scheme}://{parts.netloc}".lower()


Act = Callable[[Request, Visitor, FormData], Response]
"""Does what a form asks for, in a thread."""


def posted(act: Act, *, role: Role = Role.OPERATOR) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that does ``act`` for a visitor who has this role, and whose form has their token."""

    async def endpoint(request: Request) -> Response:
        visitor: Visitor = request.state.visitor
        form = await request.form(max_files=0, max_fields=MOST_FIELDS)
        given = form.get(TOKEN)
        if not isinstance(given, str) or not is_same(given, visitor.form_token):
            raise Fault(403, "The form is of an earlier visit.", "Go back, reload the page, and send it again.")
        if not visitor.role.covers(role):
            raise Fault(403, "You may look, and not act.", "Ask for a login link of a dpe web without --read-only.")
        return await run_in_threadpool(act, request, visitor, form)

    return endpoint
