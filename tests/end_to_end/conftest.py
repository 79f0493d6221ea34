"""Fixtures: a state directory, a server on it, and a client of the server."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dpe_server.operation.state_dir import StateDir
from tests.coap import Client
from tests.end_to_end.processes import Process, Start
from tests.end_to_end.running import POLICY, Running, running_on


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir.create(tmp_path / "state", "test realm", "coap://127.0.0.1")
    state.policy_path.write_text(POLICY)
    return state


@pytest.fixture
def running(state: StateDir, caplog: pytest.LogCaptureFixture) -> Iterator[Running]:
    """A server for the whole test. The test must take everything that is logged out of ``logs``."""
    with caplog.at_level(logging.WARNING), running_on(state) as running:
        yield running
    assert running.logs == []
    assert caplog.records == []


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.uri) as client:
        yield client


@pytest.fixture
def start(state: StateDir, tmp_path: Path) -> Iterator[Start]:
    """A function that starts a server as a process, by default on the test's state directory and a free port."""
    started: list[Process] = []

    def start(
        *addresses: str,
        on: StateDir = state,
        where: Sequence[str] = ("127.0.0.1:0",),
        program: Sequence[str] = ("-m", "dpe_server"),
    ) -> Process:
        process = Process(on, tmp_path / f"log{len(started)}", addresses or where, program)
        started.append(process)
        return process

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()
