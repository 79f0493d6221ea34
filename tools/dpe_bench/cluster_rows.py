"""What a registration costs as the store in PostgreSQL grows."""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median

from dpe_bench.rows_devices import Devices
from dpe_bench.rows_fill import Rows
from dpe_bench.rows_measure import BATCH, Effort, percentile, prune_beside_commits, started, timed
from dpe_server.operation import founding
from dpe_server.operation.state_dir import StateDir
from dpe_tools.cluster.group import Group
from dpe_tools.cluster.instance import DATABASE

FILL = 2_000
"""Sessions in a commit while the store is filled."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured at ``rows`` rows. Latencies are in s, from the server's side; CPU times are of one thing."""

    rows: int
    fill_rate: float | None
    """Rows a second while it was filled up to here."""
    new_rate: float
    """Registrations a second of devices without a session, in batches of 100."""
    new_cpu: float
    """Of the server."""
    new_database: float
    """Of the primary."""
    again_rate: float
    """Registrations a second of devices whose session is replaced."""
    batch_p50: float
    """Of the two messages of a batch of new devices."""
    batch_p99: float
    single_p50: float
    """Of the two messages of a new device alone."""
    single_p99: float
    look_up_p50: float
    """Of a session by its Client ID."""
    look_up_p99: float
    start: float
    """From `dpe serve` to ready."""
    prune: float
    """Of a session that is over: to end it, and to delete its trace."""
    database: int
    """Bytes, with all indexes."""
    row_bytes: float


def found(folder: Path, group: Group) -> Rows:
    """Make a node's state directory, and its store with one device."""
    state = founding.found(folder / "state", "bench", "coap://127.0.0.1:5683", group.url, node="bench")
    return Rows(StateDir.open(state.path), most=FILL)


def measure(rows: Rows, group: Group, fill_rate: float | None, effort: Effort, log: Path) -> Sample:
    """Measure a store; it has some more rows afterwards."""
    size = rows.count
    group.primary.sql("VACUUM (ANALYZE) device")
    group.primary.sql("CHECKPOINT")
    ((bytes_now,),) = group.primary.sql(f"SELECT pg_database_size('{DATABASE}')")
    with closing(rows.state.open_store()) as store:
        devices = Devices(rows.state, store)
        devices.register(rows.take(BATCH))  # so that its statements are planned
        new, again, used = [], [], 0.0
        for _ in range(effort.batches):
            again.append(devices.register(random.sample(range(size), BATCH)))
            before = group.primary.processor
            new.append(devices.register(rows.take(BATCH)))
            used += group.primary.processor - before
        singles = [devices.register(rows.take(1)) for _ in range(effort.singles)]
        numbers = random.sample(range(size), min(size, effort.look_ups))
        look_ups = [timed(partial(store.session, devices.session(number).client_id)) for number in numbers]
        prune, _ = prune_beside_commits(store, rows, effort.ended)
    return Sample(
        rows=size,
        fill_rate=fill_rate,
        new_rate=BATCH / mean(took.wall for took in new),
        new_cpu=mean(took.cpu for took in new) / BATCH,
        new_database=used / effort.batches / BATCH,
        again_rate=BATCH / mean(took.wall for took in again),
        batch_p50=percentile([took.wall for took in new], 50),
        batch_p99=percentile([took.wall for took in new], 99),
        single_p50=percentile([took.wall for took in singles], 50),
        single_p99=percentile([took.wall for took in singles], 99),
        look_up_p50=percentile(look_ups, 50),
        look_up_p99=percentile(look_ups, 99),
        start=median(started(rows.state.path, log) for _ in range(effort.starts)),
        prune=prune / effort.ended,
        database=int(bytes_now),
        row_bytes=int(bytes_now) / size,
    )


def samples(rows: Rows, group: Group, sizes: list[int], effort: Effort, log: Path) -> Iterator[Sample]:
    """Fill the store and measure it, in turns."""
    for size in sizes:
        rate = rows.fill(size, lambda _count: None)
        yield measure(rows, group, rate, effort, log)
