"""Which datagrams have come before, and what they were answered (RFC 7252 section 4.5).

Two generations stand for a timer on every exchange: an entry lives for one to two exchange lifetimes, and a bound on
each generation keeps the memory of a flood in bounds. What is forgotten early is decided again, with the same result.
"""

from collections.abc import Hashable
from dataclasses import dataclass

EXCHANGE_LIFETIME = 247.0
"""Seconds (RFC 7252 section 4.8.2)."""
GENERATION = 32_768
"""The most exchanges in each of the two generations."""


@dataclass(slots=True)
class Exchange:
    """One request and the acknowledgement that it got."""

    fingerprint: int
    reply: bytes | None = None
    """The datagram sent in answer; None while there is none."""


class Duplicates:
    """Remembers exchanges by peer and message ID. Times are monotonic seconds."""

    def __init__(self, *, generation: int = GENERATION) -> None:
        self._generation = generation
        self._new: dict[Hashable, Exchange] = {}
        self._old: dict[Hashable, Exchange] = {}
        self._began = 0.0

    def __len__(self) -> int:
        """How many exchanges are remembered."""
        return len(self._new) + len(self._old)

    def find(self, key: Hashable) -> Exchange | None:
        """Return the exchange of this peer and message ID."""
        return self._new.get(key) or self._old.get(key)

    def begin(self, key: Hashable, datagram: bytes, now: float) -> Exchange | None:
        """Return the exchange that ``datagram`` repeats; or None, having begun a new one.

        A used message ID on other bytes is no duplicate: its sender has restarted, and must not get the old reply.
        """
        self._age(now)
        fingerprint = hash(datagram)
        known = self.find(key)
        if known is not None and known.fingerprint == fingerprint:
            return known
        self._new[key] = Exchange(fingerprint)
        return None

    def _age(self, now: float) -> None:
        if now - self._began >= 2 * EXCHANGE_LIFETIME:
            self._new = {}
        if now - self._began >= EXCHANGE_LIFETIME or len(self._new) >= self._generation:
            self._old, self._new, self._began = self._new, {}, now
