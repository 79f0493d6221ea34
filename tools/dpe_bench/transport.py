"""The measurement of `dpe bench server`: one contender, one number of endpoints, one round."""

from dataclasses import dataclass, field
from pathlib import Path

from dpe_bench import comparison
from dpe_bench.contenders import Contender
from dpe_bench.generator import Generator
from dpe_bench.loading import load
from dpe_bench.process import Cores, ServerUnderMeasurement
from dpe_bench.samples import MOST, SUM
from dpe_bench.servers.pauses import longest_of
from dpe_tools.server_process import free_port

KEY = bytes(range(32)).hex()
"""The HMAC key of the job, which protects nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(comparison.Settings):
    """How long to measure."""

    fill_seconds: float
    """The most to let every endpoint come once before."""
    warm_up: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(comparison.Sample):
    """What one round found."""

    memory: float
    """Bytes by which the server grew, for each exchange."""
    longest_gc: float | None = field(metadata=MOST)
    """The longest garbage collection in milliseconds; None: not told."""
    seen: int
    """Endpoints that had come before the measurement."""
    requests: int = field(metadata=SUM)
    """Requests sent in all; each answer was verified."""


def measure(contender: Contender, endpoints: int, settings: Settings, program: Path, cores: Cores, log: Path) -> Sample:
    """Start the server, let every endpoint come once, load it fully, then at 30 %, and stop it."""
    port = free_port()
    command = [*contender.command, str(port), KEY]
    with ServerUnderMeasurement(command, log, core=cores.server, cwd=contender.cwd) as server:
        generator = Generator(program, cores.generator, job=contender.job, argument=KEY, port=port, endpoints=endpoints)
        warm = generator.run(seconds=max(1.0, settings.seconds / 2), window=settings.window, runs=settings.warm_up)
        loads = [warm]
        memory, first = server.resident(), generator.next
        if generator.next < endpoints:
            left = endpoints - generator.next
            loads.append(generator.run(seconds=settings.fill_seconds, window=settings.window, runs=left))
        seen = min(generator.next, endpoints)
        found = load(
            server,
            generator,
            seconds=settings.seconds,
            open_seconds=settings.open_seconds,
            window=settings.window,
            memory=memory,
        )
        loads += [found.full, found.part]
    return Sample(
        **found.sample(),
        memory=found.growth / (generator.next - first),
        longest_gc=longest_of(server.last_words),
        seen=seen,
        requests=sum(each.verified + each.faults for each in loads),
        resent=sum(each.resent for each in loads),
        faults=sum(each.faults for each in loads),
    )
