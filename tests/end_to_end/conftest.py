"""Fixtures: a state directory, a server on it, and a client of the server."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_server.state import StateDir
from tests.coap import Client
from tests.end_to_end.running import POLICY, Running, running_on


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir.create(tmp_path / "state", "test realm", "coap://127.0.0.1")
    state.policy_path.write_text(POLICY)
    return state


@pytest.fixture
def running(state: StateDir, caplog: pytest.LogCaptureFixture) -> Iterator[Running]:
    """A server for the whole test; nothing may be logged that the test does not take out of ``logs``."""
    with caplog.at_level(logging.WARNING), running_on(state) as running:
        yield running
    assert running.logs == []
    assert caplog.records == []


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.uri) as client:
        yield client
