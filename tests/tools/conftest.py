"""Fixtures of the tests of the `dpe` command."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dpe_tools.cli import main
from dpe_tools.server_process import ServerProcess, free_port

Invoke = Callable[..., Result]
IMEI = "490154203237518"
IMEIS = [IMEI, "350000000000006", "350000000000014"]


@pytest.fixture(scope="session")
def dpe() -> Invoke:
    """Run a `dpe` command in this process. ``status`` is the exit status that it must have."""

    def invoke(*arguments: object, stdin: str | bytes | None = None, status: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return invoke


@pytest.fixture
def state(dpe: Invoke, tmp_path: Path) -> Path:
    """A state directory whose server does not run."""
    dpe("init", tmp_path / "state", "--uri", f"coap://127.0.0.1:{free_port()}")
    return tmp_path / "state"


@dataclass(frozen=True)
class Running:
    """A server process and its state directory."""

    state: Path
    process: ServerProcess
    uri: str


@pytest.fixture(scope="module")
def server(dpe: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A real server in a process of its own, at the URI that its credentials name."""
    place = tmp_path_factory.mktemp("server")
    port = free_port()
    uri = f"coap://127.0.0.1:{port}"
    dpe("init", place / "state", "--uri", uri)
    with ServerProcess(place / "state", place / "log", port=port) as process:
        yield Running(place / "state", process, uri)


@pytest.fixture
def credential(dpe: Invoke, server: Running, tmp_path: Path) -> Path:
    """The credential of one device of that server."""
    path = tmp_path / "device.json"
    path.write_text(dpe("provision", server.state, IMEI).stdout, encoding="utf-8")
    return path
