"""What the tests with other people's clients share: a real server, and the `dpe` command as a user runs it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_tools.server_process import ServerProcess

IMEI = "490154203237518"


def dpe(*arguments: str | Path, status: int = 0) -> str:
    """Run the `dpe` command as a user does; return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "dpe_tools", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A real server; its state directory and its URI."""
    place = tmp_path_factory.mktemp("interop")
    dpe("init", place / "state", "--realm", "interop")
    with ServerProcess(place / "state", place / "log") as running:
        yield place / "state", f"coap://127.0.0.1:{running.address[1]}"
