"""What stands before everything else: which requests are taken at all, and the headers of every answer.

The headers follow OWASP's HTTP headers cheat sheet. Nothing is allowed in a page but what comes from this server, and
no script or style within a page.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 1 << 16
"""Bytes of a request's body."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers do not say either where a form of ours comes from
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""Of every answer that has not its own."""
TRANSPORT = "max-age=31536000"
"""Strict-Transport-Security, where it is https."""


class Guard:
    """Takes requests for this host, with a small body, and gives every answer its headers.

    A request that names its host by a name must name one of ``origins`` or ``localhost``: else a page elsewhere could
    have its own name lead here (DNS rebinding). An address cannot be led elsewhere.
    """

    def __init__(self, app: ASGIApp, *, origins: Iterable[str] = (), secure: bool = False) -> None:
        self._app = app
        self._secure = secure
        self._hosts = {"localhost", *(urlsplit(origin).hostname or "" for origin in origins)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self._secure:
                    headers.setdefault("Strict-Transport-Security", TRANSPORT)
            await send(message)

        headers = Headers(scope=scope)
        if not self._is_here(headers.getlist("host")):
            text = (
                "error: this is another host. Open the address that dpe web has printed, or name yours by --origin.\n"
            )
            await PlainTextResponse(text, 421)(scope, receive, sending)
        elif is_longer(headers, LARGEST) and not scope["path"].startswith("/api/"):  # which says so as its errors are
            await PlainTextResponse(f"error: no request has more than {LARGEST} bytes.\n", 413)(scope, receive, sending)
        else:
            await self._app(scope, _limited(receive), sending)

    def _is_here(self, hosts: list[str]) -> bool:
        found = (
            re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?", hosts[0]) if len(hosts) == 1 else None
        )
        if found is None:
            return False
        host = found[1].strip("[]")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return host.lower().rstrip(".") in self._hosts
        return True


def is_longer(headers: Headers, most: int) -> bool:
    """Say whether a body is said to have more than ``most`` bytes, or no number of bytes."""
    length = headers.get("content-length", "0")
    return not (length.isascii() and length.isdecimal()) or len(length) > 9 or int(length) > most


def _limited(receive: Receive) -> Receive:
    """Take no more of a body than LARGEST, whatever its header says: what is longer ends as if it was broken off."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return message if taken <= LARGEST else {"type": "http.disconnect"}

    return limited
