"""The measurements of `dpe bench registrations`."""

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dpe_bench import fleet, transport
from dpe_bench.contenders import Contender
from dpe_bench.discovering import Discovering
from dpe_bench.generator import Generator
from dpe_bench.loading import load
from dpe_bench.process import Cores, ServerUnderMeasurement
from dpe_bench.samples import MOST, SUM
from dpe_bench.servers.pauses import longest_of
from dpe_bench.servers.stages import stages_of
from dpe_server.operation.state_dir import StateDir
from dpe_tools.server_process import free_port

WARM_UP = 500
"""Registrations before anything counts."""
ECHO_SECONDS = 2.0
"""The most of the echo's loops."""
ECHO_ENDPOINTS = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to measure."""

    rounds: int
    seconds: float
    """Of each closed and of each open loop."""
    window: int
    """Registrations under way in the closed loop."""
    devices: int
    """Each an endpoint of its own; they take turns, and come again when all have come."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round found. Times are microseconds."""

    rate: float
    """Complete registrations a second in the closed loop."""
    cpu: float
    """CPU time of the server for one registration."""
    user: float
    kernel: float
    p50: float
    """Of a whole registration in the open loop, REQUEST to CONFIRM."""
    p99: float
    p999: float
    request_p99: float
    """Of REQUEST to RESPONSE."""
    success_p99: float
    """Of SUCCESS to CONFIRM."""
    discovery: float = field(metadata=MOST)
    """The longest that discovery took meanwhile, under both loads."""
    offered: float
    """Registrations a second in the open loop."""
    memory: float
    """Bytes by which the server grew for each exchange; a registration is two."""
    exchanges: int
    """That the server has answered, and remembers as far as it does."""
    longest_gc: float | None = field(metadata=MOST)
    """The longest garbage collection in milliseconds; None: not told."""
    registrations: int = field(metadata=SUM)
    checked: int = field(metadata=SUM)
    """Devices that were looked up in the store in the end."""
    resent: int = field(metadata=SUM)
    faults: int = field(metadata=SUM)
    """Answers that were wrong, refused or missing, and devices whose Client ID is not in the store."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The state directory that every server gets a copy of, and its devices."""

    state: StateDir
    devices: Path

    @classmethod
    def make(cls, folder: Path, count: int) -> "Fleet":
        """Make both in ``folder``."""
        state = fleet.open_state(folder / "template", "bench")
        fleet.provision(state, count, folder / "devices")
        return cls(state, folder / "devices")


@dataclass(frozen=True, slots=True)
class Profile:
    """Where this server's CPU time goes, microseconds a registration."""

    stages: dict[str, float]
    """The largest first."""
    measured: float
    """By the kernel's count, of the whole process, while the samples were taken."""


@dataclass(frozen=True, slots=True)
class Rig:
    """What every measurement needs."""

    settings: Settings
    fleet: Fleet
    program: Path
    """The load generator."""
    cores: Cores
    log: Path


@dataclass(frozen=True, slots=True)
class _Run:
    server: ServerUnderMeasurement
    generator: Generator
    port: int
    store: str
    results: Path


@contextmanager
def _running(rig: Rig, folder: Path, server: str, workers: int, *flags: str) -> Iterator[_Run]:
    """Run a server on a new state directory in ``folder``."""
    port = free_port()
    path, results = folder / "state", folder / "results"
    shutil.copytree(rig.fleet.state.path, path)
    state = StateDir.open(path)
    command = [sys.executable, "-m", "dpe_bench.servers.registrar", server, str(path), str(port), str(workers)]
    cores = rig.cores if workers == 1 else Cores(None, None)
    with ServerUnderMeasurement([*command, *flags], rig.log, core=cores.server, ready="listening") as running:
        generator = Generator(
            rig.program,
            cores.generator,
            job="registration",
            argument=f"{rig.fleet.devices}:{results}:{state.config.realm}",
            port=port,
            endpoints=rig.settings.devices,
            exchanges=2,
        )
        yield _Run(running, generator, port, state.store_url, results)


def measure(rig: Rig, folder: Path, server: str, workers: int) -> Sample:
    """Start the server on a state directory in ``folder``, load it fully, then at 30 %, stop it, read its store."""
    settings = rig.settings
    with _running(rig, folder, server, workers) as run:
        loads = [run.generator.run(seconds=30, window=settings.window, runs=WARM_UP)]
        run.server.signal(signal.SIGUSR2)  # the collection at its start is none of those that hold up a device
        first = run.generator.next
        with Discovering(run.port) as discovering:
            found = load(
                run.server,
                run.generator,
                seconds=settings.seconds,
                open_seconds=settings.seconds,
                window=settings.window,
            )
        exchanges = 2 * (run.generator.next - first)
        loads += [found.full, found.part]
    checked, wrong = fleet.check(run.store, rig.fleet.state.keys, run.results)
    return Sample(
        rate=found.full.rate,
        cpu=found.user + found.kernel,
        user=found.user,
        kernel=found.kernel,
        p50=found.part.times["p50"],
        p99=found.part.times["p99"],
        p999=found.part.times["p99.9"],
        request_p99=found.part.exchange_times[0]["p99"],
        success_p99=found.part.exchange_times[1]["p99"],
        discovery=max(discovering.times) * 1e6,
        offered=found.offered,
        memory=found.growth / exchanges,
        exchanges=exchanges,
        longest_gc=longest_of(run.server.last_words),
        registrations=sum(each.runs for each in loads),
        checked=checked,
        resent=sum(each.resent for each in loads),
        faults=wrong + sum(each.faults for each in loads),
    )


def measure_echo(rig: Rig, echo: Contender) -> transport.Sample:
    """Load the C echo, by which a reader compares this machine with another."""
    seconds = min(rig.settings.seconds, ECHO_SECONDS)
    settings = transport.Settings(
        rounds=1, seconds=seconds, open_seconds=seconds, fill_seconds=0, window=ECHO_ENDPOINTS
    )
    return transport.measure(echo, ECHO_ENDPOINTS, settings, rig.program, rig.cores, rig.log)


def profile(rig: Rig, folder: Path) -> Profile:
    """Load this server fully, and sample where its CPU time goes."""
    with _running(rig, folder, "lane", 1, "stages") as run:
        run.generator.run(seconds=30, window=rig.settings.window, runs=WARM_UP)
        run.server.signal(signal.SIGUSR1)
        before = run.server.cpu()
        full = run.generator.run(seconds=2 * rig.settings.seconds, window=rig.settings.window)
        used = run.server.cpu().since(before)
        run.server.signal(signal.SIGUSR1)
    done = max(1, full.runs)
    stages = {stage: seconds / done * 1e6 for stage, seconds in stages_of(run.server.last_words).items()}
    return Profile(stages, (used.user + used.kernel) / done * 1e6)
