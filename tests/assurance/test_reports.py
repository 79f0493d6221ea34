"""The short form of ``./tools/assure reports``, and that its eyes are open."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dpe_tools.server_process import ServerProcess
from tests.assurance.crowd import open_state, steady_port
from tests.assurance.reporters import Reporters
from tests.assurance.reports import Settings, run

SHORT = Settings(kills=3, devices=40, load=60)
HARM = [
    ("UPDATE session SET mark = mark - 1 WHERE rowid = (SELECT min(rowid) FROM session)", "mark"),
    ("UPDATE session SET record = x'' WHERE rowid = (SELECT min(rowid) FROM session)", "not what it reported"),
    ("DELETE FROM session WHERE rowid = (SELECT min(rowid) FROM session)", "is gone"),
]


@pytest.mark.timeout(480)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_killed_loses_no_report(tmp_path: Path, workers: int) -> None:
    report = run(replace(SHORT, workers=workers), tmp_path)
    assert report.faults == [], f"\n{report}"
    assert report.kills == SHORT.kills
    assert report.accepted > SHORT.kills * SHORT.devices
    assert report.compared >= SHORT.kills * SHORT.devices


@pytest.mark.parametrize(("statement", "found"), HARM)
def test_what_is_lost_is_found(tmp_path: Path, statement: str, found: str) -> None:
    state, port = open_state(tmp_path), steady_port()
    with Reporters(state, port, devices=5, seed=1) as reporters:
        for one in reporters.reporters:
            one.ends = 0.0
        with ServerProcess(state.path, tmp_path / "log", port=port):
            reporters.all_report()
        assert reporters.compare() == 5
        assert reporters.faults == []
        with closing(sqlite3.connect(state.path / "dpe.sqlite")) as database:
            database.execute(statement)
            database.commit()
        reporters.compare()
        (fault, *_) = reporters.faults
        assert found in fault


def test_a_session_that_comes_back_is_found(tmp_path: Path) -> None:
    state, port = open_state(tmp_path), steady_port()
    with Reporters(state, port, devices=3, seed=1) as reporters:
        for one in reporters.reporters:
            one.ends = 1.0
        with ServerProcess(state.path, tmp_path / "log", port=port):
            reporters.all_report()
        before = [one for one in reporters.reporters if one.ended]
        assert len(before) == 3
        reporters.replace_ended()
        assert reporters.compare() == 6
        assert reporters.faults == []
        reporters.ended.append(reporters.reporters[0])
        reporters.compare()
        assert "is back" in reporters.faults[0]
