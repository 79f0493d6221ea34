"""The ID Manager's choice of Client IDs: inside the rule's range, unpredictable, free, at a flat cost.

A sparse range is probed at random points, for a whole batch with one look at the store. A dense one is read window by
window: 1,024 neighbours at a random place, and random free ones among them. Until the range is 99.9 % full, a window
holds one free Client ID on average, so 64 windows find one all but certainly; a range no wider than a window is exact
to the last Client ID. Nothing is kept in memory, so there is nothing to load at start and nothing that could disagree
with the store.
"""

from collections.abc import Callable, Collection
from typing import Protocol

PROBES = 4
WINDOW = 1_024
WINDOWS = 64

_SIZE_RANDOM = 16
"""Random bytes for a number below 2^56: the 9 bytes above that leave a bias below 2^-64."""


class Ledger(Protocol):
    """What the ID Manager asks of the store."""

    def held(self, client_ids: Collection[int]) -> set[int]:
        """Return those of these Client IDs that are in use."""
        ...

    def taken(self, first: int, last: int) -> set[int]:
        """Return the Client IDs in use from ``first`` to ``last``, both included."""
        ...


class IdManager:
    """Draws Client IDs. ``random`` gives cryptographically strong bytes."""

    def __init__(self, ledger: Ledger, random: Callable[[int], bytes]) -> None:
        self._ledger = ledger
        self._random = random

    def draw(self, first: int, last: int, count: int, is_reserved: Callable[[int], bool]) -> list[int]:
        """Return ``count`` different free Client IDs from ``first`` to ``last``, or fewer when the range is exhausted.

        ``is_reserved`` tells of Client IDs that are offered but not in the store yet. StoreError passes through.
        """
        drawn: dict[int, None] = {}
        if last - first >= WINDOW:
            for _ in range(PROBES):
                if len(drawn) == count:
                    break
                probes = [first + n for n in self._below(last - first + 1, count - len(drawn))]
                held = self._ledger.held(probes)
                drawn |= dict.fromkeys(n for n in probes if n not in held and not is_reserved(n))
        barren = 0
        while len(drawn) < count and barren < WINDOWS:
            free = [n for n in self._window(first, last) if n not in drawn and not is_reserved(n)]
            barren = 0 if free else barren + 1
            while free and len(drawn) < count:
                (chosen,) = self._below(len(free), 1)
                drawn[free.pop(chosen)] = None
            if last - first < WINDOW:  # that was all of it
                break
        return list(drawn)

    def _window(self, first: int, last: int) -> list[int]:
        """Return the Client IDs of a random window that the store does not hold."""
        (window,) = self._below((last - first) // WINDOW + 1, 1)
        start = first + WINDOW * window
        end = min(start + WINDOW - 1, last)
        taken = self._ledger.taken(start, end)
        return [n for n in range(start, end + 1) if n not in taken]

    def _below(self, bound: int, count: int) -> list[int]:
        """Return ``count`` uniform numbers below ``bound``."""
        random = self._random(_SIZE_RANDOM * count)
        return [
            int.from_bytes(random[n : n + _SIZE_RANDOM], "big") % bound for n in range(0, len(random), _SIZE_RANDOM)
        ]
