"""What differs on a terminal: colour, tables for people, a progress bar, and no binary output."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from dpe_tools import terminal
from dpe_tools.progress import Working
from tests.tools.conftest import IMEI, Invoke

COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*[39][0-7]m")


def on_terminal(*arguments: object, stdin: bytes = b"", status: int = 0, **environment: str) -> str:
    """Run `dpe` with standard output and error on a terminal of 100 columns; return what it shows."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    with subprocess.Popen(
        [sys.executable, "-m", "dpe_tools", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == status, shown
    return shown.decode()


def test_colour_is_for_terminals_and_for_those_who_want_it() -> None:
    confirm = "a3000404001750" + "00" * 16
    assert COLOUR.search(on_terminal("inspect", confirm))
    assert not COLOUR.search(on_terminal("inspect", confirm, NO_COLOR="1"))


def test_json_is_never_coloured() -> None:
    assert "\x1b" not in on_terminal("doctor", "--json")


@pytest.fixture
def credential(dpe: Invoke, state: Path, tmp_path: Path) -> Path:
    path = tmp_path / "device.json"
    path.write_text(dpe("provision", state, IMEI).stdout, encoding="utf-8")
    return path


def test_no_binary_on_a_terminal(credential: Path) -> None:
    shown = on_terminal("message", "request", credential, status=2)
    assert "use --out FILE, --hex, or a pipe" in shown
    assert len(on_terminal("message", "request", credential, "--hex").strip()) == 122


def test_provision_speaks_to_a_person(state: Path) -> None:
    shown = on_terminal("provision", state, IMEI)
    assert shown.startswith("server      coap://127.0.0.1:")
    assert "secret: " in shown
    assert on_terminal("provision", state, IMEI, "--json").startswith("{")


def test_provision_shows_its_progress(state: Path, tmp_path: Path) -> None:
    imeis = "".join(f"35{n:012d}\n" for n in range(50)).encode()
    shown = on_terminal("provision", state, "-", "--as-written", "--out", tmp_path / "out", stdin=imeis)
    assert "provisioning" in shown
    assert "50 credentials" in shown
    assert "35000000" not in shown


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is shown of progress, as on a terminal."""
    shown = io.StringIO()
    monkeypatch.setattr(terminal, "is_terminal", lambda *, stderr=False: stderr)
    made = Console(file=shown, force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(terminal, "console", lambda *, stderr: made)
    return shown


def test_long_work_tells_how_far_it_is(screen: io.StringIO) -> None:
    with Working("ending sessions", 20_000, after=0) as working:
        working.done += 10_000
        assert working.shown.wait(30)
    assert re.search(r"ending sessions, (0|10,000) of 20,000, 0 s", screen.getvalue())


def test_short_work_says_nothing(screen: io.StringIO) -> None:
    with Working("copying the database", after=3600):
        pass
    assert screen.getvalue() == ""


def test_work_says_nothing_where_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    with Working("copying the database", after=0) as working:
        assert working._thread is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["backup", "{state}", "{state}/copy"], "copying the database"),
        (["sessions", "list", "{state}", "--count"], "counting sessions"),
        (["sessions", "end", "{state}", "--firmware", "1"], "ending sessions"),
        (["revoke", "{state}", IMEI], "imposing it"),
        (["unrevoke", "{state}", IMEI], "looking the devices up"),
        (["policy", "check", "{state}"], "reading the policy"),
        (["doctor", "{state}"], "checking the database"),
        (["doctor", "{state}", "--probe"], "asking the server"),
        (["recover", "{state}"], "ending all sessions"),
    ],
)
def test_commands_whose_work_grows_tell_that_they_work(
    arguments: list[str], what: str, dpe: Invoke, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def begin(working: Working) -> Working:
        begun.append(working._what)
        return working

    monkeypatch.setattr(Working, "__enter__", begin)
    dpe(*(word.format(state=state) for word in arguments), status=3 if "--probe" in arguments else 0)
    assert what in begun


def test_nothing_is_coloured_where_no_colour_is_wanted(state: Path) -> None:
    for command in (["doctor", state], ["sessions", state], ["policy", "check", state], ["inspect", "--help"]):
        assert not COLOUR.search(on_terminal(*command, NO_COLOR="1"))
