from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.registration.double import Device, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "dpe.sqlite")
    yield server
    server.store.close()


@pytest.fixture
def device(server: Server) -> Device:
    return Device(server)
