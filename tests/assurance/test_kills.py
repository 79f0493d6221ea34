"""The short form of ``./tools/assure kills``, and that its eyes are open."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dpe_tools.server_process import ServerProcess
from tests.assurance.crowd import Crowd, open_state, steady_port
from tests.assurance.kills import Settings, run

SHORT = Settings(kills=6, devices=60, at_once=16, load=40)
HARM = [
    ("DELETE FROM session WHERE rowid = (SELECT min(rowid) FROM session)", "has no row for it"),
    ("UPDATE session SET client_id = 0 WHERE rowid = (SELECT min(rowid) FROM session)", "another Client ID"),
    ("UPDATE session SET confirm = x'00' WHERE rowid = (SELECT min(rowid) FROM session)", "another CONFIRM"),
]


@pytest.mark.timeout(480)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_killed_keeps_every_promise(tmp_path: Path, workers: int) -> None:
    report = run(replace(SHORT, workers=workers), tmp_path)
    assert report.faults == [], f"\n{report}"
    assert report.kills.total() >= SHORT.kills
    assert report.registrations > 2 * SHORT.devices
    assert report.asked_again > SHORT.devices


def test_what_is_lost_is_found(tmp_path: Path) -> None:
    state, port = open_state(tmp_path), steady_port()
    with (
        ServerProcess(state.path, tmp_path / "log", port=port),
        Crowd(state, port, devices=8, at_once=4, seed=1) as crowd,
    ):
        assert crowd.all_register() == []
        assert crowd.compare() == (8, [])
        assert crowd.ask_again() == (8, [])
        for statement, found in HARM:
            with closing(sqlite3.connect(state.path / "dpe.sqlite")) as database:
                database.execute(statement)
                database.commit()
            _, wrong = crowd.compare()
            assert len(wrong) == 1
            assert found in wrong[0]
            _, unlike = crowd.ask_again()
            assert len(unlike) == 1
            assert crowd.all_register() == []
