"""Who may come in, and as what: by a login link that is valid once, then by a cookie, or by an access token.

Secrets are drawn at random (256 bits) and kept as hashes. Nothing of this outlives the process.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock

from dpe_server.operation.access import Role as Role

LINK_SECONDS = 600
"""Seconds that a login link is valid."""
IDLE_SECONDS = 1_800
"""Seconds without a request after which a visitor has to come in again."""
LONGEST_SECONDS = 8 * 3_600
"""Seconds after which a visitor has to come in again in any case."""
MOST_VISITORS = 100
"""If more come in, those go that were heard of longest ago."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who has come in."""

    name: str
    """As the audit log has it: ``page-`` and 8 hex digits, or ``access-`` and the name of an access token."""
    role: Role
    form_token: str = field(repr=False)
    """What each form of theirs has in it, so that no other site can send one for them."""


@dataclass
class _Stay:
    visitor: Visitor
    until: float
    heard: float


class Door:
    """Lets visitors in with ``role``. ``clock`` is monotonic time in seconds. Any thread may call."""

    def __init__(self, role: Role, clock: Callable[[], float] = time.monotonic) -> None:
        self.role = role
        self._clock = clock
        self._lock = Lock()
        self._link: tuple[bytes, float] | None = None
        self._stays: dict[bytes, _Stay] = {}

    def new_link(self) -> str:
        """Return the secret of a new login link, valid once and for LINK_SECONDS. An older one is void."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._link = _hash(secret), self._clock() + LINK_SECONDS
        return secret

    def enter(self, secret: str) -> tuple[str, Visitor] | None:
        """Return a cookie's value and the visitor, if this is the secret of a link that is valid; it is void then."""
        given = _hash(secret)
        with self._lock:
            now = self._clock()
            if self._link is None or not hmac.compare_digest(given, self._link[0]) or now >= self._link[1]:
                return None
            self._link = None
            cookie = secrets.token_urlsafe(32)
            visitor = Visitor(f"page-{secrets.token_hex(4)}", self.role, secrets.token_urlsafe(32))
            if len(self._stays) >= MOST_VISITORS:
                del self._stays[min(self._stays, key=lambda one: self._stays[one].heard)]
            self._stays[_hash(cookie)] = _Stay(visitor, now + LONGEST_SECONDS, now)
            return cookie, visitor

    def visitor(self, cookie: str, *, heard: bool = True) -> Visitor | None:
        """Return whose cookie it is, if they may still be here. Unless ``heard``, it does not count as a sign of life.

        So a page that is open somewhere does not keep a visitor in for ever.
        """
        name = _hash(cookie)
        with self._lock:
            now = self._clock()
            stay = self._stays.get(name)
            if stay is None:
                return None
            if now >= min(stay.until, stay.heard + IDLE_SECONDS):
                del self._stays[name]
                return None
            if heard:
                stay.heard = now
            return stay.visitor

    def leave(self, cookie: str) -> None:
        """Have a cookie open nothing any more."""
        with self._lock:
            self._stays.pop(_hash(cookie), None)


def is_same(given: str, wanted: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
