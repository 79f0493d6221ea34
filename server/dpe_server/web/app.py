"""The application: what is where, and that nothing is open to who has not come in."""

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dpe_coap.errors import DpeError
from dpe_server.files.logs import log_defect
from dpe_server.web import api
from dpe_server.web.faults import Fault, told_of
from dpe_server.web.forms import cookie_of, is_from_here
from dpe_server.web.headers import Guard
from dpe_server.web.pages import ROUTES
from dpe_server.web.rendering import STATIC, error_page
from dpe_server.web.site import Site

OPEN = ("/login", "/static/")
"""Where nobody need have come in."""


def build(site: Site) -> Starlette:
    """Return the application: the pages, and the HTTP API."""
    programs = api.build(site)
    app = Starlette(
        routes=[*ROUTES, Mount("/static", _Static(directory=STATIC), name="static")],
        middleware=[
            Middleware(Guard, origins=site.origins, secure=site.secure),
            Middleware(_Defects),
            Middleware(_Entrance, site=site, programs=programs),
        ],
        exception_handlers={DpeError: _failed, HTTPException: _failed},
    )
    app.state.site = site
    app.state.programs = programs
    return app


class _Entrance:
    """Turns away who has not come in, and every request to change something that another site has made.

    The HTTP API for ``programs`` asks for an access token itself: the cookie of a page opens nothing there.
    """

    def __init__(self, app: ASGIApp, site: Site, programs: ASGIApp) -> None:
        self._app = app
        self._site = site
        self._programs = programs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(f"{api.PREFIX}/"):  # no Mount, whose pattern takes no line break
            await self._programs({**scope, "root_path": api.PREFIX}, receive, send)
            return
        request = Request(scope)
        cookie = cookie_of(request, self._site)
        # A stream is no sign of life: a browser opens it again by itself.
        heard = not scope["path"].endswith("/stream")
        visitor = None if cookie is None else self._site.door.visitor(cookie, heard=heard)
        if visitor is not None:
            request.state.visitor = visitor
        fault = None
        if request.method not in ("GET", "HEAD", "OPTIONS") and not is_from_here(request, self._site):
            fault = Fault(403, "This request was made by another site.", "Open this page itself, and use its buttons.")
        elif visitor is None and not any(scope["path"].startswith(path) for path in OPEN):
            fault = Fault(401)
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await (await _failed(request, fault))(scope, receive, send)


class _Defects:
    """Answers what nobody foresaw, and has it logged by its type and place: its text may hold what must not be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:  # it has gone, or its body was longer than Guard takes
            if not begun:
                await (await _failed(Request(scope), Fault(413)))(scope, receive, send)
        except Exception as error:
            log_defect("a page failed", error)
            if not begun:
                await (await _failed(Request(scope), error))(scope, receive, send)


class _Static(StaticFiles):
    """Files that a browser may keep: their address changes with what is in them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if scope["query_string"] and response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


async def _failed(request: Request, error: Exception) -> Response:
    return await run_in_threadpool(error_page, request, told_of(error))
