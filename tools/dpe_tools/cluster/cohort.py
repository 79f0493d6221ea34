"""A fleet of devices at several nodes, in this process: it goes on for as long as whoever disturbs the nodes wants.

The devices are those of `dpe load`, which run the device client's own core.
"""

import selectors
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self

from dpe_server.operation.state_dir import StateDir
from dpe_tools import credentials
from dpe_tools.cluster.balancer import Balancer
from dpe_tools.load.devices import Wire
from dpe_tools.load.fleet import Fleet
from dpe_tools.load.ledger import Ledger
from dpe_tools.load.network import Address
from dpe_tools.load.plan import Plan
from dpe_tools.load.tally import Tally
from dpe_tools.load.worker import FromKeys


class Cohort:
    """Devices that follow ``plan`` at the ``nodes``, whose keys are those of ``state``; ``ledger`` hears of them."""

    def __init__(self, state: StateDir, nodes: Sequence[Address], plan: Plan, ledger: Ledger | None = None) -> None:
        self.tally = Tally()
        """What has happened until the devices last stopped."""
        self.ledger = Ledger() if ledger is None else ledger
        self._plan = plan
        self._cleanup = ExitStack()
        self._nodes = nodes
        make = FromKeys(state.keys, replace(state.config, uri=f"coap://{nodes[0][0]}:{nodes[0][1]}"))
        self._fleet = Fleet(lambda number: credentials.for_device(make(number)), time.monotonic_ns, self.ledger)
        self._due: int | None = None
        self._last = time.monotonic()
        self.silence = 0.0
        """The longest time in which no device registered and no report was answered, in seconds; see ``listen``."""

    def __enter__(self) -> Self:
        """Open the sockets, and begin."""
        self.network = self._cleanup.enter_context(Balancer(self._nodes))
        self._selector = self._cleanup.enter_context(selectors.SelectSelector())
        for one in self.network.sockets:
            self._selector.register(one, selectors.EVENT_READ)
        self.wire: Any = self.heard(self.network)
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the sockets."""
        self._cleanup.close()

    def heard(self, network: Balancer) -> Wire:
        """Return the way that the devices take; whoever wants to hear them puts something in between."""
        return network

    @property
    def done(self) -> int:
        """How many registrations and reports have succeeded."""
        return sum(one.registered + one.anew + one.reported + one.ended for one in (self.tally, self._fleet.tally))

    def whole(self) -> Tally:
        """Return the counts since the start."""
        whole = Tally()
        for part in (self.tally, self._fleet.look()):
            whole.merge(part)
        return whole

    def registering(self) -> list[int]:
        """Return the numbers of the devices that register just now."""
        return self._fleet.registering()

    def listen(self) -> None:
        """Look out for silence anew."""
        self._last, self.silence = time.monotonic(), 0.0

    def work(self, seconds: float) -> None:
        """Let the devices go on for so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._step(end)

    def work_until(self, holds: Callable[[], bool], longest: float) -> bool:
        """Let the devices go on until something holds; return whether it did within ``longest`` seconds."""
        end = time.monotonic() + longest
        while not holds():
            if time.monotonic() > end:
                return False
            self._step(min(end, time.monotonic() + 0.01))
        return True

    def work_until_done(self, count: int, longest: float) -> bool:
        """Let the devices go on until so many more registrations and reports have succeeded. See ``work_until``."""
        wanted = self.done + count
        return self.work_until(lambda: self.done >= wanted, longest)

    def finish(self, longest: float) -> bool:
        """Let what is under way end, and begin nothing more. See ``work_until``."""
        self._fleet.begin_no_more()
        ended = self.work_until(lambda: self._due is None, longest)
        self.stop()
        return ended

    def stop(self) -> None:
        """Let all devices give up what they do, as if their power failed."""
        self._fleet.stop()
        self.tally.merge(self._fleet.tally)
        self._fleet.tally = Tally()
        self._due = None

    def go_on(self, plan: Plan | None = None) -> None:
        """Let them begin again after a stop, with what they have stored."""
        self._fleet.begin(plan or self._plan, self.wire)
        self._due = self._fleet.step()
        self.listen()

    def _step(self, end: float) -> None:
        dues = [due / 1e9 for due in (self._due, self.wire.due) if due is not None]
        wait = min([end, *dues]) - time.monotonic()
        ready = {key.fileobj for key, _ in self._selector.select(max(0.0, wait))}
        before = self.done
        self._due = self._fleet.step(self.wire.receive(one for one in self.network.sockets if one in ready))
        now = time.monotonic()
        self.silence = max(self.silence, now - self._last)
        if self.done > before:
            self._last = now
