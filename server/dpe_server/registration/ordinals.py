"""Which of a device's registrations began last: the newest wins (docs/protocol.md, "State machines")."""

from typing import Self


class Ordinals:
    """Numbers that rise with the monotonic clock, by one each microsecond.

    The wall clock will not do: it may be set back, even by years. Processes that share a store must share ``base`` and
    the monotonic clock, so one process makes the ordinals of all.
    """

    def __init__(self, base: int) -> None:
        self._base = base
        self._last = 0

    @classmethod
    def after(cls, last: int, now: float, wall: float) -> Self:
        """Go on after ``last``; ``now`` is monotonic, ``wall`` is Unix time, both in seconds.

        Unix time matters only if the REQUESTs before a restart have left no trace in the store.
        """
        return cls(max(last + 1, int(wall * 1e6)) - int(now * 1e6))

    def next(self, now: float) -> int:
        """Return the number of a REQUEST that is decided ``now`` (monotonic seconds)."""
        self._last = max(self._last + 1, self._base + int(now * 1e6))
        return self._last
