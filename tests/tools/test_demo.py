"""`dpe demo` as a process: what it shows, that it checks it, and that it leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dpe_tools.commands import demo
from tests.tools.conftest import Invoke

COMMAND = [sys.executable, "-u", "-m", "dpe_tools", "demo"]


def _environment(place: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(place)}


def test_shows_everything_in_plain_text(tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False, env=_environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    sizes = re.findall(r"(\d+) bytes, (\d+) with CoAP", done.stdout)
    assert sizes == [("61", "85"), ("72", "83"), ("32", "56"), ("29", "40")]
    client_ids = re.findall(r"registered: Client ID ([0-9a-f]{14})", done.stdout)
    assert len(set(client_ids)) == 2
    table = done.stdout[done.stdout.index("dpe sessions") :]
    assert all(client_id in table for client_id in client_ids)
    assert re.search(r"RESPONSE +83 bytes  lost", done.stdout)
    assert re.search(r"REQUEST +85 bytes  the same bytes again", done.stdout)
    assert "4.01 Unauthorized" in done.stdout
    assert "Everything shown was checked" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_another_seed_loses_other_datagrams(dpe: Invoke) -> None:
    shown = dpe("demo", "--seed", 1).stdout
    assert "(seed 1)" in shown
    assert "Everything shown was checked" in shown


def test_fails_when_something_is_not_as_it_says(dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo.PAYLOADS, "CONFIRM", 24)
    result = dpe("demo", status=1)
    assert result.stderr.startswith("dpe: error: the demo did not go as it says: payloads of 61, 72, 32 and 24 bytes")
    assert "Everything shown was checked" not in result.stdout


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_keep_stays_until_told(number: signal.Signals, status: int, tmp_path: Path, dpe: Invoke) -> None:
    with subprocess.Popen(
        [*COMMAND, "--keep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(tmp_path),
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1] and "/.well-known/core" not in lines[-1]:
            lines.append(process.stdout.readline())
        commands = [line.split()[1:] for line in lines if line.startswith("  dpe ")]
        assert len(commands) == 5, lines
        for command in commands:
            dpe(*command)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == status
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
