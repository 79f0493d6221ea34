"""The ID Manager's choice of Client IDs: in the rule's range, unpredictable, free, at a flat cost.

Each REQUEST of a batch has a probe, a random Client ID of its range; one look at the store shows which probes are free.
Where the probe is in use, a few more are tried together. After that the range is read in windows, 1,024 neighbours at a
random place, and free Client IDs are chosen from them at random. Until the range is 99.9 % full, a window holds one
free Client ID on average, so 64 windows find one all but certainly; a range no wider than a window is searched to its
last Client ID. Nothing is kept in memory, so there is nothing to load at start and nothing that could disagree with the
store.
"""

from collections.abc import Callable, Sequence

from dpe_server.store.questions import Facts, Questions

PROBES = 4
"""Probes for each Client ID in the second look, if its first probe was in use."""
WINDOW = 1_024
WINDOWS = 64
"""After so many windows in a row without a free Client ID, the range counts as exhausted."""
WINDOWS_AT_ONCE = 8
"""The most windows in one look. The first looks have fewer: one window is nearly always enough."""

_SIZE_RANDOM = 16
"""Random bytes for a number below 2^56: 9 more than it needs, which leaves a bias below 2^-64."""


def probes(ranges: Sequence[tuple[int, int]], random: Callable[[int], bytes]) -> list[int]:
    """Return a random Client ID of each range; first and last are included.

    ``random`` gives cryptographically strong bytes; it is asked once for all.
    """
    drawn = random(_SIZE_RANDOM * len(ranges))
    number = int.from_bytes
    return [
        first + number(drawn[at : at + _SIZE_RANDOM], "big") % (last - first + 1)
        for (first, last), at in zip(ranges, range(0, len(drawn), _SIZE_RANDOM), strict=True)
    ]


class Drawing:
    """Free Client IDs drawn from ``first`` to ``last``, both included, look by look.

    ``ask`` says what must be looked up for the next ones, ``take`` finds them in the facts. ``is_free`` says whether a
    Client ID that is not in the store may be given out. ``random`` gives cryptographically strong bytes.
    """

    def __init__(self, first: int, last: int, random: Callable[[int], bytes]) -> None:
        self.exhausted = False
        """Whether the looks have shown that no free Client ID is left."""
        self._first = first
        self._last = last
        self._random = random
        self._dense = last - first < WINDOW  # or once the probes were in use
        self._at_once = 1
        self._barren = 0
        self._probes: list[int] = []
        self._windows: dict[tuple[int, int], None] = {}

    def ask(self, count: int, questions: Questions) -> None:
        """Add to ``questions`` what is needed to find ``count`` free Client IDs."""
        self._probes, self._windows = [], {}
        if not self._dense:
            self._probes = probes([(self._first, self._last)] * (PROBES * count), self._random)
            questions.holders.update(self._probes)
            return
        last_window = (self._last - self._first) // WINDOW
        for number in probes([(0, last_window)] * (self._at_once if last_window else 1), self._random):
            start = self._first + WINDOW * number
            self._windows[start, min(start + WINDOW - 1, self._last)] = None
        questions.in_use.update(self._windows)

    def take(self, count: int, facts: Facts, is_free: Callable[[int], bool]) -> list[int]:
        """Return at most ``count`` free Client IDs, all different, from the answers to ``ask``."""
        if self._probes:
            self._dense = True
            shown = dict.fromkeys(n for n in self._probes if n not in facts.holders and is_free(n))
            return list(shown)[:count]
        taken: list[int] = []
        for window in self._windows:
            taken += self._of_window(window, count - len(taken), facts, is_free)
        self._at_once = min(2 * self._at_once, WINDOWS_AT_ONCE)
        self.exhausted = len(taken) < count and (self._last - self._first < WINDOW or self._barren >= WINDOWS)
        return taken

    def _of_window(
        self, window: tuple[int, int], count: int, facts: Facts, is_free: Callable[[int], bool]
    ) -> list[int]:
        in_use = facts.in_use[window]
        free = [n for n in range(window[0], window[1] + 1) if n not in in_use and is_free(n)]
        self._barren = 0 if free else self._barren + 1
        taken: list[int] = []
        while free and len(taken) < count:
            (chosen,) = probes([(0, len(free) - 1)], self._random)
            taken.append(free.pop(chosen))
        return taken
