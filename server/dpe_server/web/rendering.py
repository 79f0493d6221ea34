"""Pages from their templates. All that is put into one is escaped."""

import time
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dpe_coap.client_ids import client_id_text
from dpe_server.operators.times import ago, moment, span
from dpe_server.web.door import Role, Visitor
from dpe_server.web.faults import Told
from dpe_server.web.forms import TOKEN
from dpe_server.web.site import Site

STATIC = Path(__file__).parent / "static"
PLACES = (
    ("/", "Overview"),
    ("/sessions", "Sessions"),
    ("/policy", "Policy"),
    ("/audit", "Audit log"),
    ("/health", "Health"),
)
"""What the page's navigation has."""


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return the page that a template makes of these values."""
    site: Site = request.app.state.site
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    text = (
        _environment()
        .get_template(template)
        .render(
            visitor=visitor,
            place=request.url.path,
            realm=site.realm if visitor else "",
            places=PLACES if visitor else (),
            now=values.pop("now", int(time.time())),
            read_only=visitor is None or not visitor.role.covers(Role.OPERATOR),
            token=lambda: _field(visitor),
            **values,
        )
    )
    return HTMLResponse(text, status)


def _field(visitor: Visitor | None) -> Markup:
    """Return the hidden field that each form has."""
    token = visitor.form_token if visitor else ""
    return Markup('<input type="hidden" name="{}" value="{}">').format(TOKEN, token)


def error_page(request: Request, told: Told) -> HTMLResponse:
    """Return the page that tells an error."""
    return page(request, "error.html", status=told.status, told=told)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("dpe_server.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"span": span, "ago": ago, "moment": moment, "client_id": client_id_text}
    made.globals["static"] = static
    return made


@cache
def static(name: str) -> str:
    """Return the address of a static file, which changes with what is in it: so a browser may keep it for ever."""
    try:
        version = sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    except FileNotFoundError:
        version = "missing"
    return f"/static/{name}?{version}"
