"""What is looked up when somebody asks for the metrics."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

from prometheus_client.core import Metric
from prometheus_client.registry import Collector as Base

from dpe_coap.errors import DpeError
from dpe_server.exposition.families import Families, Found
from dpe_server.operation import loaded, snapshots
from dpe_server.operation.loaded import Loaded
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Stats
from dpe_server.store.opening import file_names

LEAST = 60.0
"""Seconds between two looks at the store."""
SHARE = 100
"""A look that takes a second is repeated after so many seconds: with a hundred million rows it takes a while."""


class Collector(Base):
    """Gives prometheus_client the metrics of the server of ``state``, whose processes write into ``folder``."""

    def __init__(self, state: Path, folder: Path) -> None:
        self._state = state
        self._folder = folder
        self._families = Families()
        self._stats: Stats | None = None
        Thread(target=self._look, name="dpe-look", daemon=True).start()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they are now."""
        total = snapshots.read(self._folder, time.monotonic())
        return self._families.all(total, self._found())

    def _found(self) -> Found:
        processes = loaded.processes(self._state)
        files = [self._state / name for name in file_names("dpe.sqlite")]
        sizes = [path.stat().st_size for path in files if path.exists()]
        return Found(
            generations=_generations(processes),
            policies=sorted({process.files.get("policy.toml", "") for process in processes}),
            live=None if self._stats is None else self._stats.live,
            ended=None if self._stats is None else self._stats.ended,
            revoked=None if self._stats is None else self._stats.revoked,
            size=sum(sizes) if sizes else None,
        )

    def _look(self) -> None:
        """Count what is in the store, again and again."""
        while True:
            began = time.monotonic()
            try:
                with closing(StateDir.open(self._state).open_store()) as store:
                    self._stats = store.stats(int(time.time()))
            except DpeError:
                self._stats = None  # not known; the server's own log says what is wrong
            time.sleep(max(LEAST, SHARE * (time.monotonic() - began)))


def _generations(processes: list[Loaded]) -> dict[str, int]:
    """Return the newest generation of each kind of key that every process has loaded."""
    found: dict[str, int] = {}
    common = set.intersection(*(set(process.keys) for process in processes)) if processes else set()
    for name in common:
        kind, key, generation = name.partition(" key ")
        if key:
            found[kind] = max(found.get(kind, 0), int(generation))
    return found
