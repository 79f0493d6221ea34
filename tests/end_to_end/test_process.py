"""The server as a process: start, signals, a kill, and a disk that is full."""

import re
import resource
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dpe_coap.numbers import Status
from dpe_server.operation.state_dir import StateDir
from dpe_server.registration.draining import COME_AGAIN
from tests import coap
from tests.audit import first_lines, lines, locked, until
from tests.coap import CON, POST, REGISTER, Client, Message
from tests.end_to_end.devices import Device, Offered
from tests.end_to_end.processes import Process, Start

IMPATIENT = "import sys; from pathlib import Path; from dpe_server.operation import app, audit; audit.PATIENCE = 0.0; "
IMPATIENT += "app.serve(Path(sys.argv[1]), sys.argv[2:])"
PATIENT = "import sys; from pathlib import Path; from dpe_server.operation import app, server; server.DRAIN = 1e9; "
PATIENT += "app.serve(Path(sys.argv[1]), sys.argv[2:])"
WITH = "import sys; from pathlib import Path; from dpe_server.operation import app; "
WITH += "app.serve(Path(sys.argv[1]), sys.argv[2:], {}={})"


def offer_of(client: Client, device: Device) -> Offered:
    request = device.request()
    return device.read(request, client.post(request).payload)


def test_it_says_where_it_listens_and_answers_there(start: Start) -> None:
    server = start("127.0.0.1:0", "127.0.0.2:0")
    uris = [server.started(), server.started()]
    assert [re.sub(r"\d+$", "", uri) for uri in uris] == ["coap://127.0.0.1:", "coap://127.0.0.2:"]
    for uri in uris:
        with Client(uri) as client:
            assert client.discover().dotted == "2.05"


def test_it_leaves_no_core_dump(start: Start) -> None:
    server = start()
    server.started()
    assert resource.prlimit(server.process.pid, resource.RLIMIT_CORE) == (0, 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_on_sigterm_it_finishes_what_it_has_begun_and_begins_nothing(
    start: Start, state: StateDir, workers: int
) -> None:
    server = start(program=("-c", WITH.format("workers", workers)))
    with Client(server.started()) as client:
        offer = offer_of(client, Device(state))
        success = offer.success()
        server.process.send_signal(signal.SIGTERM)
        answers: list[Message] = []

        def is_sent_away() -> bool:
            answers.append(client.post(Device(state).request()))
            return answers[-1].dotted == "5.03"

        until(is_sent_away)
        assert answers[-1].uint(coap.MAX_AGE) == COME_AGAIN
        assert offer.confirm(success, client.post(success).payload)[0].status == Status.OK
        assert server.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_again_or_by_ctrl_c_it_does_not_wait(start: Start, state: StateDir, number: signal.Signals) -> None:
    server = start(program=("-c", PATIENT))
    with Client(server.started()) as client:
        offer_of(client, Device(state))
        if number == signal.SIGTERM:
            server.process.send_signal(number)
            server.logged("stopping")
        server.process.send_signal(number)
        assert server.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_gracefully(start: Start, state: StateDir, number: signal.Signals) -> None:
    server = start()
    with Client(server.started()) as client:
        success = offer_of(client, Device(state)).success()
        server.process.send_signal(number)
        client.send(bytes(Message(CON, POST, 1, b"t", REGISTER, success)))  # taken, or not: no harm in either
        assert server.ended() == 0
    log = server.log.read_text()
    assert log.count("\n") == 1
    assert "stopping" in log
    assert not (state.path / "dpe.sqlite-wal").exists(), "the database was not closed"
    assert start().started()


def test_after_kill_9_the_same_success_gets_the_same_confirm(start: Start, state: StateDir) -> None:
    device, lost = Device(state), Device(state)
    server = start()
    with Client(server.started()) as client:
        offer = offer_of(client, device)
        success = offer.success()
        confirm = client.post(success).payload
        pending = offer_of(client, lost).success()
        server.process.kill()
        assert server.ended() == -signal.SIGKILL
    assert offer.confirm(success, confirm)[0].status == Status.OK
    server = start()
    with Client(server.started()) as client:
        response = client.post(success)
        assert (response.dotted, response.payload) == ("2.04", confirm)
        assert client.post(pending).dotted == "4.01"
        assert client.post(offer_of(client, lost).success()).dotted == "2.04"


def test_sighup_reloads_a_good_policy_and_keeps_the_old_one_for_a_bad_one(start: Start, state: StateDir) -> None:
    device = Device(state)

    def firmware_1_is_refused(client: Client) -> bool:
        request = device.request(firmware="1.0")
        return device.read(request, client.post(request).payload).response.status == Status.REFUSED

    server = start()
    good = state.policy_path.read_text()
    with Client(server.started()) as client:
        assert not firmware_1_is_refused(client)
        state.policy_path.write_text(good.replace('"banned*"', '"1*"'))
        server.process.send_signal(signal.SIGHUP)
        server.logged("policy and keys reloaded")
        assert firmware_1_is_refused(client)
        state.policy_path.write_text(good + "\n[[rule]]\nname = 'bad'\naction = 'refuse'\ncolour = 'blue'\n")
        server.process.send_signal(signal.SIGHUP)
        log = server.logged("not reloaded")
        assert re.search(rf"\b{len(good.splitlines()) + 5}\b.*\bcolour\b", log)
        assert firmware_1_is_refused(client)
        state.policy_path.write_text(good)
        server.process.send_signal(signal.SIGHUP)
        server.logged("policy and keys reloaded", times=2)
        assert not firmware_1_is_refused(client)
    assert server.log.read_text().count("\n") == 3


def test_sighup_takes_up_rotated_keys_and_a_new_audit_log(start: Start, state: StateDir) -> None:
    server = start()
    with Client(server.started()) as client:
        offer_of(client, Device(state))
        first_lines(state.audit_path, 1)
        moved = state.audit_path.rename(state.path / "audit.jsonl.1")
        assert state.rotate("master") == 2
        renewed = StateDir.open(state.path)
        device = Device(renewed, epoch=2)
        assert client.post(device.request()).dotted == "4.01"
        server.process.send_signal(signal.SIGHUP)
        server.logged("policy and keys reloaded")
        assert client.post(device.request()).dotted == "2.04"
        assert client.post(Device(renewed, epoch=1).request()).dotted == "2.04"
    assert [line["event"] for line in first_lines(state.audit_path, 2)] == ["response"] * 2
    assert [line["event"] for line in lines(moved)] == ["response", "unauthenticated"]


def test_a_lock_on_the_audit_log_holds_up_its_lines_and_no_answer(start: Start, state: StateDir) -> None:
    with Client(start().started()) as client:
        with locked(state.audit_path):
            for _ in range(3):
                offer = offer_of(client, Device(state))
                success = offer.success()
                assert offer.confirm(success, client.post(success).payload)[0].status == Status.OK
                assert client.post(b"\xff").dotted == "4.00"
            assert state.audit_path.read_bytes() == b""
        events = [line["event"] for line in first_lines(state.audit_path, 9)]
    assert events == ["response", "established", "malformed"] * 3


def test_a_server_ends_though_its_audit_log_stays_locked(start: Start, state: StateDir) -> None:
    server = start(program=("-c", IMPATIENT))
    waiting = re.compile(rf"-> FLOCK .* {server.process.pid} ")
    with Client(server.started()) as client, locked(state.audit_path):
        offer_of(client, Device(state))
        until(lambda: waiting.search(Path("/proc/locks").read_text()))
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0
    assert re.search(r"audit log not finished .*lost=1\b", server.log.read_text())
    assert state.audit_path.read_bytes() == b""


def refused(server: Process) -> str:
    """The server ends with status 1 and one line, the error, or two with a hint; returns them."""
    assert server.ended() == 1
    log = server.log.read_text()
    error, *hints = log.splitlines()
    assert error.startswith("dpe: error: ")
    assert [hint[:6] for hint in hints] in ([], ["hint: "])
    return log


def test_a_second_server_on_the_same_state_directory_is_refused(start: Start) -> None:
    server = start()
    server.started()
    log = refused(start())
    assert "in use by another server" in log
    assert str(server.process.pid) in log


def test_a_second_server_on_the_same_port_is_refused_and_frees_its_state_directory(
    start: Start, tmp_path: Path
) -> None:
    other = StateDir.create(tmp_path / "other", "other realm", "coap://127.0.0.1")
    address = start().started().removeprefix("coap://")
    assert "the port is in use" in refused(start(address, on=other))
    assert start(on=other).started()


def bad_policy(state: StateDir) -> None:
    state.policy_path.write_text("[[rule]]\nname = 1\n")


def open_keys(state: StateDir) -> None:
    (state.path / "keys.json").chmod(0o644)


def damaged_database(state: StateDir) -> None:
    (state.path / "dpe.sqlite").write_bytes(b"not a database" * 100)


def newer_database(state: StateDir) -> None:
    with closing(sqlite3.connect(state.path / "dpe.sqlite")) as database:
        database.execute("PRAGMA user_version = 999")


def bad_config(state: StateDir) -> None:
    (state.path / "config.toml").write_text("realm = 'r'\nuri = 'coap://h'\nlisten = ['nowhere']\ncolour = 'blue'\n")


@pytest.mark.parametrize("harm", [bad_config, bad_policy, open_keys, damaged_database, newer_database])
def test_a_state_directory_that_cannot_be_served_is_refused(
    start: Start, state: StateDir, harm: Callable[[StateDir], None]
) -> None:
    harm(state)
    assert str(state.path) in refused(start())


def test_a_full_disk_is_5_03_until_there_is_space(start: Start, state: StateDir) -> None:
    """A limit on the size of files stands for the full disk; the server's log stays below it."""
    server = start()
    with Client(server.started()) as client:
        offer = offer_of(client, Device(state))
        success = offer.success()
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))
        response = client.post(success)
        assert (response.dotted, response.uint(coap.MAX_AGE)) == ("5.03", 60)
        late = Device(state)
        request = late.request()
        response = client.post(request)
        assert response.dotted == "5.03"
        assert late.read(request, response.payload).response.status == Status.UNAVAILABLE
        infinity = resource.RLIM_INFINITY
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (infinity, infinity))
        response = client.post(success)
        assert offer.confirm(success, response.payload)[0].status == Status.OK
        assert client.post(late.request()).dotted == "2.04"
    events = re.findall(r"store (not writable|writable again)", server.log.read_text())
    assert events == ["not writable", "writable again"]


def test_without_an_address_it_listens_where_the_configuration_says(start: Start, state: StateDir) -> None:
    (state.path / "config.toml").write_text('realm = "r"\nuri = "coap://127.0.0.3"\nlisten = ["127.0.0.3:0"]\n')
    assert start(where=()).started().startswith("coap://127.0.0.3:")
