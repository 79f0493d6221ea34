"""Runs the load generator (native/load.c) and reads its result."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_bench.native import compile_c
from dpe_bench.process import on_core
from dpe_coap.errors import LocalError
from dpe_tools.server_process import free_port

MESSAGE_IDS = 1 << 16
LATENCY_WINDOW = 4_096
"""The most exchanges at once in an open loop; a server far below its capacity has a few."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one call of the load generator measured. Times are microseconds."""

    seconds: float
    """For how long there was load."""
    runs: int
    """Complete runs of the job: exchanges, or registrations."""
    in_time: int
    """Those that were done before the time was up."""
    verified: int
    """Responses in which everything was right."""
    wrong: int
    refused: int
    """Responses with a code other than 2.04."""
    given_up: int
    """Requests without an answer after four transmissions."""
    resent: int
    duplicates: int
    separate: int
    """Responses that came behind an empty acknowledgement."""
    times: dict[str, float]
    """p50, p90, p99, p99.9 and max of a run."""
    exchange_times: tuple[dict[str, float], dict[str, float]]
    """The same of a run's first and second exchange."""

    @property
    def rate(self) -> float:
        """Runs a second."""
        return self.in_time / self.seconds

    @property
    def faults(self) -> int:
        """How many requests were not answered as they should."""
        return self.wrong + self.refused + self.given_up


class Generator:
    """Loads the server at 127.0.0.1:``port`` from ``endpoints`` endpoints, call after call.

    No endpoint uses a message ID twice, so nothing is a duplicate to the server but what is sent again. With ``first``,
    it goes before all else that wants its core, but leaves the core to others while it waits; only root may.
    """

    def __init__(
        self,
        program: Path,
        core: int | None,
        *,
        job: str,
        argument: str,
        port: int,
        endpoints: int,
        exchanges: int = 1,
        first: bool = False,
    ) -> None:
        self._command = on_core(core, [str(program), job, argument, str(port), str(free_port()), str(endpoints)])
        if first:
            self._command = ["chrt", "--fifo", "1", *self._command]
        self._waiting = "sleep" if core is None or first else "spin"
        self._most = endpoints * MESSAGE_IDS // exchanges
        self.next = 0
        """The number of the next run; endpoints are used in turn."""

    def run(self, *, seconds: float, window: int, runs: int | None = None, rate: float = 0) -> Load:
        """Load the server for so long, or until so many runs are done; with a ``rate`` (runs a second) in an open loop.

        Raises LocalError when the generator fails.
        """
        left = self._most - self.next
        if left <= 0:
            raise LocalError("the message IDs are used up", hint="take more endpoints, or fewer seconds")
        if runs is None:
            runs = left if rate else left * 3 // 4  # a fast server leaves some for the open loop behind
        runs = min(runs, left)
        numbers = (self.next, runs, LATENCY_WINDOW if rate else window, rate, seconds, self._waiting)
        done = subprocess.run([*self._command, *map(str, numbers)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LocalError(done.stderr.strip() or f"the load generator ended with status {done.returncode}")
        result: dict[str, Any] = json.loads(done.stdout)
        self.next = result["next"]
        return Load(
            **{name: result[name] for name in Load.__slots__ if name in result},
            times=result["run_us"],
            exchange_times=(result["first_us"], result["second_us"]),
        )


def build(folder: Path) -> Path:
    """Compile the load generator into ``folder``; Missing when that cannot be."""
    sources = ["load.c", "transport_job.c", "registration_job.c", "session_job.c"]
    return compile_c(folder, "load", sources, ["libcrypto"], "sudo apt-get install libssl-dev")
