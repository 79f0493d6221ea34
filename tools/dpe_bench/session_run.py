"""The measurement of `dpe bench sessions`: one contender, one round."""

from dataclasses import dataclass, field
from pathlib import Path

from dpe_bench import comparison
from dpe_bench.comparison import Settings
from dpe_bench.generator import Generator
from dpe_bench.loading import load
from dpe_bench.process import Cores, ServerUnderMeasurement
from dpe_bench.samples import SUM
from dpe_bench.session_contenders import SessionContender
from dpe_bench.session_fleet import Fleet
from dpe_coap.errors import LocalError
from dpe_tools.server_process import free_port

WARM_UP_SECONDS = 300.0
"""The most time to let every session come once before the measurement."""
OPEN_SECONDS = 0.5
"""Length of the open loop if response times are of no interest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(comparison.Sample):
    """What one round found. Sessions of which the store has another mark in the end are faults, too."""

    memory: float
    """Bytes by which the server grew until each session had reported once."""
    reports: int = field(metadata=SUM)
    """Reports sent in all; each answer was verified."""


class Rig:
    """What every measurement needs. Each of this server's sessions counts its reports from the first round on."""

    def __init__(self, settings: Settings, program: Path, cores: Cores, log: Path) -> None:
        self.settings = settings
        self._program = program
        self._cores = cores
        self._log = log
        self._begun: dict[Fleet, int] = {}

    def measure(self, contender: SessionContender, sessions: int) -> Sample:
        """Start the server, load it fully, then at 30 %, and stop it; look into its store."""
        settings, port = self.settings, free_port()
        command = [*contender.command, str(port)]
        with ServerUnderMeasurement(command, self._log, core=self._cores.server, ready=contender.ready) as server:
            generator = Generator(
                self._program,
                self._cores.generator,
                job=contender.job,
                argument=contender.argument,
                port=port,
                endpoints=sessions,
            )
            warm_up = settings.warm_up
            if contender.fleet is not None:
                warm_up, generator.next = sessions, self._begun.get(contender.fleet, 0)
            before = server.resident()
            warm = generator.run(seconds=WARM_UP_SECONDS, window=settings.window, runs=warm_up)
            if warm.runs + warm.faults < warm_up:
                raise LocalError(
                    f"{contender.name} has answered {warm.runs:,} of the first {warm_up:,} reports in time"
                )
            memory = server.resident() - before
            found = load(
                server,
                generator,
                seconds=settings.seconds,
                open_seconds=OPEN_SECONDS if contender.only_cost else settings.open_seconds,
                window=settings.window,
            )
        wrong = 0
        if contender.fleet is not None:
            self._begun[contender.fleet] = generator.next
            wrong = contender.fleet.check(generator.next) if contender.durable else 0
        loads = [warm, found.full, found.part]
        return Sample(
            **found.sample(),
            memory=memory,
            reports=sum(each.verified + each.faults for each in loads),
            resent=sum(each.resent for each in loads),
            faults=wrong + sum(each.faults for each in loads),
        )
