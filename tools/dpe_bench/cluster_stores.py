"""The stores alone: processes that commit batches of sessions, in PostgreSQL with a standby and in SQLite, in turns."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dpe_bench.rows_measure import percentile
from dpe_bench.samples import SUM
from dpe_bench.servers.committer import BATCH
from dpe_coap.errors import LocalError
from dpe_server.store.opening import make_store
from dpe_tools.cluster.group import Group

POSTGRESQL, SQLITE = "PostgreSQL", "SQLite"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round found."""

    rate: float
    """Durable sessions a second, of all processes together."""
    p50: float
    """Seconds for a batch."""
    p99: float
    cpu: float
    """Seconds of CPU time of a process for a session."""
    database: float
    """Seconds of CPU time of the database's primary for a session; 0 for SQLite, which is in the process."""
    standbys: float
    sessions: int = field(metadata=SUM)
    faults: int = field(metadata=SUM)
    """Sessions that are not in the store as they were committed."""


def measure(url: str, processes: int, batches: int, group: Group | None) -> Sample:
    """Have so many processes commit so many batches each; LocalError if one fails."""
    with ExitStack() as running:
        working = [running.enter_context(_committer(url, batches)) for _ in range(processes)]
        for one in working:
            _line(one)
        before = _processor(group)
        for one in working:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        found = [json.loads(_line(one)) for one in working]
        after = _processor(group)
    sessions = processes * batches * BATCH
    times = [took for each in found for took in each["times"]]
    with closing(make_store(url)) as store:
        live = store.stats(0).live
    return Sample(
        rate=sessions / (max(each["ended"] for each in found) - min(each["began"] for each in found)),
        p50=percentile(times, 50),
        p99=percentile(times, 99),
        cpu=sum(each["cpu"] for each in found) / sessions,
        database=(after[0] - before[0]) / sessions,
        standbys=(after[1] - before[1]) / sessions,
        sessions=sessions,
        faults=abs(live - sessions - processes) + sum(each["wrong"] for each in found),
    )


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """Make a store in a file, and return its URL."""
    url = f"sqlite:{folder / 'dpe.sqlite'}"
    make_store(url).close()
    yield url


@contextmanager
def postgresql(group: Group, name: str) -> Iterator[str]:
    """Make a store in a database of this name, and return its URL."""
    group.primary.sql(f"CREATE DATABASE {name}")
    try:
        make_store(group.url_of(name)).close()
        group.primary.sql("CHECKPOINT")
        yield group.url_of(name)
    finally:
        group.primary.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _committer(url: str, batches: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "dpe_bench.servers.committer", url, str(batches)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise LocalError("a process that commits has failed", hint="what it said is above")
    return line


def _processor(group: Group | None) -> tuple[float, float]:
    """Return the CPU time of the primary and of its standbys."""
    if group is None:
        return 0.0, 0.0
    return group.primary.processor, sum(standby.processor for standby in group.standbys)
