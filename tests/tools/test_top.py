"""`dpe top`: what it shows, on a terminal and for programs, and how it ends."""

import io
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from rich.console import Console

from dpe_server.operators.gauging import Figures
from dpe_tools import top_view
from dpe_tools.server_process import ServerProcess
from tests.server.operators.answering import METRICS, answering
from tests.tools.conftest import Invoke
from tests.tools.test_terminal import COLOUR

COMMAND = [sys.executable, "-m", "dpe_tools", "top"]
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
"""The screen that programs have for themselves."""
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
"""The cursor."""
FIGURES = Figures(
    seconds=10.0, registrations={"superseded": 2.0, "committed": 1234.4}, responses={"refused": 0.0, "ok": 5.25},
    refusals={"malformed": 1.0}, reports={}, requests=20.0, resent={"session": 3.0}, turned_away=4.0, commits=7.0,
    failed_commits=0.0, commit_seconds={0.5: 0.00123, 0.99: 1.5}, batch=2.5, hits=0.987, suppressed=0.5, waiting=8,
    transactions=9000, sessions=1_000_000, processes=2, started=1_000_000.0,
)  # fmt: skip


def shown(width: int, figures: Figures = FIGURES, fault: str = "") -> list[str]:
    """The lines of the table, without colour."""
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False, emoji=False)
    console.print(top_view.table(figures, 1_090_000.0, fault))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_what_is_shown() -> None:
    lines = [re.sub(" {2,}", "  ", line) for line in shown(120)]
    assert lines == [
        "per second  DPE Server, up 1 d 1 h, 2 processes; the last 10 s",
        "registrations  1,236  committed 1,234, superseded 2.0",
        "responses  5.2  ok 5.2",
        "refusals  1.0  malformed 1.0",
        "reports  0.0",
        "requests  20.0  2.5 in a batch",
        "sent again  3.0  session 3.0",
        "turned away  4.0",
        "commits  7.0  p50 1.23 ms, p99 1.50 s",
        "failed commits  0.0",
        "audit  0.5  records without a line",
        "now",
        "backlog  8  requests without a reply",
        "under way  9,000  registrations, or over for less than 300 s",
        "sessions  1,000,000  live, counted once a minute",
        "keys found  98.7%  of sessions, in memory",
    ]


def test_a_narrow_terminal_shows_all_of_it() -> None:
    lines = shown(44)
    assert max(map(len, lines)) <= 44
    words = " ".join(lines).split()
    assert {"committed", "1,234,", "superseded", "1,000,000", "98.7%", "p99"} <= set(words)


def test_a_fault_is_shown_beside_the_last_figures() -> None:
    lines = shown(120, fault="no metrics at URL: Connection refused")
    assert "no metrics at URL: Connection refused" in lines[0]
    assert "1,236" in lines[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3700, "1 h 1 min"), (90061, "1 d 1 h"), (86400, "1 d"), (-5, "0 s")],
)
def test_how_long_it_is_up(seconds: float, text: str) -> None:
    assert top_view.span(seconds) == text


# -- for programs --


def test_a_real_server_once(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    with ServerProcess(state, tmp_path / "log", options=["--metrics", "0"]):
        told = json.loads(dpe("top", state, "--once", "--json", "--interval", 0.1).stdout)
        assert (told["sessions"] in (0, None), told["waiting"], told["requests"]) == (True, 0, 0)
        assert {"registrations", "refusals", "reports", "resent", "commit_seconds", "transactions"} <= told.keys()
        assert "DPE Server, up " in dpe("top", state, "--once", "--interval", 0.1).stdout
    error = json.loads(dpe("top", state, "--once", "--json", status=3).stdout)["error"]
    assert error["message"] == f"no server runs on {state}"


def test_a_server_without_metrics(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    with ServerProcess(state, tmp_path / "log"):
        error, hint = dpe("top", state, status=3).stderr.splitlines()
    assert error == "dpe: error: the server serves no metrics"
    assert hint == "hint: start it with: dpe serve STATE --metrics 9464"


def test_what_cannot_be_read(dpe: Invoke, tmp_path: Path) -> None:
    assert "Connection refused" in dpe("top", "--metrics", "http://127.0.0.1:1/metrics", status=3).stderr
    assert "not the URL of metrics" in dpe("top", "--metrics", "here", status=1).stderr
    assert "there is no such directory" in dpe("top", tmp_path / "none", status=1).stderr
    assert "name STATE" in dpe("top", status=2).stderr
    with answering(b"hello") as url:
        assert "another program has the port" in dpe("top", "--metrics", url, status=1).stderr


def test_a_program_gets_a_line_for_each_look_until_it_stops_reading() -> None:
    with answering(METRICS.encode()) as url:
        command = [*COMMAND, "--metrics", url, "--json", "--interval", "0.05"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for _ in range(3):
                assert json.loads(process.stdout.readline())["processes"] == 2
            process.stdout.close()
            assert process.wait(30) == 0
            assert process.stderr.read() == ""


# -- on a terminal --


class Watched:
    """The command on a terminal of 100 columns."""

    def __init__(self, *options: str, **environment: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self._before = termios.tcgetattr(self._theirs)
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        self.process = subprocess.Popen(
            [*COMMAND, *options, "--interval", "0.05"],
            stdin=self._theirs, stdout=self._theirs, stderr=self._theirs,
            env={**kept, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environment},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def shows(self, text: str) -> str:
        """Read what the terminal is told, up to and with a text."""
        shown = b""
        while text.encode() not in shown:
            shown += os.read(self._ours, 65536)
        return shown.decode(errors="replace")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """End it; return its exit status and the last that the terminal is told."""
        self.process.send_signal(number)
        shown = self.shows(LEAVE)
        status = self.process.wait(30)
        os.set_blocking(self._ours, False)
        with suppress(BlockingIOError):
            shown += os.read(self._ours, 65536).decode(errors="replace")
        assert termios.tcgetattr(self._theirs) == self._before
        return status, shown

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        os.close(self._ours)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_leaves_the_terminal_as_it_was(number: signal.Signals, status: int) -> None:
    with answering(METRICS.encode()) as url, Watched("--metrics", url) as watched:
        begun = watched.shows("keys found")
        assert begun.index(ENTER) < begun.index("2 processes")
        assert HIDE in begun
        ended, last = watched.end(number)
        assert ended == status
        assert SHOW in last
        assert "Traceback" not in last


def test_a_server_that_goes_is_told_and_waited_for() -> None:
    gone = threading.Event()

    def body() -> bytes:
        if gone.is_set():
            raise ConnectionError
        return METRICS.encode()

    with answering(body) as url, Watched("--metrics", url) as watched:
        watched.shows("2 processes")
        gone.set()
        watched.shows(f"no metrics at {url}: ")
        gone.clear()
        watched.shows("2 processes")
        assert watched.end(signal.SIGINT)[0] == 0


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_colour_is_for_those_who_want_it(environment: dict[str, str]) -> None:
    turned_away = itertools.count()

    def body() -> bytes:
        return f"{METRICS}dpe_requests_turned_away_total {next(turned_away)}\n".encode()

    with answering(body) as url, Watched("--metrics", url, **environment) as watched:
        assert bool(COLOUR.search(watched.shows("keys found"))) is not bool(environment)
