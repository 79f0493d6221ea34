"""Coming in and leaving."""

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dpe_server.operation.acts import note
from dpe_server.web.door import LONGEST_SECONDS, Role, Visitor
from dpe_server.web.faults import Fault
from dpe_server.web.forms import cookie_name, cookie_of, posted
from dpe_server.web.rendering import page
from dpe_server.web.site import Site


def login(request: Request) -> Response:
    """Let somebody in who has a login link that is valid.

    The answer is a page that leads on, and no redirect: where the link was in a page of another site, a browser would
    not send a strict cookie along.
    """
    site: Site = request.app.state.site
    if request.method == "HEAD":
        raise Fault(405)
    if "prefetch" in request.headers.get("sec-purpose", request.headers.get("purpose", "")):
        raise Fault(403, "A login link is not opened in advance.", "Open it yourself.")
    entered = site.door.enter(request.query_params.get("secret", ""))
    if entered is None:
        raise Fault(
            403,
            "This login link is not valid: it was used before, is older than ten minutes, or is not whole.",
            "For a new one, send SIGHUP to dpe web, which prints it.",
        )
    cookie, visitor = entered
    note(site.opened(), "web-login", by=visitor.name, role=visitor.role)
    request.state.visitor = visitor
    response = page(request, "entered.html")
    response.set_cookie(
        cookie_name(request, site),
        cookie,
        max_age=LONGEST_SECONDS,
        path="/",
        secure=site.secure,
        httponly=True,
        samesite="strict",
    )
    return response


def _logout(request: Request, visitor: Visitor, form: FormData) -> Response:
    site: Site = request.app.state.site
    site.door.leave(cookie_of(request, site) or "")
    response = RedirectResponse("/", 303)
    response.delete_cookie(cookie_name(request, site), path="/", secure=site.secure, httponly=True, samesite="strict")
    return response


ROUTES = [
    Route("/login", login, methods=["GET"]),
    Route("/logout", posted(_logout, role=Role.READER), methods=["POST"]),
]
