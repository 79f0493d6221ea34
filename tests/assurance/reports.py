"""kill -9 of a real server at random moments while devices report in their sessions, again and again.

After each kill the server starts again on what is there. No accepted report may be lost, none accepted twice, no number
answered with two different ciphertexts, and no session that has ended may come back. After a restart, each device's
next report is accepted, at most one exchange later.
"""

import os
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dpe_tools.server_process import ServerProcess
from tests.assurance import trials
from tests.assurance.crowd import open_state, steady_port
from tests.assurance.kills import await_end
from tests.assurance.reporters import Reporters

LONGEST = 5.0
"""Seconds until a kill, if fewer reports are accepted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do. The server is killed within ``load`` accepted reports and some ms."""

    kills: int = 300
    seed: int = 1
    workers: int = 1
    devices: int = 300
    load: int = 200


@dataclass(slots=True)
class Report:
    """What was done and found."""

    kills: int = 0
    accepted: int = 0
    compared: int = 0
    ended: int = 0
    slowest: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Some lines for a person."""
        lines = [
            f"kills                  {self.kills}",
            f"reports accepted       {self.accepted}",
            f"records compared       {self.compared}",
            f"sessions ended         {self.ended}",
            f"exchanges after start  at most {self.slowest} until one was answered",
            f"faults                 {len(self.faults)}",
        ]
        return "\n".join(lines)


def run(settings: Settings, folder: Path) -> Report:
    """Carry the kills out in ``folder``."""
    state, port = open_state(folder), steady_port()
    chance = random.Random(settings.seed)
    options = ["--workers", str(settings.workers)] if settings.workers > 1 else []
    server = ServerProcess(state.path, folder / "log", port=port, options=options)
    report = Report()
    with Reporters(state, port, devices=settings.devices, seed=settings.seed) as reporters:
        try:
            for number in range(settings.kills):
                server.begin()
                server.await_ready()
                reporters.all_report()
                reporters.ask_the_ended()
                reporters.work_until_accepted(chance.randrange(settings.load), LONGEST)
                reporters.work(chance.uniform(0, 0.02))
                os.killpg(server.process.pid, signal.SIGKILL)
                await_end(server)
                report.kills += 1
                reporters.hear()
                report.compared += reporters.compare()
                reporters.replace_ended()
                if (number + 1) % 10 == 0:
                    found = len(reporters.faults)
                    print(
                        f"{number + 1} kills, {reporters.accepted} reports, {found} faults", file=sys.stderr, flush=True
                    )
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGTERM)
            server.stop()
        report.accepted, report.ended, report.slowest = reporters.accepted, len(reporters.ended), reporters.slowest
        report.faults = reporters.faults
        if reporters.slowest > 2:
            report.faults.append(f"after a start, {reporters.slowest} exchanges until one was answered")
    return report


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("reports", __doc__)
    usual = Settings()
    for name, text in (
        ("kills", "of the whole server"),
        ("seed", "repeats the moments, as far as the machine allows"),
        ("workers", "processes of the server"),
        ("devices", "that report at the same time"),
        ("load", "within how many accepted reports the server is killed"),
    ):
        default = getattr(usual, name)
        parser.add_argument(f"--{name}", type=int, metavar="N", default=default, help=f"{text} [{default}]")
    return trials.run_each([partial(run, Settings(**vars(parser.parse_args(arguments))))])
