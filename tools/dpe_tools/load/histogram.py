"""A histogram of latencies: a bounded number of buckets, each at most 0.8 % of its value wide."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_BITS = 7  # how many bits of a value its bucket keeps


@dataclass(slots=True)
class Histogram:
    """Counts latencies in µs. The histograms of several processes can be added."""

    buckets: Counter[int] = field(default_factory=Counter)
    most: int = 0
    """µs."""

    def add(self, latency: int) -> None:
        """Count one latency, in µs."""
        shift = max(0, latency.bit_length() - _BITS - 1)
        self.buckets[(shift << _BITS) + (latency >> shift)] += 1
        self.most = max(self.most, latency)

    def merge(self, other: "Histogram") -> None:
        """Add the counts of another histogram."""
        self.buckets.update(other.buckets)
        self.most = max(self.most, other.most)

    @property
    def count(self) -> int:
        """How many latencies were counted."""
        return self.buckets.total()

    def percentile(self, percent: float) -> int:
        """Return the µs that ``percent`` of the latencies do not exceed, or 0 if there are none."""
        wanted = self.count * percent / 100
        for upper, count in self:
            wanted -= count
            if wanted <= 0:
                return upper
        return self.most

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the greatest latency (µs) and the count of each bucket that is not empty, in ascending order."""
        for bucket, count in sorted(self.buckets.items()):
            shift = max(0, (bucket >> _BITS) - 1)
            upper = ((bucket - (shift << _BITS) + 1) << shift) - 1
            yield min(upper, self.most), count
