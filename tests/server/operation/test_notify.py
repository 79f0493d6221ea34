"""What the service manager is told of several processes, and what of a watchdog is in the environment."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from dpe_server.operation import notify
from dpe_server.operation.notify import LOOKS, SOON, Manager, Pulse, Teller, watchdog


class Clock:
    """A clock for the module."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(notify, "time", clock)
    return clock


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield manager


def heard(manager: socket.socket) -> list[str]:
    found = []
    try:
        while True:
            found.append(manager.recv(100).decode())
    except BlockingIOError:
        return found


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_whether_there_is_a_watchdog(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog(environment) == seconds


def test_the_watchdog_hears_of_all_processes_or_of_none(clock: Clock, manager: socket.socket) -> None:
    pulse = Pulse(3)
    first = Manager(pulse, 8.0)
    for number in range(3):
        pulse.begin(number)
    assert first.wait == 8.0 / LOOKS
    clock.now += 4.0
    first.look()
    assert heard(manager) == ["WATCHDOG=1"]
    clock.now += 0.1
    pulse.beat(0)
    pulse.beat(2)
    with structlog.testing.capture_logs() as logs:
        first.look()
        first.look()
    assert heard(manager) == []
    assert [(log["event"], log["worker"]) for log in logs] == [("worker does not answer", 1)], "it is told once"
    pulse.beat(1)
    first.look()
    assert heard(manager) == ["WATCHDOG=1"]


def test_processes_share_it() -> None:
    pulse = Pulse(2)
    child = os.fork()
    if child == 0:
        pulse.reloaded(1, 77.0)
        os._exit(0)
    os.waitpid(child, 0)
    pulse.reloaded(0, 78.0)
    assert pulse.have_reloaded(77.0)
    assert not pulse.have_reloaded(77.5)
    assert pulse.silent(time.monotonic() / 2) == [0, 1]


def test_a_reload_is_over_when_all_have_read_what_was_there_when_it_began(clock: Clock, manager: socket.socket) -> None:
    pulse = Pulse(2)
    first = Manager(pulse, None)
    for number in range(2):
        pulse.begin(number)
    assert first.wait is None
    clock.now = 200.0
    first.reload()
    assert first.wait == SOON
    assert heard(manager) == ["RELOADING=1\nMONOTONIC_USEC=200000000"]
    pulse.reloaded(0, 200.0)
    pulse.reloaded(1, 199.0)  # of the reload before
    first.look()
    assert heard(manager) == []
    pulse.reloaded(1, 200.5)
    first.look()
    first.look()
    assert heard(manager) == ["READY=1"]
    assert first.wait is None


def test_a_server_of_one_process_tells_it_itself(
    clock: Clock, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "8000000")
    teller = Teller.alone()
    assert teller.every == 2.0
    teller.beat()
    began = teller.reload()
    clock.now += 1
    teller.beat()
    teller.reloaded(began)
    told = ["WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=100000000", "WATCHDOG=1", "READY=1", "WATCHDOG=1"]
    assert heard(manager) == told


def test_without_a_service_manager_nothing_is_told(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    teller = Teller.alone()
    assert teller.every is None
    with structlog.testing.capture_logs() as logs:
        teller.reloaded(teller.reload())
    assert logs == []
