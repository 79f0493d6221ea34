"""kill -9 of a program that follows what devices report over HTTP, of `dpe web`, and of the server, again and again.

The program is docs/examples/follow_changes.py. It keeps what the stream tells, with the cursor, and goes on from there
when it is started again, or when `dpe web` is. All else is as in ``following``: in the end it must have exactly what
the server has.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dpe_server.operation.access import Role
from tests.assurance import following, trials
from tests.assurance.crowd import steady_port
from tests.assurance.following import Report, Run, Settings

PROGRAM = Path(__file__).resolve().parents[2] / "docs" / "examples" / "follow_changes.py"
WEB_KILLED = 0.4
"""How often `dpe web` is killed when the program is."""


@dataclass(slots=True)
class HttpReport(Report):
    """What was done and found."""

    web_kills: int = 0

    def __str__(self) -> str:
        """Some lines for a person."""
        return f"kills of dpe web       {self.web_kills}\n{Report.__str__(self)}"


class _HttpRun(Run):
    report: HttpReport

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, folder)
        self.report = HttpReport()
        self._address = f"127.0.0.1:{steady_port()}"
        _, access = self.state.access.create("consumer", Role.READER, int(time.time()), None)
        self.environment = {**os.environ, "DPE_ACCESS_TOKEN": access}
        self._web = self._start_web()

    def _start_web(self) -> subprocess.Popen[bytes]:
        """Start `dpe web`; the program asks until it answers."""
        command = [sys.executable, "-m", "dpe_tools", "web", str(self.state.path), "--bind", self._address]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)

    def carry_out(self) -> None:
        try:
            super().carry_out()
        finally:
            self._web.send_signal(signal.SIGTERM)
            if self._web.wait() != 0:
                self.report.faults.append(f"dpe web ended with {self._web.returncode} on SIGTERM")

    def command(self, *, follow: bool) -> list[str]:
        once = [] if follow else ["--once"]
        return [sys.executable, str(PROGRAM), f"http://{self._address}/api/v1", str(self.kept), *once]

    def disturb_more(self) -> None:
        if self.chance.random() < WEB_KILLED:
            self._web.kill()
            if self._web.wait() != -signal.SIGKILL:
                self.report.faults.append(f"dpe web ended by itself, with {self._web.returncode}")
            self._web = self._start_web()
            self.report.web_kills += 1


def run(settings: Settings, folder: Path) -> HttpReport:
    """Carry the kills out in ``folder``."""
    trial = _HttpRun(settings, folder)
    trial.carry_out()
    return trial.report


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    settings = following.settings_from(trials.parser("following_http", __doc__), arguments)
    return trials.run_each([partial(run, settings)])
