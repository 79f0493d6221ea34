"""`./tools/cluster`: it says what is lost, and leaves nothing behind. That it runs well, the document shows."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpe_tools.cluster import __main__ as show
from dpe_tools.cluster.cohort import Cohort
from dpe_tools.cluster.group import Group
from dpe_tools.cluster.nodes import Node

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("postgresql_programs")]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where whoever the servers run as may go."""
    with tempfile.TemporaryDirectory(prefix="dpe-pg-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def test_what_is_lost_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_show: show.Show, cohort: Cohort, database: Group) -> None:
        """In the place of the failover, two rows are lost, and a third one's keys."""
        cohort.finish(show.LONGEST)
        live = "SELECT device FROM device WHERE client_id IS NOT NULL ORDER BY device LIMIT"
        database.primary.sql(f"DELETE FROM device WHERE device IN ({live} 2)")
        database.primary.sql(f"UPDATE device SET client_id = client_id # 1 WHERE device IN ({live} 1)")

    def nothing(_show: show.Show, _cohort: Cohort, _database: Group | list[Node]) -> None:
        pass

    monkeypatch.setattr(show.Show, "_failover", fails)
    monkeypatch.setattr(show.Show, "_comes_back", nothing)
    monkeypatch.setattr(show.Show, "_rest", nothing)
    result = CliRunner().invoke(show.main, ["--devices", "20"])
    assert result.exit_code == 1, result.output
    assert re.fullmatch(r"\d+ registered, 3 lost", result.stdout.splitlines()[-1]), result.stdout
    assert "not so for 3: every device that is registered has its session" in result.stdout


def test_ctrl_c_leaves_nothing_behind(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dpe_tools.cluster", "--devices", "20"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "is dead" in line:
                break
        working = _with(folder)
        os.killpg(process.pid, signal.SIGINT)
    assert any("postgres" in command for command in working)
    assert any("serve" in command for command in working)
    assert process.returncode == 130
    assert _with(folder) == []
    assert list(folder.iterdir()) == []


def _with(folder: Path) -> list[str]:
    """Return the commands of processes that work in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_text().replace("\0", " ")
            where = (place / "cwd").readlink()
        except OSError:
            continue
        if str(folder) in command or str(where).startswith(str(folder)):
            found.append(command)
    return found
