"""The HTTP API: JSON for programs of the operator, and a stream of what changes. FastAPI describes it in OpenAPI.

What it tells comes from `operators`, as what commands tell does; what is here knows HTTP and decides nothing. It is
served by the application of `dpe web`, and is opened by access tokens, never by the page's cookie.
"""

from dpe_server.web.api.application import PREFIX, build

__all__ = ["PREFIX", "build"]
