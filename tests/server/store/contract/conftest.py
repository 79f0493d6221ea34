"""Every store there is, for the tests of what its contract says."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dpe_server.store.contract import Store
from dpe_server.store.opening import make_store
from dpe_tools.simulation.memory_store import Disk, MemoryStore

Open = Callable[[], Store]
"""Opens a store, each time the same one."""


@pytest.fixture(params=["sqlite", "memory", "postgresql"])
def opening(request: pytest.FixtureRequest, path: Path) -> Iterator[Open]:
    disk = Disk()
    url = f"sqlite:{path}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").emptied()
    with ExitStack() as opened:

        def open_it() -> Store:
            store = MemoryStore(disk) if request.param == "memory" else make_store(url, one_machine=True)
            opened.callback(store.close)
            return store

        yield open_it


@pytest.fixture
def store(opening: Open) -> Store:
    return opening()
