"""State directories of two nodes on one PostgreSQL database."""

from pathlib import Path

import pytest

from dpe_tools.server_process import free_port
from tests.postgresql import Cluster
from tests.tools.conftest import Invoke


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
