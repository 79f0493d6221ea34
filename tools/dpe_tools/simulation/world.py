"""One virtual clock, one bad network, and everything that happens on them, in one order for each seed."""

import heapq
import itertools
import random
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from dpe_tools.faults import Faults, FaultyLink
from dpe_tools.simulation.events import Address

Event = TypeVar("Event")
Receive = Callable[[bytes, Address], None]

LATENCY = 15
"""Milliseconds that every datagram takes."""
OVERHEARD = 100
"""The most datagrams that an eavesdropper remembers."""
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
"""In milliseconds."""
WALL = 1_800_000_000.0
"""The Unix time at which the world's clock shows 0."""


class Violation(Exception):  # a verdict, not an error of the program
    """An invariant does not hold: ``invariant`` is its name, ``what`` says more."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant
        self.what = what


class World:
    """The clock (``now``, in ms), the network by address, and one source of chance for all that has none of its own."""

    def __init__(self, seed: int, faults: Faults, trace: Callable[[str], None] | None = None) -> None:
        self.now = 0
        self.random = random.Random(f"world {seed}")  # noqa: S311  # a simulation must repeat
        self.endpoints: dict[Address, Receive] = {}
        self.overheard: deque[tuple[Address, Address, bytes]] = deque(maxlen=OVERHEARD)
        self.on_sent: list[Callable[[Address, Address, bytes], bool]] = []
        """Called with each datagram on its way; one that returns True withholds it."""
        self.on_heard: list[Callable[[Address, Address, bytes], None]] = []
        """Called with each datagram on its way, even when all is calm."""
        self.counts: Counter[str] = Counter()
        """How often each thing happened."""
        self._violation: Violation | None = None
        self._link = FaultyLink(faults, f"link {seed}")
        self._actions: list[tuple[int, int, Callable[[], object]]] = []
        self._listeners: defaultdict[type, list[Callable[[Any], None]]] = defaultdict(list)
        self._count = itertools.count()
        self._trace = trace

    def chance(self, probability: float) -> bool:
        """Say yes with this probability."""
        return probability > 0 and self.random.random() < probability

    def random_bytes(self, size: int) -> bytes:
        """Return random bytes that a seed repeats."""
        return self.random.randbytes(size)

    def note(self, text: str) -> None:
        """Write a line to the trace, if there is one."""
        if self._trace is not None:
            self._trace(f"{self.now / 1000:10.3f} s  {text}")

    def on(self, kind: type[Event], listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with each event of this kind, after those that asked before."""
        self._listeners[kind].append(listener)

    def emit(self, event: object) -> None:
        """Tell the listeners what happens."""
        for listener in self._listeners[type(event)]:
            listener(event)

    def fail(self, invariant: str, what: str) -> None:
        """Note that an invariant does not hold. ``run`` raises it after the step: nobody on the way can catch it."""
        if self._violation is None:
            self.note(f"VIOLATED: {invariant}: {what}")
            self._violation = Violation(invariant, what)

    def after(self, delay: int, action: Callable[[], object]) -> None:
        """Do something ``delay`` ms from now."""
        heapq.heappush(self._actions, (self.now + delay if delay > 0 else self.now, next(self._count), action))

    def run(self, until: int, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until ``until`` (ms), or until ``done`` says so. Raises Violation."""
        actions = self._actions
        while actions and actions[0][0] <= until and not done():
            self.now, _, action = heapq.heappop(actions)
            action()
            if self._violation is not None:
                raise self._violation
        if not done():
            self.now = max(self.now, until)

    def calm(self) -> None:
        """From now on the network loses and damages nothing; what is under way still comes."""
        self._link = FaultyLink(Faults())
        self.on_sent.clear()

    def send(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Send a datagram over the bad network."""
        self.counts["datagrams"] += 1
        self.overheard.append((source, destination, datagram))
        for eavesdropper in self.on_heard:
            eavesdropper(source, destination, datagram)
        kept = False
        for heard in self.on_sent:
            kept |= heard(source, destination, datagram)
        copies = [] if kept else self._link.carry(datagram)
        if self._trace is not None:
            fate = _fate(datagram, [copy.datagram for copy in copies])
            what = f"{len(datagram)} bytes ({zlib.crc32(datagram):08x}), {fate}"
            self.note(f"{source[0]}:{source[1]} -> {destination[0]}:{destination[1]}  {what}")
        for copy in copies:
            self.inject(source, destination, copy.datagram, LATENCY + int(copy.delay * 1000))

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
