"""One virtual clock, one bad network, and everything that happens on them, in one order for each seed."""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from functools import partial

from dpe_tools.faults import Faults, Link

Address = tuple[str, int]
Receive = Callable[[bytes, Address], None]

LATENCY = 15
"""Milliseconds that every datagram takes."""
OVERHEARD = 200
"""The most datagrams that an eavesdropper remembers."""

WALL = 1_800_000_000.0
"""The Unix time at which the clock shows 0."""


class World:
    """The clock (``now``, in ms), the network by address, and one source of chance for all that has none of its own."""

    def __init__(self, seed: int, faults: Faults, trace: Callable[[str], None] | None = None) -> None:
        self.now = 0
        self.random = random.Random(f"world {seed}")
        self.endpoints: dict[Address, Receive] = {}
        self.overheard: deque[tuple[Address, Address, bytes]] = deque(maxlen=OVERHEARD)
        self.on_sent: list[Callable[[Address, Address, bytes], None]] = []
        self._link = Link(faults, f"link {seed}")
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._trace = trace

    def chance(self, probability: float) -> bool:
        """Say yes with this probability."""
        return probability > 0 and self.random.random() < probability

    def random_bytes(self, size: int) -> bytes:
        """Return random bytes that a seed repeats."""
        return self.random.randbytes(size)

    def note(self, text: str) -> None:
        """Tell who asked for a trace what happens."""
        if self._trace is not None:
            self._trace(f"{self.now / 1000:10.3f} s  {text}")

    def after(self, delay: int, action: Callable[[], None]) -> None:
        """Do something ``delay`` ms from now."""
        heapq.heappush(self._events, (self.now + max(delay, 0), next(self._count), action))

    def run(self, until: int, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until it is ``until``, or ``done`` says so."""
        while self._events and self._events[0][0] <= until and not done():
            self.now, _, action = heapq.heappop(self._events)
            action()
        if not done():
            self.now = max(self.now, until)

    def calm(self) -> None:
        """From now on the network loses and damages nothing; what is under way still comes."""
        self._link = Link(Faults())

    def send(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Send a datagram over the bad network."""
        copies = self._link.carry(datagram)
        self.note(
            f"{source[0]} -> {destination[0]}  {len(datagram)} bytes, {_fate(datagram, [c.datagram for c in copies])}"
        )
        self.overheard.append((source, destination, datagram))
        for copy in copies:
            self.inject(source, destination, copy.datagram, LATENCY + int(copy.delay * 1000))
        for heard in self.on_sent:
            heard(source, destination, datagram)

    def inject(self, source: Address, destination: Address, datagram: bytes, delay: int = LATENCY) -> None:
        """Let a datagram arrive that claims to be from ``source``."""
        self.after(delay, partial(self._deliver, source, destination, datagram))

    def _deliver(self, source: Address, destination: Address, datagram: bytes) -> None:
        receive = self.endpoints.get(destination)
        if receive is not None:
            receive(datagram, source)


def _fate(sent: bytes, came: list[bytes]) -> str:
    if not came:
        return "lost"
    return " and ".join("arrives" if datagram == sent else "damaged" for datagram in came)
