"""The example for boards on MicroPython's unix port, against the real server; Wi-Fi and deep sleep are stand-ins."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest

from dpe_coap.client_ids import client_id_text
from dpe_coap.imei import Imei
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import open_store
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


def client_ids(state: StateDir) -> list[str]:
    store = open_store(state.store_url)
    try:
        return [client_id_text(row.client_id) for row in store.live(0)]
    finally:
        store.close()


def test_it_registers_once_in_the_life_of_a_session(state: StateDir, board: Board) -> None:
    """The policy's session lasts 3,600 s and the board sleeps for 900 s: it registers anew in every third wake."""
    seen = []
    for number in range(7):
        said = board.wake()
        assert said[-1] == "sleeps 900000"
        assert (said[:2] == ["Wi-Fi on", "joins attic"]) is (number % 3 == 0)
        assert said[-2] == f"Client ID {client_ids(state)[0]}"
        seen.append(said[-2])
    assert seen[0] == seen[1] == seen[2] != seen[3] == seen[4] == seen[5] != seen[6]
    assert len(client_ids(state)) == 1
    assert {file.name for file in board.folder.iterdir()} == {
        *("credential.cbor", "wifi.json", "state", "state.2", "age", "age.2"),
    }


def test_a_session_without_end_is_kept(state: StateDir, running: Running, board: Board) -> None:
    state.policy_path.write_text(state.policy_path.read_text().replace("lifetime = 3600", ""))
    running.loop.run(running.server.reload())
    assert running.logs.pop()["event"] == "policy and keys reloaded"
    first = board.wake()
    assert first[:2] == ["Wi-Fi on", "joins attic"]
    for _ in range(5):
        assert board.wake() == first[2:] == [f"Client ID {client_ids(state)[0]}", "sleeps 900000"]
    assert not (board.folder / "age").exists()


def test_a_refused_board_sleeps_for_a_day(state: StateDir, running: Running, board: Board) -> None:
    state.policy_path.write_text('[[rule]]\nname = "none"\naction = "refuse"\n')
    running.loop.run(running.server.reload())
    assert running.logs.pop()["event"] == "policy and keys reloaded"
    assert board.wake()[2:] == ["refused, status 2", "sleeps 86400000"]
    assert client_ids(state) == []
