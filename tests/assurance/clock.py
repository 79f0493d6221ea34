"""A wall clock that jumps by ten years, back and forth, under a real server that is registering devices.

libfaketime shows the server another time of day, which changes while it runs. The monotonic clock stays true. Now and
then the server is killed, and starts at the changed time. This is done with sessions without end, and with sessions of
an hour. A session ends when its hour is over by the server's clock, and not before. Every registration wins over the
previous one, CONFIRM has the lifetime of the policy, and the server logs nothing.
"""

import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dpe_coap.errors import LocalError
from dpe_server.policy import DEFAULT_POLICY
from dpe_tools.server_process import ServerProcess
from tests.assurance import trials
from tests.assurance.crowd import Crowd, open_state, steady_port

HOUR = 3600
YEARS = 10 * 365 * 24 * HOUR
"""Seconds in ten years."""
OFFSETS = (YEARS, -YEARS, 0, HOUR, -HOUR)
KILLED = 0.3
"""The share of jumps after which the server is killed."""
LIBRARY = "faketime/libfaketimeMT.so.1"
"""Below /usr/lib, or below a folder there that is named after the architecture."""
MOST_APART = 1.0
"""The most seconds between two readings of a clock, one of them by another process."""


class FakeClock:
    """The time of day that programs see if they run ``within``. Raises LocalError without libfaketime."""

    def __init__(self, file: Path) -> None:
        libraries = [*Path("/usr/lib").glob(LIBRARY), *Path("/usr/lib").glob(f"*/{LIBRARY}")]
        if not libraries:
            raise LocalError("there is no libfaketime", hint="sudo apt-get install libfaketime")
        self._file = file
        self.offset = 0
        self.jump(0)
        self.within = (
            "env",
            f"LD_PRELOAD={libraries[0]}",
            f"FAKETIME_TIMESTAMP_FILE={file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        )

    def jump(self, offset: int) -> None:
        """Be so many seconds ahead of the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset:+d}\n", encoding="ascii")
        new.replace(self._file)
        self.offset = offset

    def time(self) -> float:
        """Return the time that programs see, as Unix time in seconds."""
        return time.time() + self.offset

    @staticmethod
    def clean_up_after(pid: int) -> None:
        """Remove what the library leaves behind when a process is killed."""
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            (Path("/dev/shm") / name).unlink(missing_ok=True)

    def check(self) -> None:
        """Check that a program sees this time of day and the true monotonic clock. Raises LocalError."""
        look = "import time; print(time.time(), time.monotonic())"
        began = self.time(), time.monotonic()
        done = subprocess.run([*self.within, sys.executable, "-c", look], capture_output=True, text=True, check=True)
        seen = map(float, done.stdout.split())
        ended = self.time(), time.monotonic()
        for first, one, last in zip(began, seen, ended, strict=True):
            if not first - MOST_APART <= one <= last + MOST_APART:
                raise LocalError(f"libfaketime shows {one:.0f} where it should show {first:.0f}")


@dataclass(slots=True)
class Report:
    """What was found with sessions of one lifetime."""

    lifetime: int | None
    jumps: int = 0
    kills: int = 0
    registrations: int = 0
    compared: int = 0
    asked_again: int = 0
    ended: int = 0
    """How many of these devices had a session that was over."""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """A line of the table."""
        name = "without end" if self.lifetime is None else f"{self.lifetime} s"
        numbers = (
            self.jumps,
            self.kills,
            self.registrations,
            self.compared,
            self.asked_again,
            self.ended,
            len(self.faults),
        )
        return f"{name:<12}" + "".join(f"{number:>14}" for number in numbers)


COLUMNS = ("jumps", "kills", "registrations", "compared", "asked again", "ended", "faults")
HEAD = f"{'sessions':<12}" + "".join(f"{name:>14}" for name in COLUMNS)


def run(lifetime: int | None, jumps: int, seed: int, folder: Path) -> Report:
    """Make the jumps, with a new server in ``folder``. Raises LocalError if that is impossible."""
    report = Report(lifetime)
    source = random.Random(seed)
    clock = FakeClock(folder / "clock")
    for offset in OFFSETS:
        clock.jump(offset)
        clock.check()
    clock.jump(0)
    line = "" if lifetime is None else f"lifetime = {lifetime}"
    policy = re.sub("^lifetime = .*$", line, DEFAULT_POLICY, flags=re.MULTILINE)
    state, log = open_state(folder, policy=policy), folder / "log"
    server = ServerProcess(state.path, log, port=steady_port(), within=clock.within)
    crowd = Crowd(state, server.address[1], devices=100, at_once=16, seed=seed, lifetime=lifetime, wall=clock.time)
    with crowd, server:
        for _ in range(jumps):
            crowd.work_until_registered(50)
            clock.jump(source.choice([offset for offset in OFFSETS if offset != clock.offset]))
            report.jumps += 1
            _check(crowd, report)
            if source.random() < KILLED:
                server.process.kill()
                server.stop()
                clock.clean_up_after(server.process.pid)
                server.begin()
                server.await_ready()
                report.kills += 1
                _check(crowd, report)
            report.faults += crowd.all_register()
            _check(crowd, report)
        report.registrations, report.ended = crowd.registered, crowd.ended
        if crowd.superseded:
            report.faults.append(f"{crowd.superseded} registrations lost to an older one")
    said = log.read_text(encoding="utf-8").splitlines()
    report.faults += [f"the server said: {line}" for line in said if "[info" not in line]
    return report


def _check(crowd: Crowd, report: Report) -> None:
    compared, wrong = crowd.compare()
    asked, unlike = crowd.ask_again()
    report.compared += compared
    report.asked_again += asked
    report.faults += wrong + unlike
    said = {confirm.lifetime for confirm in crowd.confirms()}
    if said != {report.lifetime}:
        report.faults.append(f"CONFIRM said lifetimes of {sorted(map(str, said))}")


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("clock", __doc__)
    parser.add_argument("--jumps", type=int, default=100, metavar="N", help="for each kind of session [100]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="repeats the jumps [1]")
    given = parser.parse_args(arguments)
    print(HEAD)
    return trials.run_each(partial(run, lifetime, given.jumps, given.seed) for lifetime in (None, HOUR))
