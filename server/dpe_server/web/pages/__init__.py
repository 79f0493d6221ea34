"""The pages: each module has those of one subject, and only asks ``operators`` for what they show."""

from starlette.routing import BaseRoute

from dpe_server.web.pages import audit, device, health, login, overview, policy, sessions

ROUTES: list[BaseRoute] = [
    *login.ROUTES,
    *overview.ROUTES,
    *sessions.ROUTES,
    *device.ROUTES,
    *policy.ROUTES,
    *audit.ROUTES,
    *health.ROUTES,
]
