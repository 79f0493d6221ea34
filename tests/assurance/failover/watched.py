"""Devices at two nodes that share a database, and all that must hold of them whatever happens to the database."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, Self, TypeVar

from dpe_tools.cluster import nodes
from dpe_tools.cluster.balancer import Balancer
from dpe_tools.cluster.cohort import Cohort
from dpe_tools.load.devices import Meter
from dpe_tools.load.ledger import Agreement, Ledger, Told, compare
from dpe_tools.load.plan import Plan, Talk
from tests.assurance.failover import scribe
from tests.assurance.failover.eavesdropper import Eavesdropper
from tests.assurance.failover.scribe import Record, Server

ACK_TIMEOUT, BACKOFF = 500, 1250
"""Of the devices, in ms: a quarter of what a device has by itself."""
AT_ONCE = 24
TALK = Talk(4, every=1.0, sleep=0.1, reboot=0.1, end=0.3)
LONGEST = 120.0
"""Seconds after which something has not happened."""
SETTLING = 0.3
"""Seconds in which nodes deal with what came last."""

_Result = TypeVar("_Result")


class Shared(Protocol):
    """The database that the nodes share."""

    @property
    def url(self) -> str:
        """Its URL, whoever is the primary."""

    @property
    def primary(self) -> Server:
        """Its primary now."""


class Times(Ledger):
    """Also knows when each device was first REGISTERED since ``since`` was emptied, by the monotonic clock."""

    def __init__(self) -> None:
        super().__init__()
        self.since: dict[int, float] = {}

    def told(self, number: int, told: Told, client_id: bytes, keys: tuple[bytes, bytes], meter: Meter) -> None:
        """See ``Ledger.told``."""
        super().told(number, told, client_id, keys, meter)
        if told is Told.REGISTERED:
            self.since.setdefault(number, time.monotonic())


class Watched(Cohort):
    """The devices. What is found is in ``faults``."""

    def __init__(self, folder: Path, database: Shared, *, devices: int, seed: int) -> None:
        self.nodes = nodes.made(folder, database.url)
        self._database = database
        self._seed = seed
        self.times = Times()
        self.faults: list[str] = []
        self.compared = 0
        self.accepted = 0
        self.sessions = 0
        plan = Plan(
            devices=range(devices), registrations=None, at_once=AT_ONCE, timeout=LONGEST, seed=str(seed),
            ack_timeout=ACK_TIMEOUT, backoff=BACKOFF, talk=TALK,
        )  # fmt: skip
        super().__init__(self.nodes[0].state, [node.address for node in self.nodes], plan, self.times)
        scribe.begin(database.primary)

    def __enter__(self) -> Self:
        """Start the nodes and the devices."""
        self._cleanup.enter_context(nodes.serving(self.nodes))
        return super().__enter__()

    def heard(self, network: Balancer) -> Eavesdropper:
        """Hear what the devices say."""
        self.eavesdropper = Eavesdropper(network, self._seed)
        return self.eavesdropper

    def meanwhile(self, act: Callable[[], _Result]) -> _Result:
        """Do something while the devices go on."""
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(act)
            self.work_until(doing.done, 2 * LONGEST)
            return doing.result()

    def check(self) -> None:
        """Stop all devices, compare what they know with what the database has, and let them begin again."""
        self.stop()
        self.work(SETTLING)
        self.compare()
        self.go_on()

    def compare(self) -> None:
        """Compare what devices know with what the database has. Nothing may be under way."""
        found = compare(self.ledger, self.nodes[0].state)
        self.compared += found.devices + found.ended
        self.faults += [f"{count} devices: {what}" for what, count in _wrong(found).items() if count]
        record = Record(self._database.primary)
        record.check(self.eavesdropper.answered)
        self.faults += [fault for fault in record.faults + self.eavesdropper.faults if fault not in self.faults]
        self.accepted, self.sessions = record.accepted, record.sessions


def _wrong(found: Agreement) -> dict[str, int]:
    return {
        "REGISTERED, and there is no row": found.missing,
        "REGISTERED, and the row has another Client ID": found.other_client_id,
        "REGISTERED, and the row has other keys": found.other_keys,
        "the row has another report than the last one": found.other_record,
        "there is a row of an earlier session": found.two_sessions,
        "ended, and there is a row": found.not_ended,
    }
