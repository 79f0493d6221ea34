"""The application of the HTTP API, to be mounted at PREFIX."""

import json
from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Security
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from starlette.responses import Response

from dpe_server.operation.access import AccessFile, Role
from dpe_server.web.api import audit, changes, devices, health, policy, restricting, sessions
from dpe_server.web.api.context import takes_json
from dpe_server.web.api.gate import Gate
from dpe_server.web.api.problems import Fault, ProblemDocument, install
from dpe_server.web.api.stream import Streams
from dpe_server.web.site import Site

PREFIX = "/api/v1"
"""Where it is mounted."""
DESCRIPTION = """\
What an operator's programs ask of a DPE Server: its sessions, what devices report, its policy and its audit log.

Show an access token with each request: `Authorization: Bearer dpe_…`. `dpe access create` makes one. A reader may GET;
all else needs an operator. Every error is a problem as of RFC 9457. No IMEI is shown but by POST and for a reason.
"""

_bearer = HTTPBearer(auto_error=False, description="An access token: dpe_ and 64 hex digits.")


def build(site: Site) -> Gate:
    """Return the application. Where the page is read-only, so is this, whatever the role of an access token."""
    api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    install(api)
    api.state.site, api.state.streams, api.state.pulse = site, Streams(), health.Pulse(site)
    needed = [Security(_bearer), Depends(takes_json)]
    for one in (sessions, devices, restricting, policy, audit):
        api.include_router(one.router, dependencies=needed)
    api.include_router(changes.router, dependencies=[Security(_bearer)])
    api.include_router(health.router)

    @api.get("/openapi.json", include_in_schema=False)
    def show_document() -> Response:
        """Return what describes this API."""
        return Response(_document(), media_type="application/json")

    return Gate(api, AccessFile(site.state), read_only=site.door.role is Role.READER)


@cache
def _document() -> bytes:
    return json.dumps(document()).encode()


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    routers = (sessions, devices, restricting, policy, audit, changes)
    api = FastAPI(openapi_url=None)
    for one in routers:
        api.include_router(one.router, dependencies=[Security(_bearer)])
    api.include_router(health.router)
    made = get_openapi(
        title="DPE Server",
        version=version("dpe-coap"),
        description=DESCRIPTION,
        routes=api.routes,
        servers=[{"url": PREFIX}],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = made["components"]["schemas"]
    for model in (ProblemDocument, Fault):
        found = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found.pop("$defs", None)
        schemas[model.__name__] = found
    return made
