"""What both benchmarks of the server do with one: load it fully, then at a part of what it can do."""

from dataclasses import dataclass

from dpe_bench.generator import Generator, Load
from dpe_bench.process import ServerUnderMeasurement

SHARE = 0.3
"""Of a server's own capacity: the load at which its response times are taken."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was found. CPU time and memory are the server's."""

    full: Load
    """The closed loop."""
    part: Load
    """The open loop."""
    offered: float
    """Runs a second in the open loop."""
    user: float
    """Microseconds of CPU time for a run in the closed loop."""
    kernel: float
    growth: int
    """Bytes of memory that it has more than when this began, or when ``load`` was told."""

    def sample(self) -> dict[str, float]:
        """Return these figures as fields of a ``comparison.Sample``."""
        times = self.part.times
        return {
            "cpu": self.user + self.kernel,
            "user": self.user,
            "kernel": self.kernel,
            "rate": self.full.rate,
            "p50": times["p50"],
            "p99": times["p99"],
            "p999": times["p99.9"],
            "offered": self.offered,
        }


def load(
    server: ServerUnderMeasurement,
    generator: Generator,
    *,
    seconds: float,
    open_seconds: float,
    window: int,
    memory: int | None = None,
) -> Loaded:
    """Load ``server`` for ``seconds`` with ``window`` runs under way, then for ``open_seconds`` at 30 % of what it did.

    ``memory`` is what it had (bytes) when its growth began, if that was not now.
    """
    memory = server.resident() if memory is None else memory
    before = server.cpu()
    full = generator.run(seconds=seconds, window=window)
    used = server.cpu().since(before)
    offered = SHARE * full.rate
    part = generator.run(seconds=open_seconds, window=window, rate=offered) if offered else full
    runs = max(1, full.runs)
    growth = server.resident() - memory
    return Loaded(full, part, offered, used.user / runs * 1e6, used.kernel / runs * 1e6, growth)
