"""The processes of a load."""

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from dpe_coap.errors import LocalError
from dpe_tools.load.ledger import Ledger
from dpe_tools.load.network import Server
from dpe_tools.load.plan import Plan
from dpe_tools.load.tally import Tally
from dpe_tools.load.worker import OVER, STOP, TELL_EVERY, Maker, work

STOP_SECONDS = 5

Watch = Callable[[Tally], None]
"""Called now and then with the counts so far."""


class Crew:
    """``processes`` processes, which share the devices, while the ``with`` block runs.

    ``make`` returns the credential of a device by its number. With ``keep_ledger``, the processes keep a ledger.
    """

    def __init__(self, processes: int, server: Server, make: Maker, *, keep_ledger: bool) -> None:
        self.interrupted = False
        """Whether Ctrl-C has ended a plan."""
        self._pipes: list[Connection] = []
        context = multiprocessing.get_context("spawn")
        self._processes = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            self._pipes.append(ours)
            process = context.Process(
                target=work, args=(theirs, server, make), kwargs={"keep_ledger": keep_ledger}, daemon=True
            )
            self._processes.append((process, theirs))

    def __enter__(self) -> Self:
        """Start the processes. From the beginning, Ctrl-C reaches only this process."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for process, theirs in self._processes:
                process.start()
                theirs.close()
        finally:
            signal.signal(signal.SIGINT, before)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the processes, which end by themselves when their pipe closes."""
        for pipe in self._pipes:
            pipe.close()
        for process, _ in self._processes:
            process.join(STOP_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    def carry_out(self, plan: Plan, watch: Watch) -> Tally:
        """Return the counts when the plan is over, or Ctrl-C has ended it."""
        parts = {}
        stopping = False
        for index, pipe in enumerate(self._pipes):
            _send(pipe, plan.share(index, len(self._pipes)))
            parts[pipe] = Tally()
        busy = set(self._pipes)
        with self._noting_interrupts():
            while busy:
                for ready in wait(list(busy), TELL_EVERY):
                    assert isinstance(ready, Connection)
                    told = _receive(ready)
                    if told == OVER:
                        busy.remove(ready)
                    else:
                        parts[ready] = told
                watch(_sum(parts.values()))
                if self.interrupted and not stopping:
                    stopping = True
                    for pipe in busy:
                        _send(pipe, STOP)
        return _sum(parts.values())

    def ledger(self) -> Ledger:
        """Return how every registration ended. No plan can be carried out after that."""
        whole = Ledger()
        for pipe in self._pipes:
            _send(pipe, None)
            whole.merge(_receive(pipe))
        return whole

    @contextmanager
    def _noting_interrupts(self) -> Iterator[None]:
        """Only note the first Ctrl-C. The second one works as usual."""
        before = signal.getsignal(signal.SIGINT)

        def note(_number: int, _frame: object) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _send(pipe: Connection, told: object) -> None:
    with _explained():
        # Not pipe.send: where that fails, the error keeps a buffer that Python 3.13 complains of when it collects it.
        pipe.send_bytes(pickle.dumps(told))


def _receive(pipe: Connection) -> Any:
    with _explained():
        return pipe.recv()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise LocalError("a process of the load has ended early", hint="what it said last is above") from None


def _sum(parts: Iterable[Tally]) -> Tally:
    whole = Tally()
    for part in parts:
        whole.merge(part)
    return whole
