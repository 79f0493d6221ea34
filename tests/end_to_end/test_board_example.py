"""The example for boards on MicroPython's unix port, against the real server; Wi-Fi and deep sleep are stand-ins."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cbor2
import pytest

from dpe_coap.client_ids import client_id_text
from dpe_coap.imei import Imei
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import End
from dpe_server.store.opening import open_store
from dpe_server.store.record import entries
from tests.end_to_end.running import Running


class Board:
    """A board's file system and its program; it is awake for as long as `wake` runs."""

    def __init__(self, folder: Path, root: Path, interpreter: str) -> None:
        self.folder = folder
        self.program = root / "device" / "examples" / "main.py"
        self.path = f".frozen:{Path(__file__).with_name('board')}:{root / 'device'}"
        self.interpreter = interpreter

    def wake(self) -> list[str]:
        """Run the program until it sleeps; return what it said."""
        done = subprocess.run(
            [self.interpreter, self.program],
            cwd=self.folder,
            env={**os.environ, "MICROPYPATH": self.path},
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def board(state: StateDir, running: Running, root: Path, tmp_path: Path, micropython: str) -> Board:
    folder = tmp_path / "board"
    folder.mkdir()
    made = credential(state.keys, state.config, Imei.parse("35209900176148"))
    (folder / "credential.cbor").write_bytes(dataclasses.replace(made, server=running.uri).to_cbor())
    (folder / "wifi.json").write_text(json.dumps({"ssid": "attic", "key": "secret"}))
    return Board(folder, root, micropython)


def sessions(state: StateDir) -> list[tuple[str, dict[Any, Any]]]:
    """The Client ID of each session, and what its device has reported."""
    store = open_store(state.store_url)
    try:
        found = []
        for row in store.live(0):
            reported = {cbor2.loads(entry.property): cbor2.loads(entry.value) for entry in entries(row.record)}
            found.append((client_id_text(row.client_id), reported))
        return found
    finally:
        store.close()


def reload(state: StateDir, running: Running, policy: str) -> None:
    state.policy_path.write_text(policy)
    running.loop.run(running.server.reload())
    assert running.logs.pop()["event"] == "policy and keys reloaded"


def test_it_registers_once_and_reports_at_every_wake(state: StateDir, running: Running, board: Board) -> None:
    reload(state, running, state.policy_path.read_text() + "[rule.report]\nbattery = {}\nfirmware = {}\n")
    first = ""
    for charge in range(87, 82, -1):
        assert board.wake() == ["Wi-Fi on", "joins attic", "READY", "sleeps 900000"]
        [(client_id, reported)] = sessions(state)
        assert reported == {0: charge, 1: "2.1.0"}
        assert first in ("", client_id)
        first = client_id
    files = {file.name for file in board.folder.iterdir()} - {"charge"}
    assert files == {"credential.cbor", "wifi.json", "state", "state.2", "told", "told.2"}


def test_it_reports_what_the_policy_names(state: StateDir, running: Running, board: Board) -> None:
    policy = state.policy_path.read_text()
    reload(state, running, policy + "[rule.report]\nfirmware = {}\n")
    board.wake()  # it is told
    assert sessions(state)[0][1] == {0: 87, 1: "2.1.0"}
    board.wake()
    assert sessions(state)[0][1] == {0: 87, 1: "2.1.0"}
    reload(state, running, policy + "[rule.report]\nbattery = {}\n")
    board.wake()  # it is told again
    board.wake()
    assert sessions(state)[0][1] == {0: 84, 1: "2.1.0"}


def test_a_board_whose_session_was_ended_registers_anew(state: StateDir, running: Running, board: Board) -> None:
    reload(state, running, state.policy_path.read_text() + "[rule.report]\nbattery = {}\nfirmware = {}\n")
    board.wake()
    [(client_id, _)] = sessions(state)
    store = open_store(state.store_url)
    try:
        [row] = list(store.live(0))
        store.commit([End(row.device, 1)])
    finally:
        store.close()
    assert board.wake()[-2:] == ["READY", "sleeps 900000"]
    [(again, reported)] = sessions(state)
    assert again != client_id
    assert reported == {0: 86, 1: "2.1.0"}


def test_a_refused_board_sleeps_for_a_day(state: StateDir, running: Running, board: Board) -> None:
    reload(state, running, '[[rule]]\nname = "none"\naction = "refuse"\n')
    assert board.wake()[2:] == ["refused, status 2", "sleeps 86400000"]
    assert sessions(state) == []


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
@pytest.mark.parametrize("interpreter", ["cpython", "micropython"])
def test_a_device_reports_and_deregisters(
    state: StateDir, board: Board, root: Path, interpreter: str, how: str
) -> None:
    command = [sys.executable if interpreter == "cpython" else board.interpreter]
    command += [str(root / "tests/device/cpython/reporting_device.py"), "credential.cbor", "state", how]
    path = str(root / "device")
    environment = {**os.environ, "PYTHONPATH": path, "MICROPYPATH": f".frozen:{path}"}
    done = subprocess.run(command, cwd=board.folder, env=environment, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["{} READY"] * 4 + ["True IDLE"]
    assert sessions(state) == []
