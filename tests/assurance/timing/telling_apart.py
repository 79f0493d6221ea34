"""Whether response times of two classes can be told apart, and how small a difference would have been found.

An observer's best way is to trust the quick answers: load and scheduling only add. So observations are taken in blocks,
in the order of time; a block gives the difference between the means of each class's quickest tenth; Student's t over
the blocks says whether it is there. As a second opinion, without any choice of what to trust, the rank test of Mann and
Whitney over all observations. Both must stay below 4.5 standard errors, the threshold of dudect (Reparaz and others,
2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from statistics import NormalDist, fmean, stdev

BLOCK = 100
"""Observations of each class in a block."""
QUICK = 0.1
THRESHOLD = 4.5
SURELY = 0.99
"""With this probability a difference that counts as detectable is found; also the confidence of an equivalence."""

_BEYOND = NormalDist().inv_cdf(SURELY)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One class compared with the reference. Times are nanoseconds."""

    difference: float
    """Of the means of the quickest tenth."""
    error: float
    """The standard error of the difference."""
    rank: float
    """The statistic of Mann and Whitney, in standard errors."""

    @property
    def t(self) -> float:
        """The difference in standard errors."""
        if self.error:
            return self.difference / self.error
        return inf if self.difference else 0.0

    @property
    def told_apart(self) -> bool:
        """Whether an observer with these observations knows which class is which."""
        return max(abs(self.t), abs(self.rank)) > THRESHOLD

    @property
    def detectable(self) -> float:
        """The smallest true difference that would have been found with a probability of 99 %."""
        return (THRESHOLD + _BEYOND) * self.error

    def within(self, margin: float) -> bool:
        """Say whether the true difference is below ``margin``: two one-sided tests, each at 1 %."""
        return abs(self.difference) + _BEYOND * self.error < margin


def compare(reference: Sequence[int], other: Sequence[int]) -> Comparison:
    """Compare the response times of two classes, as many of each, in the order in which they were observed.

    There must be two blocks of them at least.
    """
    differences = [_quick(other[at : at + BLOCK]) - _quick(reference[at : at + BLOCK]) for at in _blocks(reference)]
    error = stdev(differences) / sqrt(len(differences))
    return Comparison(fmean(differences), error, _rank(reference, other))


def share_found(reference: Sequence[int], other: Sequence[int], observations: int) -> float:
    """Return in which share of separate runs of so many ``observations`` each the classes are told apart."""
    runs = list(pairwise(range(0, len(reference) + 1, observations)))
    return fmean(compare(reference[start:end], other[start:end]).told_apart for start, end in runs)


def quick(times: Sequence[int]) -> float:
    """Return the mean over the blocks of the mean of the quickest tenth."""
    return fmean(_quick(times[at : at + BLOCK]) for at in _blocks(times))


def _blocks(times: Sequence[int]) -> range:
    return range(0, len(times) - BLOCK + 1, BLOCK)


def _quick(times: Sequence[int]) -> float:
    return fmean(sorted(times)[: max(1, int(len(times) * QUICK))])


def _rank(reference: Sequence[int], other: Sequence[int]) -> float:
    """Return the rank statistic in standard errors, with the correction for ties; positive when ``other`` is slower."""
    ordered = sorted([(time, 0) for time in reference] + [(time, 1) for time in other])
    count = len(ordered)
    ranks, ties, start = 0.0, 0, 0
    while start < count:
        end = start
        while end < count and ordered[end][0] == ordered[start][0]:
            end += 1
        ranks += sum(of for _, of in ordered[start:end]) * (start + end + 1) / 2
        ties += (end - start) ** 3 - (end - start)
        start = end
    one, two = len(reference), len(other)
    variance = one * two / 12 * (count + 1 - ties / (count * (count - 1)))
    return (ranks - two * (count + 1) / 2) / sqrt(variance) if variance > 0 else 0.0
