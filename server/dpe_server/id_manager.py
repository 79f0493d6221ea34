"""The ID Manager's choice of a Client ID: inside the rule's range, unpredictable, free, at a flat cost.

A sparse range is probed at random points. A dense one is read window by window: 1,024 neighbours at a random place,
and a random free one among them. Until the range is 99.9 % full, a window holds one free Client ID on average, so 64
windows find one all but certainly; a range no wider than a window is exact to the last Client ID. Nothing is kept in
memory, so there is nothing to load at start and nothing that could disagree with the store.
"""

from collections.abc import Callable
from typing import Protocol

from dpe_coap.numbers import SIZE_CLIENT_ID

PROBES = 4
WINDOW = 1_024
WINDOWS = 64


class Ledger(Protocol):
    """What the ID Manager asks of the store."""

    def taken(self, first: int, last: int) -> set[int]:
        """Return the Client IDs in use from ``first`` to ``last``, both included."""
        ...


class IdManager:
    """Draws Client IDs. ``random`` gives cryptographically strong bytes."""

    def __init__(self, ledger: Ledger, random: Callable[[int], bytes]) -> None:
        self._ledger = ledger
        self._random = random

    def draw(self, first: int, last: int, is_reserved: Callable[[int], bool]) -> int | None:
        """Return a free Client ID from ``first`` to ``last``, or None when the range is exhausted.

        ``is_reserved`` tells of Client IDs that are offered but not in the store yet. StoreError passes through.
        """
        if last - first >= WINDOW:
            for _ in range(PROBES):
                candidate = first + self._below(last - first + 1)
                if not is_reserved(candidate) and not self._ledger.taken(candidate, candidate):
                    return candidate
        for _ in range(WINDOWS):
            start = first + WINDOW * self._below((last - first) // WINDOW + 1)
            end = min(start + WINDOW - 1, last)
            taken = self._ledger.taken(start, end)
            free = [n for n in range(start, end + 1) if n not in taken and not is_reserved(n)]
            if free:
                return free[self._below(len(free))]
            if (start, end) == (first, last):
                break
        return None

    def _below(self, bound: int) -> int:
        """Return a uniform number below ``bound``: 8 bytes more than it needs leave a bias below 2**-64."""
        return int.from_bytes(self._random(SIZE_CLIENT_ID + 1 + 8), "big") % bound
