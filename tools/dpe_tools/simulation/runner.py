"""Many seeds, in several processes; or one, with a trace."""

import gc
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dpe_coap.errors import LocalError
from dpe_tools.simulation.simulation import Simulation
from dpe_tools.simulation.world import Violation

CHUNK = 50
"""The most seeds that a process gets at once."""
LOOK_EVERY = 0.5
"""The most seconds between two calls of ``watch``."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that failed: ``invariant`` is what did not hold, or the type of an error in the simulation itself."""

    seed: int
    invariant: str
    what: str

    @property
    def replay(self) -> str:
        """The command that repeats it."""
        return f"dpe simulate --seed {self.seed} --trace"


@dataclass
class Result:
    """What became of some seeds."""

    seeds: int = 0
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    interrupted: bool = False

    def add(self, other: "Result") -> None:
        """Add what became of other seeds."""
        self.seeds += other.seeds
        self.failures = sorted([*self.failures, *other.failures], key=lambda failure: failure.seed)
        self.counts += other.counts


def run_one(seed: int, trace: Callable[[str], None] | None = None) -> Result:
    """Run one seed."""
    result = Result(seeds=1)
    simulation = Simulation(seed, trace)
    try:
        simulation.run()
    except Violation as violation:
        result.failures.append(Failure(seed, violation.invariant, violation.what))
    except Exception as error:
        result.failures.append(Failure(seed, type(error).__name__, f"an error of the simulation: {error}"))
    result.counts = simulation.counts
    return result


def run_some(seeds: Sequence[int]) -> Result:
    """Run some seeds, one after the other."""
    result = Result()
    gc.disable()  # it takes a sixth of the time, and would free only a few megabytes
    for seed in seeds:
        result.add(run_one(seed))
    gc.enable()
    gc.collect()
    return result


def run(seeds: range, jobs: int, watch: Callable[[Result], None] = lambda _: None) -> Result:
    """Run seeds in ``jobs`` processes. ``watch`` is called now and then with the result so far.

    Ctrl-C ends it early, and the result says so.
    """
    total, begun = Result(), time.monotonic()
    size = max(1, min(CHUNK, len(seeds) // (4 * jobs)))
    chunks = iter([seeds[start : start + size] for start in range(0, len(seeds), size)])
    waiting: set[Future[Result]] = set()
    with workers(jobs) as submit:
        try:
            while True:
                while len(waiting) < 2 * jobs and (chunk := next(chunks, None)) is not None:
                    waiting.add(submit(run_some, chunk))
                if not waiting:
                    break
                done, waiting = wait(waiting, LOOK_EVERY, FIRST_COMPLETED)
                for future in done:
                    total.add(future.result())
                total.seconds = time.monotonic() - begun
                watch(total)
        except KeyboardInterrupt:
            total.interrupted = True
    total.seconds = time.monotonic() - begun
    return total


@contextmanager
def workers(jobs: int) -> Iterator[Callable[..., Future[Any]]]:
    """Give a function that calls another one in one of ``jobs`` processes. They leave Ctrl-C to this process."""
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start)

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by a process that this may start
        try:
            return pool.submit(function, *arguments)
        finally:
            signal.signal(signal.SIGINT, before)

    try:
        yield submit
        pool.shutdown(cancel_futures=True)
    except KeyboardInterrupt:  # also while the pool ends: what is left of it then would be waited for without end
        for process in multiprocessing.active_children():
            process.kill()
        raise
    except BrokenProcessPool:
        raise LocalError("a process of the simulation has ended early", hint="what it said last is above") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which then gives out no more seeds
    gc.freeze()  # what is there now stays: the collector need not visit it again
