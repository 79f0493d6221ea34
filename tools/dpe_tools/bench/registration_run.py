"""The measurement of `dpe bench registrations`: one server, one file system, one round."""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from dpe_server.state import StateDir
from dpe_tools.bench import fleet
from dpe_tools.bench.generator import Generator
from dpe_tools.bench.process import Cores, ServerUnderMeasurement
from dpe_tools.bench.samples import MOST, SUM
from dpe_tools.bench.servers.pauses import longest_of
from dpe_tools.server_process import free_port

SHARE = 0.3
"""Of a server's own capacity: the load at which its response times are taken."""
WARM_UP = 500
"""Registrations before anything counts."""


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
        state = StateDir.create(folder / "template", "bench", "coap://127.0.0.1")
        fleet.provision(state, count, folder / "devices")
        return cls(state, folder / "devices")


def measure(
    server: str, workers: int, made: Fleet, folder: Path, settings: Settings, load: Path, cores: Cores, log: Path
) -> Sample:
    """Start the server on a new state directory in ``folder``, load it fully, then at 30 %, stop it, read its store."""
    port = free_port()
    path, results = folder / "state", folder / "results"
    shutil.copytree(made.state.path, path)
    command = [sys.executable, "-m", "dpe_tools.bench.servers.registrar", server, str(path), str(port), str(workers)]
    if workers > 1:
        cores = Cores(None, None)
    with ServerUnderMeasurement(command, log, core=cores.server, ready="listening") as running:
        generator = Generator(
            load,
            cores.generator,
            job="registration",
            argument=f"{made.devices}:{results}:{made.state.config.realm}",
            port=port,
            endpoints=settings.devices,
            exchanges=2,
        )
        loads = [generator.run(seconds=30, window=settings.window, runs=WARM_UP)]
        memory, first = running.resident(), generator.next
        before = running.cpu()
        full = generator.run(seconds=settings.seconds, window=settings.window)
        used = running.cpu().since(before)
        offered = SHARE * full.rate
        part = generator.run(seconds=settings.seconds, window=settings.window, rate=offered)
        exchanges = 2 * (generator.next - first)
        growth = (running.resident() - memory) / exchanges
        loads += [full, part]
    checked, wrong = fleet.check(path / made.state.store_path.name, made.state.keys, results)
    shutil.rmtree(path)
    results.unlink()
    done = max(1, full.runs)
    return Sample(
        rate=full.rate,
        cpu=(used.user + used.kernel) / done * 1e6,
        user=used.user / done * 1e6,
        kernel=used.kernel / done * 1e6,
        p50=part.times["p50"],
        p99=part.times["p99"],
        p999=part.times["p99.9"],
        request_p99=part.exchange_times[0]["p99"],
        success_p99=part.exchange_times[1]["p99"],
        offered=offered,
        memory=growth,
        exchanges=exchanges,
        longest_gc=longest_of(running.last_words),
        registrations=sum(load.runs for load in loads),
        checked=checked,
        resent=sum(load.resent for load in loads),
        faults=wrong + sum(load.faults for load in loads),
    )
