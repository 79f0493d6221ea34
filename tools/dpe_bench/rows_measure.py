"""What is measured on a store of some size."""

import gc
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median

from dpe_bench.rows_devices import Devices
from dpe_bench.rows_fill import ENDED, Rows
from dpe_coap.client_ids import client_id_text
from dpe_server.store.contract import Store
from dpe_server.store.opening import open_store
from dpe_tools.server_process import ServerProcess

BATCH = 100
"""Registrations in a batch."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How often each thing is done."""

    batches: int
    """Of new devices, and as many of devices that have a session."""
    singles: int
    """Registrations alone in their batch."""
    look_ups: int
    starts: int
    """Of a server and of `dpe device show`; the median counts."""
    ended: int
    """Sessions to prune."""


FULL = Effort(batches=60, singles=300, look_ups=2000, starts=3, ended=10_000)
QUICK = Effort(batches=2, singles=5, look_ups=10, starts=1, ended=600)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured at ``rows`` rows. Latencies are in s, from the server's side: no network."""

    rows: int
    fill_rate: float | None
    """Rows a second while it was filled up to here."""
    new_rate: float
    """Registrations a second of devices without a session, in batches."""
    new_cpu: float
    """CPU time of one of them."""
    again_rate: float
    """Registrations a second of devices whose session is replaced."""
    again_cpu: float
    batch_p50: float
    """Of the two messages of a batch of new devices."""
    batch_p99: float
    single_p50: float
    """Of the two messages of a new device alone."""
    single_p99: float
    look_up_p50: float
    """Of a session by its Client ID."""
    look_up_p99: float
    show: float
    """`dpe device show`, the whole command."""
    start: float
    """From `dpe serve` to ready."""
    prune: float
    """Of a session that is over: to end it, and to delete its trace."""
    prune_wait: float
    """The longest commit of one session while others were pruned."""
    database: int
    """Bytes."""
    row_bytes: float
    log: int
    """Bytes of the write-ahead log after all this."""


def measure(rows: Rows, fill_rate: float | None, effort: Effort, log: Path) -> Sample:
    """Measure a store; it has some more rows afterwards."""
    size = rows.count
    database = rows.state.path / "dpe.sqlite"
    bytes_before = database.stat().st_size
    with closing(open_store(rows.state.store_url)) as store:
        devices = Devices(rows.state, store)
        gc.collect()
        new, again = [], []
        for _ in range(effort.batches):
            again.append(devices.register(random.sample(range(size), BATCH)))
            new.append(devices.register(rows.take(BATCH)))
        singles = [devices.register(rows.take(1)) for _ in range(effort.singles)]
        client_ids = [
            devices.session(number).client_id for number in random.sample(range(size), min(size, effort.look_ups))
        ]
        look_ups = [timed(partial(store.session, client_id)) for client_id in client_ids]
        shown = client_id_text(devices.session(rows.count - 1).client_id)
        prune, prune_wait = prune_beside_commits(store, rows, effort.ended)
        write_ahead = database.with_name(f"{database.name}-wal").stat().st_size
    return Sample(
        rows=size,
        fill_rate=fill_rate,
        new_rate=BATCH / mean(took.wall for took in new),
        new_cpu=mean(took.cpu for took in new) / BATCH,
        again_rate=BATCH / mean(took.wall for took in again),
        again_cpu=mean(took.cpu for took in again) / BATCH,
        batch_p50=percentile([took.wall for took in new], 50),
        batch_p99=percentile([took.wall for took in new], 99),
        single_p50=percentile([took.wall for took in singles], 50),
        single_p99=percentile([took.wall for took in singles], 99),
        look_up_p50=percentile(look_ups, 50),
        look_up_p99=percentile(look_ups, 99),
        show=median(_show(rows.state.path, shown) for _ in range(effort.starts)),
        start=median(started(rows.state.path, log) for _ in range(effort.starts)),
        prune=prune / effort.ended,
        prune_wait=prune_wait,
        database=bytes_before,
        row_bytes=bytes_before / size,
        log=write_ahead,
    )


def prune_beside_commits(store: Store, rows: Rows, count: int) -> tuple[float, float]:
    """Prune so many sessions while others are committed one by one; return how long it took and the longest commit."""
    store.commit(rows.make_ended(count))

    def prune_all() -> None:
        while store.expire(ENDED + 1):
            pass
        while store.prune(ENDED + 2):
            pass

    with ThreadPoolExecutor(1) as pool:
        pruning = pool.submit(timed, prune_all)
        waits = [0.0]
        while not pruning.done():
            waits.append(timed(partial(store.commit, rows.make(1))))
        return pruning.result(), max(waits)


def started(state: Path, log: Path) -> float:
    """Return the seconds until a server is ready."""
    server = ServerProcess(state, log)
    try:
        return timed(server.__enter__)
    finally:
        server.stop()


def _show(state: Path, client_id: str) -> float:
    """Return the seconds that `dpe device show` takes."""
    command = [sys.executable, "-m", "dpe_tools", "device", "show", str(state), client_id]
    return timed(partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL))


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the least of the values that so many percent do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
