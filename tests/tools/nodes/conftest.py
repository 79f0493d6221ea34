"""State directories of two nodes on one PostgreSQL database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_server.operation.state_dir import StateDir
from dpe_tools.server_process import ServerProcess, free_port
from tests.postgresql import Cluster
from tests.tools.conftest import IMEI, Invoke


@pytest.fixture
def url(postgresql: Cluster) -> str:
    """An empty database."""
    return postgresql.url()


@pytest.fixture
def first(dpe: Invoke, tmp_path: Path, url: str) -> Path:
    """The state directory of the first node, whose URI is that of the second one."""
    uri = f"coap://127.0.0.1:{free_port()}"
    said = dpe("init", tmp_path / "a", "--store", url, "--one-machine", "--node", "a", "--realm", "r", "--uri", uri)
    assert "this is the node a" in said.stdout
    assert "postgresql" not in said.output
    return tmp_path / "a"


@pytest.fixture
def second(dpe: Invoke, tmp_path: Path, first: Path) -> Path:
    """The state directory of another node."""
    assert "the node b of realm r" in dpe("init", tmp_path / "b", "--join", first, "--node", "b").stdout
    return tmp_path / "b"


@pytest.fixture
def served(second: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server process on the second node, at the URI that credentials name."""
    port = int(StateDir.open(second).config.uri.rpartition(":")[2])
    with ServerProcess(second, tmp_path / "b.log", port=port) as process:
        yield process


@pytest.fixture
def device(dpe: Invoke, first: Path, served: ServerProcess, tmp_path: Path) -> Path:
    """The credential, made at the first node, of a device that has registered at the second one."""
    dpe("provision", first, IMEI, "--file", tmp_path / "device.cbor")
    dpe("register", tmp_path / "device.cbor")
    return tmp_path / "device.cbor"
