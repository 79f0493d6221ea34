"""A state directory with some devices, and the application of `dpe web` on it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.store.contract import Store
from dpe_server.store.opening import open_store
from tests.server.web.api.held import Held, made


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with made(tmp_path) as found:
        yield found


@pytest.fixture
def store(held: Held) -> Iterator[Store]:
    with closing(open_store(held.opened.store_url)) as opened:
        yield opened
