"""A server under measurement: a process on a core of its own, its CPU time and its memory."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from dpe_coap.errors import LocalError

START_SECONDS = 20
STOP_SECONDS = 20

_TICKS = os.sysconf("SC_CLK_TCK")


class Cpu(NamedTuple):
    """CPU time in seconds, by the kernel's count."""

    user: float
    kernel: float

    def since(self, earlier: "Cpu") -> "Cpu":
        """Return what was used from ``earlier`` on."""
        return Cpu(self.user - earlier.user, self.kernel - earlier.kernel)


class Cores(NamedTuple):
    """Which core the server has to itself, and which the load generator; None: wherever the kernel puts it."""

    server: int | None
    generator: int | None

    @classmethod
    def here(cls) -> "Cores":
        """Choose from the cores that this process may use; LocalError where that cannot be said."""
        if sys.platform != "linux":
            raise LocalError("the benchmarks of the server need Linux", hint="run them on a Linux machine")
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


def on_core(core: int | None, command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` on one core."""
    return list(command) if core is None else ["taskset", "--cpu-list", str(core), *command]


class ServerUnderMeasurement:
    """Runs a command that prints a line beginning with ``ready`` once it serves; SIGTERM ends it.

    Its standard error goes to the file ``log``. Leaving the ``with`` block stops it; ``last_words`` are then what it
    printed after the ready line.
    """

    def __init__(
        self, command: Sequence[str], log: Path, *, core: int | None, ready: str = "ready", cwd: Path | None = None
    ) -> None:
        self._command = on_core(core, command)
        self._log = log
        self._ready = ready
        self._cwd = cwd
        self.first_words = ""
        """The ready line."""
        self.last_words: list[str] = []

    def __enter__(self) -> Self:
        """Return when the server is ready; LocalError with its last words when it does not get there."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self._cwd,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        try:
            readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
            self.first_words = self._process.stdout.readline() if readable else ""
            if not self.first_words.startswith(self._ready):
                raise LocalError(f"a server did not start: {self._last_line()}")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self._stop()

    def cpu(self) -> Cpu:
        """Return the CPU time used so far, of all threads and child processes; LocalError when the server has ended."""
        if self._process.poll() is not None:
            raise LocalError(f"a server has ended: {self._last_line()}")
        used = [0, 0]
        for fields in self._family().values():
            for index in range(4):  # utime, stime, and the two of children that have ended: fields 14 to 17 of proc(5)
                used[index % 2] += int(fields[11 + index])
        return Cpu(used[0] / _TICKS, used[1] / _TICKS)

    def resident(self) -> int:
        """Return the bytes of memory in use now (resident set), of all processes together."""
        pages = sum(int(fields[21]) for fields in self._family().values())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def move_children(self, core: int | None) -> None:
        """Have the processes that it has started, and all that they have started, run on one core."""
        if core is not None:
            for pid in self._family():
                if pid != self._process.pid:
                    os.sched_setaffinity(pid, {core})

    def _family(self) -> dict[int, list[str]]:
        """Return what the kernel tells of the process and its descendants, by their numbers: proc(5), stat, from the
        third field on."""
        told: dict[int, list[str]] = {}
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):  # it has ended meanwhile
                    text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                    fields = text.rpartition(")")[2].split()  # the second field, a name, may hold blanks
                    told[int(entry.name)] = fields
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
        family = [self._process.pid]
        for pid in family:
            family += children.get(pid, [])
        return {pid: told[pid] for pid in family}

    def _last_line(self) -> str:
        words = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return words[-1] if words else "it said nothing"

    def _stop(self) -> None:
        self._process.terminate()
        try:
            words, _ = self._process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            words, _ = self._process.communicate()
        self.last_words = words.splitlines()
