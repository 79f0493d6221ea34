"""Which datagrams have come before, and how they were answered (RFC 7252 section 4.5).

Two generations replace a timer for each exchange: an entry lives for one to two exchange lifetimes, and each generation
is bounded, so a flood cannot fill the memory. What is forgotten early is decided again, with the same result. An entry
is one ``bytes``, which the garbage collector need not visit.
"""

from collections.abc import Hashable

EXCHANGE_LIFETIME = 247.0
"""Seconds (RFC 7252 section 4.8.2)."""
GENERATION = 32_768
"""The most exchanges in each of the two generations."""

_FINGERPRINT = 8  # bytes that stand for the request; the reply follows them


class Duplicates:
    """Remembers exchanges by peer and message ID. Times are monotonic seconds."""

    def __init__(self, *, generation: int = GENERATION) -> None:
        self._generation = generation
        self._new: dict[Hashable, bytes] = {}
        self._old: dict[Hashable, bytes] = {}
        self._began = 0.0
        self.begun = 0
        """How many exchanges were begun."""
        self.resent = 0
        """How many requests repeated one."""

    def __len__(self) -> int:
        """How many exchanges are remembered."""
        return len(self._new) + len(self._old)

    def begin(self, key: Hashable, datagram: bytes, now: float) -> bytes | None:
        """Return the reply to the exchange that ``datagram`` repeats, empty if there is none yet; or begin a new one.

        Returns None if it is new. A used message ID with other bytes is no duplicate: its sender has restarted, and
        must not get the old reply.
        """
        self._age(now)
        fingerprint = hash(datagram).to_bytes(_FINGERPRINT, "big", signed=True)
        known = self._find(key)
        if known is not None and known.startswith(fingerprint):
            self.resent += 1
            return known[_FINGERPRINT:]
        self.begun += 1
        self._new[key] = fingerprint
        return None

    def reply(self, key: Hashable) -> bytes:
        """Return the reply to an exchange; empty if there is none."""
        return (self._find(key) or b"")[_FINGERPRINT:]

    def remember(self, key: Hashable, reply: bytes) -> None:
        """Keep the reply to an exchange that was begun, unless the exchange is already forgotten."""
        for generation in (self._new, self._old):
            if key in generation:
                generation[key] = generation[key][:_FINGERPRINT] + reply
                return

    def _find(self, key: Hashable) -> bytes | None:
        return self._new.get(key) or self._old.get(key)

    def _age(self, now: float) -> None:
        if now - self._began >= 2 * EXCHANGE_LIFETIME:
            self._new = {}
        if now - self._began >= EXCHANGE_LIFETIME or len(self._new) >= self._generation:
            self._old, self._new, self._began = self._new, {}, now
