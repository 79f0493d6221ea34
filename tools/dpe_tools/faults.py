"""What a bad link does to datagrams: it loses, duplicates, delays and damages them, always alike for a seed."""

import random
from dataclasses import dataclass

MOST_BITS = 8
"""The most bits that are flipped in a damaged datagram."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad a link is: probabilities from 0 to 1, for each datagram and in both directions.

    A delayed datagram is held for up to ``hold`` seconds, so that later ones overtake it. A corrupted datagram has some
    bits flipped, or its end cut off. Each copy of a duplicated datagram is delayed and corrupted independently.
    """

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    corruption: float = 0.0
    hold: float = 0.05


@dataclass(frozen=True, slots=True)
class Copy:
    """A datagram as it arrives, ``delay`` seconds after it was sent."""

    delay: float
    datagram: bytes


class FaultyLink:
    """Applies faults in the order in which datagrams come. The same ``seed`` does the same again."""

    def __init__(self, faults: Faults, seed: int | str = 0) -> None:
        self.faults = faults
        self._random = random.Random(seed)  # noqa: S311  # a simulation must repeat

    def carry(self, datagram: bytes) -> list[Copy]:
        """Return what arrives of a datagram: nothing if it is lost."""
        faults = self.faults
        if self._happens(faults.loss):
            return []
        copies = 2 if self._happens(faults.duplication) else 1
        return [self._copy(datagram) for _ in range(copies)]

    def _copy(self, datagram: bytes) -> Copy:
        delay = self._random.uniform(0, self.faults.hold) if self._happens(self.faults.reordering) else 0.0
        if datagram and self._happens(self.faults.corruption):
            datagram = self._damage(datagram)
        return Copy(delay, datagram)

    def _damage(self, datagram: bytes) -> bytes:
        if self._happens(0.25):
            return datagram[: self._random.randrange(len(datagram))]
        damaged = bytearray(datagram)
        for bit in self._random.sample(range(8 * len(damaged)), self._random.randint(1, MOST_BITS)):
            damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability
