"""From end to end: a node whose store is in PostgreSQL, and the same server with SQLite, under the load generator."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from dpe_bench import fleet, registration_run
from dpe_bench.registration_run import Fleet, Rig
from dpe_server.operation import founding
from dpe_tools.cluster.group import Group

EMPTY = "TRUNCATE device, change; INSERT INTO device (device) VALUES (decode(repeat('00', 16), 'hex'))"
"""Takes all devices from a store; what is left is the row that every store has."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round found. Times are microseconds."""

    rate: float
    """Complete registrations a second in the closed loop."""
    cpu: float
    """CPU time of the node for one registration."""
    p50: float
    """Of a whole registration in the open loop."""
    p99: float
    database: float
    """CPU time of the database's primary for one registration."""
    standbys: float
    registrations: int
    checked: int
    faults: int


def shared_fleet(folder: Path, group: Group, count: int) -> Fleet:
    """Make in ``folder`` the state directory of a node, and its devices."""
    folder.mkdir()
    state = founding.found(folder / "template", "bench", "coap://127.0.0.1", group.url, node="bench")
    state.policy_path.write_text(fleet.POLICY, encoding="utf-8")
    fleet.provision(state, count, folder / "devices")
    return Fleet(state, folder / "devices")


def measure(rig: Rig, place: Path, group: Group | None) -> Sample:
    """Measure a server with its state directory in a folder of ``place``, and its store there or in ``group``."""
    if group is not None:
        group.primary.sql(EMPTY)
        group.primary.sql("CHECKPOINT")
    before = _processor(group)
    with tempfile.TemporaryDirectory(prefix="dpe-bench-", dir=place) as folder:
        found = registration_run.measure(rig, Path(folder), "lane", 1)
    database, standbys = (now - then for now, then in zip(_processor(group), before, strict=True))
    return Sample(
        rate=found.rate,
        cpu=found.cpu,
        p50=found.p50,
        p99=found.p99,
        database=database / found.registrations * 1e6,
        standbys=standbys / found.registrations * 1e6,
        registrations=found.registrations,
        checked=found.checked,
        faults=found.faults,
    )


def _processor(group: Group | None) -> tuple[float, float]:
    if group is None:
        return 0.0, 0.0
    return group.primary.processor, sum(standby.processor for standby in group.standbys)
