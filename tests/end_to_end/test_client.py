"""The real DPE Client against the real server: both interpreters, both suites, loss, reboots and restarts."""

import dataclasses
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.client_ids import client_id_bytes, client_id_text
from dpe_coap.imei import Imei
from dpe_coap.numbers import MessageType
from dpe_device import registration as client
from dpe_device import x25519
from dpe_device.registration import Registration
from dpe_device.store import FileStore
from dpe_server.keys.ring import nobodys
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.store.opening import open_store
from dpe_tools.server_process import ServerProcess
from tests.coap import Message
from tests.device.scripted import sealed
from tests.end_to_end.running import Running, running_on

IMEI = Imei.parse("35209900176148")
Lose = Callable[[bool, bytes], bool]
"""Decides whether a datagram is lost; told whether the device sent it."""


def none_lost(_sent: bool, _datagram: bytes) -> bool:
    return False


class Flash:
    """What a board keeps over a reboot."""

    record: bytes | None = None

    def load(self) -> bytes | None:
        return self.record

    def save(self, record: bytes) -> None:
        self.record = record


class Board:
    """A device on a real socket. Its clock jumps to the next deadline when a datagram is lost, so nothing sleeps."""

    def __init__(self, state: StateDir, imei: Imei = IMEI) -> None:
        self.credential: Any = dataclasses.asdict(credential(state.keys, state.config, imei))
        self.flash = Flash()
        self.sent: list[bytes] = []

    def boot(self, **options: Any) -> Registration:
        return Registration(self.credential, self.flash, os.urandom, **options)

    def run(self, uri: str, registration: Registration, lose: Lose = none_lost, steps: int = 100) -> Registration:
        """Drive a registration until it has nothing more to do."""
        host, port = uri.removeprefix("coap://").rsplit(":", 1)
        now = 0
        datagram = sender = None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.settimeout(20)
            for _ in range(steps):
                out, wake, _ = registration.step(now, datagram, sender)
                datagram = sender = None
                if out is None and wake is None:
                    return registration
                if out is not None:
                    registration.peer = (host, int(port))
                    self.sent.append(Message.parse(out).payload)
                    if not lose(True, out):
                        link.sendto(out, registration.peer)
                        datagram, sender = link.recvfrom(400)
                        if lose(False, datagram):
                            datagram = None
                if datagram is None and wake is not None:
                    now = max(now, wake)
        raise AssertionError("the registration does not end")


@pytest.fixture
def board(state: StateDir) -> Board:
    return Board(state)


def requests(board: Board) -> int:
    """How often the device has sent REQUEST."""
    return sum(payload[2] == MessageType.REQUEST for payload in board.sent)


def rows(state: StateDir) -> list[Session]:
    store = open_store(state.store_url)
    try:
        return list(store.live(0))
    finally:
        store.close()


def agree(state: StateDir, registration: Registration) -> bool:
    """Say whether the device is registered, and the server has its row with the same Client ID and keys."""
    (row,) = rows(state)
    assert registration.oscore is not None
    keys = state.at_rest.open_keys(row.sealed_keys, row.client_id)
    return (
        registration.state == client.REGISTERED
        and client_id_bytes(row.client_id) == registration.client_id
        and keys == b"".join(registration.oscore)
    )


def test_registration(state: StateDir, running: Running, board: Board) -> None:
    done = board.run(running.uri, board.boot())
    assert agree(state, done)
    assert done.lifetime == 3600
    assert [len(payload) for payload in board.sent] == [61, 32]
    rebooted = board.boot()
    assert rebooted.state == client.REGISTERED, "no needless registration"
    assert agree(state, rebooted)


def test_every_registration_has_another_handle(state: StateDir, running: Running, board: Board) -> None:
    handles = set()
    for _ in range(3):
        registration = board.boot()
        registration.start()
        assert agree(state, board.run(running.uri, registration))
        handles.add(board.sent[-2][5:22])
    assert len(handles) == 3
    assert state.keys.claim(handles.pop(), nobodys(os.urandom))[1] == IMEI


def test_reset_between_success_and_confirm(state: StateDir, board: Board) -> None:
    """The device loses CONFIRM and its power, the server its process; the same SUCCESS brings the same session."""

    def confirm(sent: bool, datagram: bytes) -> bool:
        return not sent and len(Message.parse(datagram).payload) <= 28

    with running_on(state) as running:
        with pytest.raises(AssertionError, match="does not end"):
            board.run(running.uri, board.boot(), confirm, steps=3)
        success = board.sent[-1]
    (row,) = rows(state)
    with running_on(state) as running:
        rebooted = board.boot()
        assert rebooted.state == client.CONFIRMING
        board.sent.clear()
        done = board.run(running.uri, rebooted)
        assert board.sent == [success]
        assert agree(state, done)
    assert rows(state) == [row]


def test_the_server_forgets_the_transaction(state: StateDir, board: Board) -> None:
    """4.01 to SUCCESS is a hint: the device repeats it, then registers anew by itself."""
    registration = board.boot()
    with running_on(state) as running, pytest.raises(AssertionError, match="does not end"):
        board.run(running.uri, registration, steps=1)
    with running_on(state) as running:
        done = board.run(running.uri, registration)
    assert agree(state, done)
    sizes = [len(payload) for payload in board.sent]
    assert sizes == [61, 61, 32]

    success_first = Board(state)
    registration = success_first.boot()

    def success(sent: bool, datagram: bytes) -> bool:
        return sent and len(Message.parse(datagram).payload) == 32

    with running_on(state) as running, pytest.raises(AssertionError, match="does not end"):
        success_first.run(running.uri, registration, success, steps=2)
    assert registration.state == client.CONFIRMING
    with running_on(state) as running:
        assert agree(state, success_first.run(running.uri, registration))
    assert [len(payload) for payload in success_first.sent][-2:] == [61, 32]
    assert len({payload for payload in success_first.sent if len(payload) == 32}) == 2
    assert sum(len(payload) == 32 for payload in success_first.sent) > 2, "the first SUCCESS is repeated"


@pytest.mark.parametrize("seed", range(12))
def test_loss(state: StateDir, running: Running, seed: int) -> None:
    """Under 40 % loss every device ends registered, with one row and the keys of that row."""
    chance = random.Random(seed)
    board = Board(state)
    options = {"x25519": x25519, "suite": 2} if seed % 4 == 0 else {}
    done = board.run(running.uri, board.boot(**options), lambda _sent, _datagram: chance.random() < 0.4, steps=1000)
    assert agree(state, done)


def test_decline(state: StateDir, running: Running, board: Board) -> None:
    done = board.run(running.uri, board.boot(accept=lambda _client_id, _version: 16))
    assert done.state == client.IDLE
    assert done.status == 32
    assert rows(state) == []


def test_what_the_server_asks_for(state: StateDir, running: Running, board: Board) -> None:
    """A stronger suite, then an older version: the device follows by itself."""
    done = board.run(running.uri, board.boot(firmware="weak 1", x25519=x25519))
    assert agree(state, done)
    assert [row.suite for row in rows(state)] == [2]
    assert requests(board) == 2
    registration = board.boot(versions=((0, 3), (1, 9)))
    registration.start()
    assert agree(state, board.run(running.uri, registration))
    assert [row.version for row in rows(state)] == [(1, 9)]
    registration = board.boot(firmware="banned 1")
    registration.start()
    assert board.run(running.uri, registration).state == client.REFUSED
    assert len(rows(state)) == 1, "a refusal leaves the session"


def test_a_redirect_to_this_server(state: StateDir, running: Running, board: Board) -> None:
    policy = state.policy_path.read_text(encoding="utf-8")
    state.policy_path.write_text(policy.replace("coap://other.example", running.uri), encoding="utf-8")
    running.loop.run(running.server.reload())
    assert running.logs.pop()["event"] == "policy and keys reloaded"
    done = board.run(running.uri, board.boot(firmware="moved 1"))
    assert requests(board) == 2
    assert done.server == running.uri
    assert done.state == client.REFUSED, "redirected again: one hop is the most"


COMMAND = {"cpython": [sys.executable, "-W", "error"], "micropython": []}


def run(interpreter: str, request: pytest.FixtureRequest, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the device's program under an interpreter of ``COMMAND``."""
    program = COMMAND[interpreter] or [request.getfixturevalue("micropython")]
    return subprocess.run(
        [*program, "-m", "dpe_device", *arguments],
        cwd=request.getfixturevalue("root") / "device",
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("form", ["cbor", "json"])
@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize("interpreter", COMMAND)
def test_the_program_on_both_interpreters(
    state: StateDir, request: pytest.FixtureRequest, interpreter: str, suite: int, form: str, tmp_path: Path
) -> None:
    """`python -m dpe_device` and `micropython -m dpe_device` register, register anew, and say so."""
    file = tmp_path / f"device.{form}"
    with ServerProcess(state.path, tmp_path / "log") as server:
        made = credential(state.keys, state.config, IMEI)
        text = made.to_json().replace('"coap://127.0.0.1"', f'"coap://127.0.0.1:{server.address[1]}"')
        file.write_bytes(text.encode() if form == "json" else type(made).read(text.encode()).to_cbor())
        client_ids = []
        for _ in range(2):
            done = run(interpreter, request, str(file), *(["--x25519"] if suite == 2 else []))
            assert done.returncode == 0, done.stdout + done.stderr
            (row,) = rows(state)
            assert done.stdout.strip() == f"registered: Client ID {client_id_text(row.client_id)}"
            assert row.suite == suite
            client_ids.append(row.client_id)
    assert client_ids[0] != client_ids[1]
    assert (tmp_path / "log").read_text(encoding="utf-8").count("error") == 0


@pytest.mark.parametrize("interpreter", COMMAND)
def test_the_program_says_what_went_wrong(
    state: StateDir, running: Running, request: pytest.FixtureRequest, interpreter: str, tmp_path: Path
) -> None:
    made = dataclasses.replace(credential(state.keys, state.config, IMEI), server=running.uri)
    file, empty, missing, spent = (tmp_path / name for name in ("device.cbor", "empty.cbor", "missing", "spent"))
    file.write_bytes(made.to_cbor())
    empty.write_bytes(b"\xa0")
    FileStore(str(spent)).save(sealed(b"\xff" * 4 + bytes(5) + made.handle, dataclasses.asdict(made)))
    for arguments, status, said in (
        ([str(file), "--version", "0.5"], 4, f"refused by {running.uri}: it does not support this DPE version"),
        ([str(file), "--state", str(spent)], 1, "error: the device has counted as many attempts as it can"),
        ([str(file), "--deadline", "0"], 3, f"no registration with {running.uri} in 0 s"),
        ([str(empty)], 1, "server must be a text"),
        ([str(missing)], 1, "missing"),
        ([], 2, "CREDENTIAL is missing"),
        ([str(file), "--version", "300.1"], 2, "--version takes two numbers"),
        ([str(file), "--colour"], 2, "no such option: --colour"),
    ):
        done = run(interpreter, request, *arguments)
        assert (done.returncode, done.stdout) == (status, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert rows(state) == []
