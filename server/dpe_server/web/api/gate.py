"""What every request passes: who sends it, whether that may be, and a body that is bounded. Before anything is read.

Whoever shows an access token that is valid always comes in. Wrong ones are answered 401, and from a few a minute on
429, by address: nobody finds an access token by trying, but who tries fills no log and costs little.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dpe_server.files.logs import log_defect
from dpe_server.operation.access import Access, AccessError, AccessFile, Role
from dpe_server.web.api.problems import Problem, too_busy, unavailable
from dpe_server.web.headers import is_longer

LONGEST = 16_384
"""The most bytes of a body."""
PATIENCE = 10.0
"""Seconds within which a body must be there."""
WRONG = 10
"""Wrong access tokens that an address may show at once; then one for each PAUSE."""
PAUSE = 6.0
"""Seconds."""
ADDRESSES = 4_096
"""The most addresses that are remembered."""
OPEN = ("/health", "/openapi.json")
"""What is told to everybody."""
READING = ("GET", "HEAD", "OPTIONS")
ACCESS = "dpe.access"
"""Where the scope has the access token of the request."""

_CREATE = "create one with: dpe access create STATE NAME --role reader"


class WrongOnes:
    """Counts the wrong access tokens that come from an address; of IPv6, from a network of 64 bits."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until: OrderedDict[str, float] = OrderedDict()
        """By address: when it has its whole share again."""

    def wait(self, address: str) -> float:
        """Count another one. Return how many seconds too early it was, or 0."""
        now, key = self._now(), _network(address)
        until = max(now, self._until.pop(key, now))
        early = max(0.0, until - now - (WRONG - 1) * PAUSE)
        self._until[key] = until + (0 if early else PAUSE)
        if len(self._until) > ADDRESSES:
            self._until.popitem(last=False)
        return early


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return ""
    return str(ip_network((address, 64), strict=False)) if found.version == 6 else address


class Gate:
    """Lets requests to ``inner`` that may be, with the whole body; the scope has the access token as ACCESS.

    With ``read_only``, nobody may change anything.
    """

    def __init__(self, inner: ASGIApp, file: AccessFile, *, read_only: bool, wrong: WrongOnes | None = None) -> None:
        self._inner = inner
        self._file = file
        self._read_only = read_only
        self._wrong = wrong or WrongOnes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        try:
            if _path(scope) not in OPEN:
                scope[ACCESS] = await self._admit(scope)
            receive = await _whole(scope, receive)
        except Problem as problem:
            await problem.response(scope, receive, send)
            return
        try:
            await self._inner(scope, receive, send)
        except Exception as error:  # it is answered already
            log_defect("request failed", error)

    async def _admit(self, scope: Scope) -> Access:
        """Return the access token of a request, which may do what it asks; Problem."""
        scheme, _, text = Headers(scope=scope).get("authorization", "").partition(" ")
        try:
            access = await run_in_threadpool(self._file.admit, text.strip(), time.time())
        except AccessError:
            raise unavailable() from None
        if access is None or scheme.lower() != "bearer":
            if scheme:
                self._count(scope)
            raise Problem(
                401,
                "an access token is needed, in the header Authorization: Bearer dpe_…"
                if not scheme
                else "the access token is not valid: it is wrong, has expired or was revoked",
                hint=_CREATE,
                headers={"WWW-Authenticate": 'Bearer realm="dpe"' + (', error="invalid_token"' if scheme else "")},
            )
        if scope["method"] not in READING:
            if self._read_only:
                raise Problem(403, "nothing can be changed here", hint="dpe web was started with --read-only")
            if not access.role.covers(Role.OPERATOR):
                raise Problem(
                    403,
                    "a reader may not do this: an operator's access token is needed",
                    hint="create one with: dpe access create STATE NAME --role operator",
                    headers={"WWW-Authenticate": 'Bearer realm="dpe", error="insufficient_scope"'},
                )
        return access

    def _count(self, scope: Scope) -> None:
        early = self._wrong.wait((scope.get("client") or ("",))[0])
        if early:
            raise too_busy(
                "too many wrong access tokens came from this address",
                hint="look which one it uses",
                after=int(early) + 1,
            )


def _path(scope: Scope) -> str:
    """Return the path below where the API is mounted."""
    path = str(scope["path"])
    return path.removeprefix(str(scope.get("root_path", "")))


async def _whole(scope: Scope, receive: Receive) -> Receive:
    """Read the body and return what gives it again; Problem if it is too long, is not JSON or does not come."""
    headers = Headers(scope=scope)
    if is_longer(headers, LONGEST):
        raise _too_long()
    body, more = b"", headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    try:
        async with asyncio.timeout(PATIENCE):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Problem(400, "the body is not whole", hint="send all of it")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > LONGEST:
                    raise _too_long()
    except TimeoutError:
        raise Problem(
            408,
            f"the body did not come within {PATIENCE:.0f} s",
            hint="send it at once",
            headers={"Connection": "close"},
        ) from None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise Problem(
            415, "the body is not said to be JSON", hint="send it with the header Content-Type: application/json"
        )
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_long() -> Problem:
    return Problem(
        413, f"the body is longer than {LONGEST} bytes", hint="send less at once", headers={"Connection": "close"}
    )
