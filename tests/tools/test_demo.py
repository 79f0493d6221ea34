"""`dpe demo` as a process: what it shows, that it checks it, and that it leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dpe_tools import session_scenes
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
    assert sizes == [("61", "85"), ("72", "83"), ("32", "56"), ("23", "34")]
    assert "258 bytes above UDP" in done.stdout
    client_ids = re.findall(r"registered: Client ID ([0-9a-f]{14})", done.stdout)
    assert len(set(client_ids)) == 2
    table = done.stdout[done.stdout.index("dpe sessions") : done.stdout.index("The device deregisters")]
    assert all(client_id in table for client_id in client_ids)
    assert re.search(r"RESPONSE +83 bytes  lost", done.stdout)
    assert re.search(r"REQUEST +85 bytes  the same bytes again", done.stdout)
    refused = re.findall(r"4\.01 Unauthorized +8 bytes", done.stdout)
    assert len(refused) == 4  # an impostor, two replays, and keys that are erased
    assert "Everything shown was checked" in done.stdout
    assert list(tmp_path.iterdir()) == []
    _has_a_session(done.stdout)


def _has_a_session(shown: str) -> None:
    told = re.findall(r"^  (\w+): (\d+) \+ (\d+) bytes above UDP, and accepted$", shown, re.MULTILINE)
    assert told == [
        ("report", "67", "63"),
        ("report", "47", "19"),
        ("report", "73", "69"),
        ("report", "73", "19"),
        ("refresh", "42", "19"),
        ("DELETE", "32", "19"),
    ]
    assert re.findall(r"number (\d)", shown) == ["1", "2", "3", *["4"] * 7, "5", "6", "7"]
    for claim in (
        "the values are not",
        "the keys in the server's database open it",
        "the change came with the answer to the next report",
        "then it is refused: 4.01, 8 bytes, which say nothing",
        "the next report is accepted, by the first exchange",
        "its session and its values are gone",
    ):
        assert claim in shown


def test_another_seed_loses_other_datagrams(dpe: Invoke) -> None:
    shown = dpe("demo", "--seed", 1).stdout
    assert "(seed 1)" in shown
    assert "Everything shown was checked" in shown


def test_fails_when_something_is_not_as_it_says(dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo.PAYLOADS, "CONFIRM", 24)
    result = dpe("demo", status=1)
    assert result.stderr.startswith("dpe: error: the demo did not go as it says: payloads of 61, 72, 32 and 24 bytes")
    assert "Everything shown was checked" not in result.stdout


def test_fails_when_a_session_is_not_as_it_says(dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(session_scenes.SIZES, "six", (72, 19))
    told = dpe("demo", status=1).stderr
    assert told.startswith("dpe: error: the demo did not go as it says: report: 72 + 19 bytes above UDP")


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
        assert len(commands) == 6, lines
        for command in commands:
            dpe(*command)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == status
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
