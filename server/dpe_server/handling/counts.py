"""What a server process has done since it started, in numbers: counted once a batch, read once a second.

Counting must cost next to nothing: nothing here knows how the numbers are shown (``dpe_server.exposition``).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

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
"""By event, the details of a record by which it is counted: those that have few values and are of no one device."""


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
        self.events: Counter[tuple[object, ...]] = Counter()
        """By event and what its LABELS name."""

    def completed(
        self, changes: Sequence[Change], outcomes: Sequence[Outcome] | None, records: Sequence[AuditRecord]
    ) -> None:
        """Count a batch that is over: its changes, if they were committed, and what the audit log is told of it."""
        for change, outcome in zip(changes, outcomes or (), strict=False):
            self.outcomes[type(change), outcome] += 1
        for record in records:
            self.events[record.event, *map(record.details.get, LABELS.get(record.event, ()))] += 1
