"""Sessions and a SQLite store in a file of its own for the tests of the store."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.messages import Version
from dpe_server.store.contract import Session
from dpe_server.store.sqlite.store import SqliteStore

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


@pytest.fixture(scope="session")
def make() -> Callable[..., Session]:
    """A function that makes a session of a new device, but for the fields given."""
    ordinals = itertools.count(2)  # 1 is for an older REQUEST

    def make(**fields: Any) -> Session:
        made: dict[str, Any] = {
            "client_id": int.from_bytes(os.urandom(7), "big"),
            "device": os.urandom(16),
            "sealed_imei": os.urandom(35),
            "version": Version(1, 2),
            "firmware": "fw-7 \N{GREEK SMALL LETTER MU}",
            "suite": 2,
            "rule": "everyone",
            "ordinal": next(ordinals),
            "established_at": NOW,
            "lifetime": 3600,
            "expires_at": NOW + 3600,
            "th3": os.urandom(32),
            "success_hash": os.urandom(32),
            "confirm": os.urandom(23),
            "sealed_keys": os.urandom(52),
        }
        return Session(**{**made, **fields})

    return make
