"""Several processes for one server: they start, are told what the first process is told, and start again if they die.

The first process serves nobody. It holds the state directory's lock and all sockets. So its process ID is the server's,
and what comes for a worker that died waits for its successor.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import structlog

from dpe_coap.errors import DpeError
from dpe_server.files import logs
from dpe_server.operation.notify import Manager, Pulse, notify, watchdog

STEADY = 10.0
"""Seconds. A worker that dies sooner after its start is not started again: the server ends."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_log = structlog.get_logger(__name__)


class WorkersError(DpeError):
    """The workers could not go on."""


class UnservableError(DpeError):
    """No worker may serve any more. A worker that raises it ends the server."""


_UNSERVABLE = 3
"""The exit status of such a worker."""


@dataclass(frozen=True, slots=True)
class Ties:
    """What ties a worker to the first process."""

    ready: Callable[[], None]
    """To be called once the worker serves."""
    orphaned: int
    """A descriptor that becomes readable when the first process has ended."""


Run = Callable[[int, Ties], None]
"""What the worker of this number (from 0) does until SIGTERM; SIGHUP reloads. Raises DpeError if it cannot be done."""


@dataclass(frozen=True, slots=True)
class _Process:
    number: int
    started: float


class _Workers:
    def __init__(self, run: Run, pulse: Pulse) -> None:
        self._run = run
        self._pulse = pulse
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._orphaned, self._alive = os.pipe()
        self._processes: dict[int, _Process] = {}

    def start(self, number: int) -> int:
        """Start a worker; return a descriptor that gives a byte when it is ready, and only its end if it died."""
        reader, writer = os.pipe()
        self._pulse.begin(number)
        logs.finish()
        pid = os.fork()
        if pid == 0:
            logs.begin_in_child()
            os.close(reader)
            os.close(self._alive)
            self._work(number, writer)
        os.close(writer)
        self._processes[pid] = _Process(number, time.monotonic())
        return reader

    def _work(self, number: int, writer: int) -> NoReturn:
        """Be a worker. None of the first process's clean-up or exit handlers may run here."""
        status = 1
        try:
            structlog.contextvars.bind_contextvars(worker=number)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            self._run(number, Ties(lambda: _tell(writer), self._orphaned))
            status = 0
        except UnservableError as error:
            status = _UNSERVABLE
            _log.error("nothing may be served", reason=str(error), hint=error.hint)
        except DpeError as error:
            _log.error("worker cannot start", reason=str(error))
        except BaseException as error:
            logs.log_defect("worker failed", error)
        finally:
            logs.finish()
            os._exit(status)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to all workers."""
        for pid in self._processes:
            os.kill(pid, number)

    def bury(self) -> list[tuple[_Process, int]]:
        """Return the workers that have died, and how: exit status, or minus the signal."""
        dead: list[tuple[_Process, int]] = []
        for pid in list(self._processes):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                dead.append((self._processes.pop(pid), os.waitstatus_to_exitcode(status)))
        return dead

    def end(self, number: signal.Signals) -> None:
        """Let all workers finish, as they do on this signal, and wait for them."""
        self.tell(number)
        for pid in list(self._processes):
            os.waitpid(pid, 0)
            del self._processes[pid]
        os.close(self._alive)
        os.close(self._orphaned)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


def _tell(writer: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits until a replaced worker is ready
        os.write(writer, b"\1")
    os.close(writer)


def supervise(
    count: int, run: Run, ready: Callable[[], None], look: Callable[[], None] = lambda: None, pulse: Pulse | None = None
) -> None:
    """Keep ``count`` workers running until SIGTERM or SIGINT; ``ready`` is called once, when all of them serve.

    ``look`` is called then, and whenever a process has ended that may be none of the workers. By ``pulse``, the workers
    say that they go on.

    Raises WorkersError when one dies soon after its start. No thread may be running, as processes are forked.
    """
    pulse = pulse or Pulse(count)
    workers, manager = _Workers(run, pulse), Manager(pulse, watchdog())
    received: signal.Signals | None = signal.SIGTERM
    try:
        for reader in [workers.start(number) for number in range(count)]:
            with open(reader, "rb") as readable:  # noqa: PTH123  # a descriptor
                if not readable.read(1):
                    raise WorkersError("a worker ended before it could serve", hint="the log says why")
        ready()
        look()
        while (received := _wait(manager.wait)) not in (signal.SIGTERM, signal.SIGINT):
            manager.look()
            if received is None:
                continue
            if received == signal.SIGHUP:
                manager.reload()
                workers.tell(signal.SIGHUP)
            look()
            for process, status in workers.bury():
                _log.error("worker died", worker=process.number, **describe(status))
                if status == _UNSERVABLE:
                    raise WorkersError("nothing may be served", hint="the log says why, and what to run")
                if time.monotonic() - process.started < STEADY:
                    raise WorkersError(
                        f"worker {process.number} died soon after its start", hint="the log says why; start again"
                    )
                os.close(workers.start(process.number))
                _log.warning("worker started again", worker=process.number)
        _log.info("stopping")
        notify("STOPPING=1")
    finally:
        workers.end(signal.SIGINT if received == signal.SIGINT else signal.SIGTERM)


def _wait(seconds: float | None) -> signal.Signals | None:
    """Wait for a signal; return None if none comes in time."""
    if seconds is None:
        return signal.Signals(signal.sigwait(_SIGNALS))
    received = signal.sigtimedwait(_SIGNALS, seconds)
    return None if received is None else signal.Signals(received.si_signo)


def describe(status: int) -> dict[str, int | str]:
    """Return how a process has ended, for the log. ``status`` is its exit status, or minus the signal."""
    return {"exit_status": status} if status >= 0 else {"signal": signal.Signals(-status).name}
