"""kill -9 of a program that follows what devices report, again and again, while they report to a real server.

The program keeps what `dpe properties --json --follow` tells, with the cursor, and goes on from there when it is
started again. Meanwhile sessions end and others begin, operators end some, the changes are cut, and the server is
killed, too. In the end the program must have exactly what the server has: each device, each value, and its time.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dpe_coap.client_ids import client_id_text
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.properties import reported
from dpe_server.policy import Vocabulary
from dpe_server.store.contract import End
from dpe_server.store.listing import ALL
from dpe_server.store.opening import open_store
from dpe_tools.server_process import ServerProcess
from tests.assurance import consumer, trials
from tests.assurance.crowd import open_state, steady_port
from tests.assurance.kills import await_end
from tests.assurance.reporters import Reporters

STARTING = 0.2
"""The share of kills at any moment, perhaps while the program starts. The others come after it has kept something."""
LIFE = 1.5
"""The most seconds until such a kill."""
WORKING = 0.5
"""The most seconds until another kill, after something was kept."""
LONGEST = 20.0
"""Seconds after which it is killed in any case."""
SERVER_KILLED = 0.1
"""How often the server is killed, too."""
ENDED = 3
"""Sessions that an operator ends while the program lives once."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do."""

    kills: int = 100
    seed: int = 1
    devices: int = 200


@dataclass(slots=True)
class Report:
    """What was done and found."""

    kills: int = 0
    applied: int = 0
    """Kills before which the program had kept something new."""
    server_kills: int = 0
    accepted: int = 0
    ended: int = 0
    devices: int = 0
    """Whose records were compared."""
    changes: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Some lines for a person."""
        lines = [
            f"kills of the program   {self.kills} ({self.applied} after it had kept something new)",
            f"kills of the server    {self.server_kills}",
            f"reports accepted       {self.accepted}",
            f"sessions ended         {self.ended}",
            f"changes                {self.changes}",
            f"records compared       {self.devices}",
            f"faults                 {len(self.faults)}",
        ]
        return "\n".join(lines)


class Run:
    """A trial."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self.state, self._port = open_state(folder), steady_port()
        self.kept = folder / "kept.sqlite"
        self.chance = random.Random(settings.seed)
        self._server = ServerProcess(self.state.path, folder / "log", port=self._port)
        self.report = Report()
        self.environment = dict(os.environ)
        """Of the program."""

    def carry_out(self) -> None:
        """Do it."""
        settings, report = self._settings, self.report
        with Reporters(self.state, self._port, devices=settings.devices, seed=settings.seed) as reporters:
            try:
                self._start(reporters)
                for number in range(settings.kills):
                    self._live_once(reporters)
                    self._disturb(reporters)
                    self.disturb_more()
                    if (number + 1) % 10 == 0:
                        print(f"{number + 1} kills, {reporters.accepted} reports", file=sys.stderr, flush=True)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(self._server.process.pid, signal.SIGTERM)
                self._server.stop()
            report.accepted = reporters.accepted
        status = subprocess.run(self.command(follow=False), env=self.environment, check=False).returncode
        if status != 0:
            report.faults.append(f"the program ended with {status}")
        report.devices, faults = compare(self.state, self.kept)
        report.faults += faults

    def _start(self, reporters: Reporters) -> None:
        self._server.begin()
        self._server.await_ready()
        reporters.started()

    def command(self, *, follow: bool) -> list[str]:
        """Return the command line of the program, which goes on for ever if it is to ``follow``."""
        options = ["--follow"] if follow else []
        return [sys.executable, consumer.__file__, str(self.state.path), str(self.kept), *options]

    def disturb_more(self) -> None:
        """Disturb what else there is, while the program does not run."""

    def _live_once(self, reporters: Reporters) -> None:
        """Let the program live for a while under the load, and kill it with all that belongs to it."""
        before = self._place()
        process = subprocess.Popen(self.command(follow=True), env=self.environment, start_new_session=True)
        if self.chance.random() < STARTING:
            reporters.work(self.chance.uniform(0, LIFE))
        else:
            until = time.monotonic() + LONGEST
            while self._place() == before and time.monotonic() < until:
                reporters.work(0.05)
                self._cut()  # while it reads
            reporters.work(self.chance.uniform(0, WORKING))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            self.report.faults.append(f"the program ended by itself, with {process.returncode}")
        self.report.kills += 1
        self.report.applied += self._place() != before

    def _cut(self) -> None:
        """Drop of the changes what nobody need read any more, as the server does once an hour."""
        with closing(open_store(self.state.store_url)) as store:
            after: int | None = 0
            while after is not None:
                after = store.drop_changes(after, 0)
            self.report.changes = store.standing().newest

    def _place(self) -> str | None:
        """Return the cursor that the program has kept."""
        if not self.kept.exists():
            return None
        with closing(sqlite3.connect(self.kept)) as kept:
            if not kept.execute("SELECT 1 FROM sqlite_schema WHERE name = 'place'").fetchone():
                return None
            found = kept.execute("SELECT cursor FROM place").fetchone()
        return None if found is None else str(found[0])

    def _disturb(self, reporters: Reporters) -> None:
        """End some sessions as an operator does, begin others, cut the changes, and seldom kill the server."""
        killed = self.chance.random() < SERVER_KILLED
        if killed:
            os.killpg(self._server.process.pid, signal.SIGKILL)
            await_end(self._server)
            self.report.server_kills += 1
        with closing(open_store(self.state.store_url)) as store:
            unlucky = self.chance.sample(reporters.reporters, min(ENDED, len(reporters.reporters)))
            found = [store.session(one.client_id) for one in unlucky]
            store.commit([End(session.device, int(time.time())) for session in found if session is not None])
            for one in unlucky:
                one.ended = True
        self._cut()
        self.report.ended += sum(one.ended for one in reporters.reporters)
        reporters.replace_ended()
        if killed:
            self._start(reporters)


def compare(state: StateDir, kept: Path) -> tuple[int, list[str]]:
    """Compare what the program has with what the server has; return how many records there are, and the faults."""
    vocabulary = Vocabulary()
    with closing(open_store(state.store_url)) as store:
        truth: dict[str, Any] = {
            client_id_text(session.client_id): reported(session.record, vocabulary)
            for session in store.listed(ALL, int(time.time()))
            if session.record
        }
    with closing(sqlite3.connect(kept)) as database:
        has = {client_id: json.loads(text) for client_id, text in database.execute("SELECT * FROM device")}
    faults = [f"{client_id}: not told" for client_id in truth.keys() - has.keys()]
    faults += [f"{client_id}: its session has ended" for client_id in has.keys() - truth.keys()]
    faults += [f"{one}: {has[one]}, not {truth[one]}" for one in truth.keys() & has.keys() if has[one] != truth[one]]
    return len(truth), faults


def run(settings: Settings, folder: Path) -> Report:
    """Carry the kills out in ``folder``."""
    trial = Run(settings, folder)
    trial.carry_out()
    return trial.report


def settings_from(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> Settings:
    """Return what a command line asks for."""
    usual = Settings()
    for name, text in (
        ("kills", "of the program that follows"),
        ("seed", "repeats the moments, as far as the machine allows"),
        ("devices", "that report at the same time"),
    ):
        default = getattr(usual, name)
        parser.add_argument(f"--{name}", type=int, metavar="N", default=default, help=f"{text} [{default}]")
    return Settings(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    return trials.run_each([partial(run, settings_from(trials.parser("following", __doc__), arguments))])
