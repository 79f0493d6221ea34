"""Several worker processes on one address and one database."""

import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from os import kill
from pathlib import Path

import pytest

from dpe_coap.numbers import Status
from dpe_server.operation.state_dir import StateDir
from tests.audit import first_lines, until
from tests.coap import Client
from tests.end_to_end.devices import Device, Offered
from tests.end_to_end.processes import Process, Start, children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="on Linux the kernel spreads peers among sockets")

TWO = ("-m", "dpe_tools", "serve", "--workers", "2")
RESTARTING = "import sys; from pathlib import Path; from dpe_server.operation import app, workers; workers.STEADY = 0; "
RESTARTING += "app.serve(Path(sys.argv[1]), sys.argv[2:], workers=2)"
HALF = """
import time
from dpe_coap.errors import DpeError
from dpe_server.operation import workers

def run(number, ties):
    if number == 1:
        raise DpeError("no disk")
    ties.ready()
    time.sleep(60)

try:
    workers.supervise(2, run, lambda: print("ready"))
except DpeError as error:
    print(error)
"""
PEERS = 24
"""Sockets of one machine: that all of them come to the same of two workers has the probability 2 to minus 23.

One device may register at each of them within a minute: 30 times at one worker with the same handle.
"""


@pytest.fixture
def two(start: Start) -> Process:
    """A server with two workers."""
    server = start(program=TWO, where=("--listen", "127.0.0.1:0"))
    server.started()
    return server


@pytest.fixture
def clients(two: Process) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Client(two.uri)) for _ in range(PEERS)]


def offer_of(client: Client, device: Device) -> Offered:
    request = device.request()
    return device.read(request, client.post(request).payload)


def register(client: Client, device: Device) -> None:
    offer = offer_of(client, device)
    success = offer.success()
    confirm, _ = offer.confirm(success, client.post(success).payload)
    assert confirm.status == Status.OK


def rows(state: StateDir) -> int:
    with closing(sqlite3.connect(state.path / "dpe.sqlite")) as database:
        (count,) = database.execute("SELECT count(*) FROM session").fetchone()
        assert isinstance(count, int)
        return count


def test_it_says_once_where_it_listens_and_every_peer_can_register(
    state: StateDir, two: Process, clients: list[Client]
) -> None:
    assert len(children(two.process.pid)) == 2
    for client in clients:
        assert client.discover().dotted == "2.05"
        register(client, Device(state))
    assert rows(state) == PEERS
    events = [line["event"] for line in first_lines(state.audit_path, 2 * PEERS)]
    assert sorted(events) == ["established"] * PEERS + ["response"] * PEERS
    two.process.send_signal(signal.SIGTERM)
    assert two.ended() == 0
    assert two.process.stdout is not None
    assert two.process.stdout.read() == ""


def test_a_registration_that_crosses_workers_is_4_01_and_starts_over_cleanly(
    state: StateDir, two: Process, clients: list[Client]
) -> None:
    """The address of a device changes between REQUEST and SUCCESS, as behind a NAT."""
    home, *others = clients
    device = Device(state)
    crossed = []
    for client in others:
        offer = offer_of(home, device)
        answer = client.post(offer.success())
        crossed.append((answer.dotted, answer.payload) == ("4.01", b""))
        if crossed[-1]:
            register(client, device)
        else:
            assert offer.confirm(offer.success(), answer.payload)[0].status == Status.OK
        assert rows(state) == 1
    assert set(crossed) == {True, False}


def test_a_resent_success_gets_its_confirm_from_every_worker(
    state: StateDir, two: Process, clients: list[Client]
) -> None:
    offer = offer_of(clients[0], Device(state))
    success = offer.success()
    confirm = clients[0].post(success).payload
    assert offer.confirm(success, confirm)[0].status == Status.OK
    assert {client.post(success).payload for client in clients} == {confirm}


def test_a_device_that_registers_anew_at_another_worker_has_one_session(
    state: StateDir, two: Process, clients: list[Client]
) -> None:
    device = Device(state)
    for client in clients:
        register(client, device)
    assert rows(state) == 1


def test_sighup_reaches_every_worker(state: StateDir, two: Process, clients: list[Client]) -> None:
    device = Device(state)
    text = state.policy_path.read_text()
    state.policy_path.write_text(text.replace('"banned*"', '"1*"'))
    moved = state.audit_path.rename(state.path / "moved") if state.audit_path.exists() else None
    assert moved is None
    kill(int((state.path / "serve.lock").read_text()), signal.SIGHUP)
    two.logged("policy and keys reloaded", times=2)
    for client in clients:
        request = device.request(firmware="1.0")
        assert device.read(request, client.post(request).payload).response.status == Status.REFUSED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_gracefully(state: StateDir, two: Process, start: Start, number: signal.Signals) -> None:
    workers = children(two.process.pid)
    with Client(two.uri) as client:
        register(client, Device(state))
    two.process.send_signal(number)
    assert two.ended() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert two.log.read_text().count("\n") == 1
    assert "stopping" in two.log.read_text()
    assert not (state.path / "dpe.sqlite-wal").exists(), "the database was not closed"
    assert (state.path / "serve.lock").read_text() == ""
    assert start().started()


def test_the_database_is_one_file_in_the_end_though_no_worker_has_closed_it(state: StateDir, two: Process) -> None:
    workers = children(two.process.pid)
    with Client(two.uri) as client:
        register(client, Device(state))
    for pid in workers:
        kill(pid, signal.SIGSTOP)
    two.process.send_signal(signal.SIGTERM)
    two.logged("stopping")
    for pid in workers:
        kill(pid, signal.SIGKILL)
    assert two.ended() == 0
    assert not (state.path / "dpe.sqlite-wal").exists()
    assert rows(state) == 1


def test_a_worker_that_dies_is_started_again(state: StateDir, start: Start) -> None:
    server = start(program=("-c", RESTARTING))
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server.started())) for _ in range(1)]
        clients += [stack.enter_context(Client(server.uri)) for _ in range(PEERS)]
        for worker in children(server.process.pid):
            before = set(children(server.process.pid))
            kill(worker, signal.SIGKILL)
            until(lambda before=before: len(set(children(server.process.pid)) - before) == 1)  # type: ignore[misc]
            for client in clients:  # what comes before the new one is ready waits for it
                register(client, Device(state))
        assert rows(state) == 2 * (PEERS + 1)
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0
    log = server.log.read_text()
    died = re.findall(r"worker died +signal=SIGKILL worker=(\d)", log)
    assert died in (["0", "1"], ["1", "0"])
    assert re.findall(r"\[warning +\] worker started again +worker=(\d)", log) == died


def test_a_worker_that_dies_soon_after_its_start_ends_the_server(two: Process, start: Start) -> None:
    workers = children(two.process.pid)
    kill(workers[0], signal.SIGKILL)
    assert two.ended() == 1
    assert re.search(r"dpe: error: worker \d died soon after its start", two.log.read_text())
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert start().started()


def test_when_a_worker_cannot_start_the_others_end(start: Start) -> None:
    server = start(program=("-c", HALF))
    assert server.ended() == 0
    assert server.process.stdout is not None
    said = server.process.stdout.read()
    assert "no disk" in said
    assert said.endswith("\na worker ended before it could serve\n")


def test_a_first_process_that_is_killed_takes_its_workers_with_it(state: StateDir, two: Process, start: Start) -> None:
    workers = children(two.process.pid)
    two.process.kill()
    two.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    server = start()
    with Client(server.started()) as client:
        register(client, Device(state))


def test_what_keeps_a_server_from_starting_is_said_once(
    state: StateDir, two: Process, start: Start, tmp_path: Path
) -> None:
    second = start(program=TWO, where=("--listen", "127.0.0.1:0"))
    assert second.ended() == 1
    assert f"process {two.process.pid}" in second.log.read_text()
    other = StateDir.create(tmp_path / "other", "other realm", "coap://127.0.0.1")
    address = two.uri.removeprefix("coap://")
    for program, where in ((TWO, ("--listen", address)), (("-m", "dpe_server"), (address,))):
        refused = start(on=other, program=program, where=where)
        assert refused.ended() == 1
        assert "the port is in use" in refused.log.read_text()
    other.policy_path.write_text("[[rule]]\nname = 1\n")
    refused = start(on=other, program=TWO, where=("--listen", "127.0.0.1:0"))
    assert refused.ended() == 1
    assert [line.partition(": ")[0] for line in refused.log.read_text().splitlines() if line.startswith("dpe")] == [
        "dpe"
    ]
    assert refused.log.read_text().count("policy.toml") == 1
