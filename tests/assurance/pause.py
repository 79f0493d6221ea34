"""SIGSTOP of a real server for minutes while devices register, then SIGCONT, again and again.

Requests that the server had accepted are answered late, and everything that has gathered in its socket comes at once.
Meanwhile the devices have asked again many times, and some have started over. Then every device must be REGISTERED with
the one row that it knows, SUCCESS must get the very same CONFIRM, and all devices register once more. With --workers,
one worker is stopped, or all processes.
"""

import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dpe_tools.server_process import ServerProcess
from tests.assurance import trials
from tests.assurance.crowd import Crowd, open_state, steady_port
from tests.end_to_end.processes import children


@dataclass(slots=True)
class Report:
    """What was done and found."""

    pauses: int = 0
    seconds: float = 0.0
    registrations: int = 0
    requests: int = 0
    sent_again: int = 0
    compared: int = 0
    asked_again: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Some lines for a person."""
        lines = [
            f"pauses                 {self.pauses}, of {self.seconds:.0f} s in all",
            f"registrations          {self.registrations}, with {self.requests} REQUESTs",
            f"datagrams sent again   {self.sent_again}",
            f"rows compared          {self.compared}",
            f"SUCCESS sent again     {self.asked_again}",
            f"faults                 {len(self.faults)}",
        ]
        return "\n".join(lines)


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def run(pauses: int, longest: float, workers: int, seed: int, folder: Path) -> Report:
    """Stop a new server several times, for up to ``longest`` seconds each."""
    report = Report()
    source = random.Random(seed)
    state, log = open_state(folder), folder / "log"
    options = ["--workers", str(workers)] if workers > 1 else []
    server = ServerProcess(state.path, log, port=steady_port(), options=options)
    with server, Crowd(state, server.address[1], devices=100, at_once=32, seed=seed) as crowd:
        for number in range(pauses):
            crowd.work_until_registered(100)
            seconds = source.uniform(longest / 2, longest)
            family = [server.process.pid, *children(server.process.pid)]
            with _stopped([source.choice(family[1:])] if workers > 1 and number % 2 else family):
                crowd.work(seconds)
            crowd.work_until_registered(100)
            report.faults += crowd.all_register()
            compared, wrong = crowd.compare()
            asked, unlike = crowd.ask_again()
            report.compared += compared
            report.asked_again += asked
            report.faults += wrong + unlike
            report.pauses += 1
            report.seconds += seconds
        whole = crowd.whole()
        report.registrations, report.requests = whole.registered, whole.requests
        report.sent_again = whole.retransmissions
    said = log.read_text(encoding="utf-8").splitlines()
    report.faults += [f"the server said: {line}" for line in said if "[info" not in line]
    return report


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("pause", __doc__)
    parser.add_argument("--pauses", type=int, default=5, metavar="N", help="[5]")
    parser.add_argument("--longest", type=float, default=180, metavar="S", help="half to all of S seconds each [180]")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes of the server [1]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the pauses [1]")
    given = parser.parse_args(arguments)
    return trials.run_each([partial(run, given.pauses, given.longest, given.workers, given.seed)])
