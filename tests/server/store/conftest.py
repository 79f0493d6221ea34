"""Sessions and a store in a file of their own for the tests of the store."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.messages import Version
from dpe_server.store.contract import Session
from dpe_server.store.sqlite.store import SqliteStore
from dpe_tools.simulation.memory_store import Disk, MemoryStore

Either = SqliteStore | MemoryStore
NOW = 1_800_000_000


@pytest.fixture
def now() -> int:
    """The moment of the tests."""
    return NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dpe.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "memory"])
def open_store(request: pytest.FixtureRequest, path: Path) -> Iterator[Callable[[], Either]]:
    """A function that opens a store that keeps the contract: SQLite's, or the simulation's; again on the same disk."""
    disk = Disk()
    with ExitStack() as opened:

        def open_store() -> Either:
            store = SqliteStore(path) if request.param == "sqlite" else MemoryStore(disk)
            opened.callback(store.close)
            return store

        yield open_store


@pytest.fixture
def either(open_store: Callable[[], Either]) -> Either:
    """A store that keeps the contract."""
    return open_store()


@pytest.fixture(scope="session")
def make() -> Callable[..., Session]:
    """A function that makes a session of a new device, but for the fields given."""
    ordinals = itertools.count(1)

    def make(**fields: Any) -> Session:
        made: dict[str, Any] = {
            "client_id": os.urandom(7),
            "device": os.urandom(16),
            "sealed_imei": os.urandom(35),
            "version": Version(1, 2),
            "firmware": "fw-7 \N{GREEK SMALL LETTER MU}",
            "suite": 2,
            "rule": "everyone",
            "ordinal": next(ordinals),
            "established_at": NOW,
            "expires_at": NOW + 3600,
            "th3": os.urandom(32),
            "success_hash": os.urandom(32),
            "confirm": os.urandom(23),
            "sealed_keys": os.urandom(52),
            "properties": '{"battery": null}',
            "policies": '{"battery": {"every": 60, "note": "caf\\u00e9"}}',
        }
        return Session(**{**made, **fields})

    return make
