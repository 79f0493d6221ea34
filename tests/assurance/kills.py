"""kill -9 of a real server at random moments of a load, again and again; every device still finds its one row.

The moments are drawn from the seed: while the server commits, and while it starts. With --workers, one worker is
killed, or the first process, or all of them. After each kill, the server starts again on what is there. Then a device
that is REGISTERED must have its row, with its Client ID, keys and CONFIRM. No device may have two rows, the database
must be whole, and SUCCESS, sent again, must get the very same CONFIRM. In the end every device registers once more.
"""

import os
import random
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from dpe_bench.rows_fill import Rows
from dpe_server.operation.workers import STEADY
from dpe_tools.server_process import ServerProcess
from tests.assurance import trials
from tests.assurance.crowd import Crowd, open_state, steady_port
from tests.end_to_end.processes import children

START = 0.4
"""Seconds within which a starting server is killed."""
STARTING = 0.1
"""The share of kills that hit a starting server."""
MOMENT = 0.02
"""Seconds: about two commits."""
MANY_ROWS = 10_000
"""If there are more rows, all are checked only in the end."""
LOOK = 0.005


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do. A serving server is killed within ``load`` registrations, and some ms."""

    kills: int = 300
    seed: int = 1
    workers: int = 1
    replaced: int = 0
    """How often, after that, a worker that has run for long is killed, so that the server replaces it."""
    devices: int = 300
    at_once: int = 48
    rows: int = 0
    load: int = 100


@dataclass(slots=True)
class Report:
    """What was done and found."""

    kills: Counter[str] = field(default_factory=Counter)
    registrations: int = 0
    compared: int = 0
    """Devices, summed up over all comparisons."""
    asked_again: int = 0
    starts: list[float] = field(default_factory=list)
    """Seconds from the start of the process to its first answer, each on a database that a kill has left."""
    logs: list[int] = field(default_factory=list)
    """Bytes of the write-ahead log at each start."""
    rows: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Some lines for a person."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kills.items()))
        starts = f"median {median(self.starts):.3f} s, worst {max(self.starts):.3f} s" if self.starts else "none"
        lines = [
            f"kills                  {self.kills.total()} ({kinds})",
            f"registrations          {self.registrations}",
            f"rows compared          {self.compared}",
            f"SUCCESS sent again     {self.asked_again}",
            f"rows in the database   {self.rows}",
            f"restart to serving     {starts}",
            f"write-ahead log        up to {max(self.logs, default=0) / 1e6:.1f} MB at a restart",
            f"faults                 {len(self.faults)}",
        ]
        return "\n".join(lines)


class _Run:
    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)
        self._state = open_state(folder)
        self._log = folder / "log"
        self._port = steady_port()
        self.report = Report()
        if settings.rows:
            Rows(self._state).fill(settings.rows, lambda count: _say(f"{count} rows"))

    def carry_out(self) -> None:
        settings = self._settings
        crowd = Crowd(self._state, self._port, devices=settings.devices, at_once=settings.at_once, seed=settings.seed)
        with crowd:
            server = self._server()
            try:
                self._start(server, crowd)
                for number in range(settings.kills):
                    self._kill_one(server, crowd)
                    self._start(server, crowd)
                    self._check(crowd, whole=settings.rows <= MANY_ROWS)
                    if (number + 1) % 10 == 0:
                        _say(f"{number + 1} kills, {crowd.registered} registrations, {len(self.report.faults)} faults")
                for _ in range(settings.replaced):
                    self._replace_one(server, crowd)
                self.report.faults += crowd.all_register()
                self._check(crowd, whole=True)
                self.report.registrations = crowd.registered
                self.report.rows = crowd.rows()
            finally:
                _end(server)

    def _server(self) -> ServerProcess:
        options = ["--workers", str(self._settings.workers)] if self._settings.workers > 1 else []
        return ServerProcess(self._state.path, self._log, port=self._port, options=options)

    def _start(self, server: ServerProcess, crowd: Crowd) -> None:
        """Start the server, and sometimes kill it meanwhile. The devices do not wait."""
        write_ahead = self._state.path / "dpe.sqlite-wal"
        if self.report.kills and self._random.random() < STARTING:
            server.begin()
            crowd.work(self._random.uniform(0, START))
            self._kill(server, "starting")
        self.report.logs.append(write_ahead.stat().st_size if write_ahead.exists() else 0)
        began = time.monotonic()
        server.begin()
        assert server.process.stdout is not None
        while not select.select([server.process.stdout], [], [], 0)[0]:
            crowd.work(LOOK)
        server.await_ready()
        self.report.starts.append(time.monotonic() - began)

    def _kill_one(self, server: ServerProcess, crowd: Crowd) -> None:
        crowd.work_until_registered(self._random.randrange(self._settings.load))
        crowd.work(self._random.uniform(0, MOMENT))
        kinds = ["serving"] if self._settings.workers == 1 else ["all processes", "first process", "one worker"]
        self._kill(server, self._random.choice(kinds))

    def _kill(self, server: ServerProcess, kind: str) -> None:
        """Kill the server, and wait until no process of it is left."""
        pid = server.process.pid
        if kind == "one worker":
            os.kill(self._random.choice(children(pid)), signal.SIGKILL)  # it is young, so the server ends
        elif kind == "first process":
            os.kill(pid, signal.SIGKILL)
        else:
            os.killpg(pid, signal.SIGKILL)
        await_end(server)
        self.report.kills[kind] += 1

    def _replace_one(self, server: ServerProcess, crowd: Crowd) -> None:
        """Kill a worker that has run for long. The server starts another, and the devices go on."""
        crowd.work(STEADY + self._random.random())
        before = children(server.process.pid)
        os.kill(self._random.choice(before), signal.SIGKILL)
        while len(set(children(server.process.pid)) - set(before)) != 1:
            crowd.work(LOOK)
        crowd.work_until_registered(self._settings.at_once)
        self.report.kills["one steady worker"] += 1
        self._check(crowd, whole=True)

    def _check(self, crowd: Crowd, *, whole: bool) -> None:
        count, wrong = crowd.compare(whole=whole)
        asked, unlike = crowd.ask_again()
        self.report.compared += count
        self.report.asked_again += asked
        self.report.faults += wrong + unlike


def await_end(server: ServerProcess) -> None:
    """Wait until no process of a killed server is left."""
    server.process.wait()
    assert server.process.stdout is not None
    server.process.stdout.close()
    with suppress(ProcessLookupError):
        while True:
            os.killpg(server.process.pid, 0)
            time.sleep(LOOK)


def _end(server: ServerProcess) -> None:
    """End what may still run, even after a fault."""
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGTERM)
    server.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(settings: Settings, folder: Path) -> Report:
    """Carry the kills out in ``folder``."""
    one = _Run(settings, folder)
    one.carry_out()
    return one.report


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("kills", __doc__)
    usual = Settings()
    for name, text in (
        ("kills", "of the whole server"),
        ("seed", "repeats the moments, as far as the machine allows"),
        ("workers", "processes of the server"),
        ("replaced", "kills of one steady worker after that, 10 s each"),
        ("devices", "that take turns to register"),
        ("at-once", "registrations under way at all times"),
        ("rows", "that the database is filled with before"),
        ("load", "within how many registrations a serving server is killed"),
    ):
        default = getattr(usual, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, metavar="N", default=default, help=f"{text} [{default}]")
    given = parser.parse_args(arguments)
    if given.replaced and given.workers < 2:
        parser.error("--replaced needs --workers 2 or more")
    return trials.run_each([partial(run, Settings(**vars(given)))])
