"""Failovers of the database of two nodes, again and again, while devices register and report at both.

The primary is killed (kill -9), or halted (SIGSTOP) until long after a standby has its place: then it goes on, and
still takes itself for the primary. With --nodes, one of the two nodes is killed instead, and a balancer sends its
devices to the other one. With --patroni, it is Patroni that gives the place of the primary to a standby.

The moments are drawn from the seed. The devices run the device client's own core. What they send is repeated at random,
at any node; the database itself writes down what becomes of its rows.

After each, every device that is REGISTERED must have its row, with its Client ID and keys, and its last report. No
report may be accepted twice, or be answered and lost; no number may have two requests or two answers; no session may
come back that has ended; no device may have two.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from dpe_tools.cluster import group
from dpe_tools.cluster.group import Group
from dpe_tools.cluster.instance import needed_programs
from tests.assurance import trials
from tests.assurance.failover.patroni import PatroniGroup
from tests.assurance.failover.watched import ACK_TIMEOUT, BACKOFF, LONGEST, Watched
from tests.assurance.kills import await_end

KILL, HALT, NODE = "primary killed", "primary halted", "node killed"
MOMENT = 0.05
"""Seconds: some commits."""
NOTICED = 0.2, 0.8
"""Seconds until somebody notices that the primary is gone."""
BALANCED = 0.5
"""Seconds until the balancer notices that a node is gone."""
LATEST = 1.5 * (3 * ACK_TIMEOUT + 7 * BACKOFF) / 1000 + 2.0
"""Seconds until a device has registered whose SUCCESS the other node does not know: three back-offs and their waits."""
GOES_ON = 2.0
"""Seconds that a halted primary lives on beside the new one."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do. A primary or a node is lost within ``load`` answers, and some ms."""

    kills: int = 20
    stops: int = 10
    nodes: int = 0
    patroni: bool = False
    seed: int = 1
    devices: int = 200
    load: int = 400


@dataclass(slots=True)
class Report:
    """What was done and found."""

    silences: dict[str, list[float]] = field(default_factory=dict)
    """For each kind of failure, the longest time without an answer to any device in each, in seconds."""
    back: list[float] = field(default_factory=list)
    """Seconds from the loss of a node until each device that was registering there was REGISTERED at the other one."""
    registrations: int = 0
    reports: int = 0
    repeats: int = 0
    accepted: int = 0
    sessions: int = 0
    compared: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Some lines for a person."""
        lines = [
            f"{kind:22} {len(times)}, without an answer for {_spread(times)}" for kind, times in self.silences.items()
        ]
        if self.back:
            lines.append(
                f"registered elsewhere   {len(self.back)} devices that had begun there, after {_spread(self.back)}"
            )
        lines += [
            f"registrations          {self.registrations}",
            f"reports                {self.reports}",
            f"datagrams repeated     {self.repeats}",
            f"sessions begun         {self.sessions}, by the database's own notes",
            f"requests accepted      {self.accepted}, by the database's own notes",
            f"devices compared       {self.compared}",
            f"faults                 {len(self.faults)}",
        ]
        return "\n".join(lines)


def _spread(times: Sequence[float]) -> str:
    return f"{min(times):.1f} to {max(times):.1f} s, median {median(times):.1f} s"


class _Run:
    def __init__(self, settings: Settings, watched: Watched, database: Group | PatroniGroup) -> None:
        self._settings = settings
        self._watched = watched
        self._database: Any = database  # both do the same to members of theirs
        self._random = random.Random(settings.seed)
        self.report = Report()

    def carry_out(self) -> None:
        settings, watched, report = self._settings, self._watched, self.report
        kinds = [KILL] * settings.kills + [HALT] * settings.stops + [NODE] * settings.nodes
        self._random.shuffle(kinds)
        if not watched.work_until(lambda: len(watched.times.since) == settings.devices, LONGEST):
            report.faults.append("not every device has registered")
        for number, kind in enumerate(kinds):
            most = settings.devices if kind == NODE else settings.load  # that many register first, after a check
            watched.work_until_done(self._random.randrange(most), LONGEST)
            watched.work(self._random.uniform(0, MOMENT))
            watched.listen()
            {KILL: self._kill, HALT: self._halt, NODE: self._kill_node}[kind]()
            report.silences.setdefault(kind, []).append(watched.silence)
            _say(f"{number + 1}. {kind}: without an answer for {watched.silence:.1f} s")
            watched.check()
            if watched.faults:
                _say(f"{len(watched.faults)} faults")
        if not watched.finish(LONGEST):
            report.faults.append("some devices have not finished")
        watched.compare()
        self._tell()

    def _kill(self) -> None:
        lost = self._database.primary
        lost.kill()
        self._fail_over()
        self._watched.meanwhile(partial(self._database.rejoin, lost))

    def _halt(self) -> None:
        lost = self._database.primary
        lost.freeze()
        self._fail_over()
        self._watched.work(self._random.uniform(0, GOES_ON))
        lost.thaw()
        self._watched.work(GOES_ON)
        self._watched.meanwhile(partial(self._database.rejoin, lost))

    def _fail_over(self) -> None:
        self._watched.work(self._random.uniform(*NOTICED))
        self._watched.meanwhile(self._database.fail_over)
        if not self._watched.work_until_done(self._settings.load, LONGEST):
            self._watched.faults.append("the nodes do not go on after a failover")

    def _kill_node(self) -> None:
        watched = self._watched
        place = self._random.randrange(len(watched.nodes))
        node = watched.nodes[place]
        os.killpg(node.process.process.pid, signal.SIGKILL)
        lost = time.monotonic()
        await_end(node.process)
        watched.times.since.clear()
        watched.work(BALANCED)
        left = [number for number in watched.registering() if watched.network.node_of(number) == place]
        watched.network.out.add(place)
        back = watched.times.since
        if not watched.work_until(lambda: set(left) <= back.keys(), LATEST):
            watched.faults.append(f"some devices have not registered at the other node after {LATEST} s")
        self.report.back += [back[one] - lost for one in left if one in back]
        node.process.begin()
        watched.meanwhile(node.process.await_ready)
        watched.network.out.discard(place)
        watched.work_until_done(self._settings.load, LONGEST)

    def _tell(self) -> None:
        watched, report = self._watched, self.report
        report.registrations = watched.tally.registered + watched.tally.anew
        report.reports, report.repeats = watched.tally.reported, watched.eavesdropper.repeats
        report.accepted, report.sessions = watched.accepted, watched.sessions
        report.compared = watched.compared
        report.faults += watched.faults


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(settings: Settings, folder: Path) -> Report:
    """Carry the failovers out in ``folder``; the database is elsewhere, where its user may go. LocalError."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpe-pg-")))
        database: Group | PatroniGroup
        if settings.patroni:
            database = stack.enter_context(PatroniGroup(place))
        else:
            database = stack.enter_context(group.running(needed_programs(), place, standbys=2))
        watched = Watched(folder, database, devices=settings.devices, seed=settings.seed)
        one = _Run(settings, stack.enter_context(watched), database)
        one.carry_out()
        return one.report


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("failover", __doc__)
    usual = Settings()
    for name, text in (
        ("kills", "of the primary"),
        ("stops", "of the primary, which goes on later"),
        ("nodes", "kills of one of the two nodes"),
        ("seed", "repeats the moments, as far as the machine allows"),
        ("devices", "that register and report"),
        ("load", "within how many answers a primary or a node is lost"),
    ):
        default = getattr(usual, name)
        parser.add_argument(f"--{name}", type=int, metavar="N", default=default, help=f"{text} [{default}]")
    parser.add_argument("--patroni", action="store_true", help="have the database run by Patroni, with etcd")
    return trials.run_each([partial(run, Settings(**vars(parser.parse_args(arguments))))])
