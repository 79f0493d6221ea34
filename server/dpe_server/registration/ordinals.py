"""Which of a device's registrations began last: the newest wins (docs/protocol.md, "State machines")."""

from typing import Protocol, Self

from dpe_server.store.questions import PLACE_BITS, Questions


class OrdinalSource(Protocol):
    """Where the ordinals of REQUESTs come from: each is above those of all REQUESTs that were decided before it."""

    def ask(self, questions: Questions) -> None:
        """Add to ``questions`` what must be looked up for a batch of REQUESTs."""
        ...

    def begin(self, number: int) -> None:
        """Begin a batch; ``number`` is what was looked up, 0 if nothing was."""
        ...

    def next(self, now: float) -> int:
        """Return the ordinal of the batch's next REQUEST, which is decided ``now`` (monotonic seconds)."""
        ...


class Ordinals:
    """For one machine: numbers that rise with the monotonic clock, by one each microsecond.

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

    def ask(self, questions: Questions) -> None:
        """See ``OrdinalSource.ask``; nothing."""

    def begin(self, number: int) -> None:
        """See ``OrdinalSource.begin``."""

    def next(self, now: float) -> int:
        """See ``OrdinalSource.next``."""
        self._last = max(self._last + 1, self._base + int(now * 1e6))
        return self._last


class SequenceOrdinals:
    """For many machines, whose clocks differ: the store numbers their batches, in the look that each makes anyway."""

    def __init__(self) -> None:
        self._next = 0

    def ask(self, questions: Questions) -> None:
        """See ``OrdinalSource.ask``."""
        questions.number = True

    def begin(self, number: int) -> None:
        """See ``OrdinalSource.begin``; without a number, the store does not answer, and all are refused."""
        self._next = number << PLACE_BITS

    def next(self, now: float) -> int:
        """See ``OrdinalSource.next``."""
        ordinal = self._next
        self._next += 1
        return ordinal
