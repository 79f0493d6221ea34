"""What a server process has done since it started, in numbers: counted once a batch, read once a second.

Counting must cost next to nothing: nothing here knows how the numbers are shown (``dpe_server.exposition``).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from dpe_server.handling.records import AuditRecord
from dpe_server.store.contract import Change, Outcome

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Bounds of batches, in requests."""
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of what commits take."""

LABELS: Mapping[str, Sequence[str]] = {
    "response": ("status", "rule"),
    "established": ("rule",),
    "unauthenticated": ("reason",),
    "malformed": ("fault",),
    "limited": ("handles",),
    "session-ended": ("why",),
}
"""By event, the details of a record by which it is counted, and which all its records have: those that have few values
and are of no one device."""
_VALUES: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    event: itemgetter(*names) for event, names in LABELS.items()
}


def _no_value(_: Mapping[str, Any]) -> object:
    return ()


class Histogram:
    """How many values were at most each of ``bounds``, which rise, and above the last; and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By place: values above the bound before and at most this one."""
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counts:
    """The numbers of one process."""

    def __init__(self) -> None:
        self.batches = Histogram(SIZES)
        """Requests in a batch."""
        self.commits = Histogram(SECONDS)
        """Seconds from the start of a commit to its end, whatever came of it."""
        self.failed_commits = 0
        self.turned_away = 0
        """Requests that were told to come back, because too many waited."""
        self.outcomes: Counter[tuple[type[Change], Outcome]] = Counter()
        self._events: Counter[tuple[str, object]] = Counter()  # by event, and its one value or a tuple of them

    @property
    def events(self) -> dict[tuple[object, ...], int]:
        """By event and what its LABELS name."""
        return {
            (event, *(values if isinstance(values, tuple) else (values,))): count
            for (event, values), count in self._events.items()
        }

    def completed(
        self, changes: Sequence[Change], outcomes: Sequence[Outcome] | None, records: Sequence[AuditRecord]
    ) -> None:
        """Count a batch that is over: its changes, if they were committed, and what the audit log is told of it."""
        if outcomes:
            self.outcomes.update(zip(map(type, changes), outcomes, strict=True))
        self._events.update([(one.event, _VALUES.get(one.event, _no_value)(one.details)) for one in records])
