"""A PostgreSQL server of one's own: the installed programs, a folder, a Unix socket in it and no port.

It runs as who starts it, or as nobody when that is root, whom PostgreSQL refuses.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from dpe_coap.errors import LocalError

USER = "dpe"
DATABASE = "postgres"
NOBODY = 65534
READY_SECONDS = 60.0
SETTINGS = {
    # In files in the folder: else something would be left of a server that was killed.
    "dynamic_shared_memory_type": "mmap",
    # A server that comes back after a kill need not open each of its thousand files to have it on the disk.
    "recovery_init_sync_method": "syncfs",
}
LOOK = 0.02
"""Seconds between two looks at a server that starts."""
_STATUS_LINE = 7
"""Where postmaster.pid says whether the server is ready, and the line before, what shared memory it has."""
_TICKS = os.sysconf("SC_CLK_TCK")


def programs() -> Path | None:
    """Return where PostgreSQL's server programs are: Debian keeps them out of PATH. The newest of several."""
    found = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else Path(found).parent if found else None


def needed_programs() -> Path:
    """Return where PostgreSQL's server programs are, or raise LocalError."""
    if (found := programs()) is None:
        raise LocalError("PostgreSQL is not installed", hint="sudo apt-get install postgresql")
    return found


def own(folder: Path) -> None:
    """Give an empty folder to whom the server runs as."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)


class Instance:
    """A server whose data, log and socket are in ``folder``, which must be there (``own``).

    ``settings`` are those of postgresql.conf. The server runs from ``start`` to ``kill`` or ``stop``; leaving the
    ``with`` block ends it, whatever has become of it, and leaves nothing behind outside the folder.
    """

    def __init__(self, programs: Path, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder.resolve()
        self.name = folder.name
        self._programs = programs
        self._settings = {**SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._identity = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.kill()

    @property
    def data(self) -> Path:
        """The folder of the server's data."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    # -- its data --

    def make(self, *, segment: int = 1) -> None:
        """Make a database. It is for this machine alone, so nobody is asked for a password.

        Its WAL has segments of ``segment`` MB: small ones are made and copied sooner, large ones are for large loads.
        """
        options = ("--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync", "--wal-segsize", str(segment))
        self.run("initdb", "-D", self.data, "--username", USER, *options)

    def copy(self, primary: "Instance") -> None:
        """Take a copy of the data of a server that runs, and be its standby when it is started."""
        self.forget()
        options = ("--checkpoint", "fast", "--wal-method", "stream", "--no-sync", "--write-recovery-conf")
        self.run("pg_basebackup", "-D", self.data, "-h", primary.folder, "-U", USER, *options)

    def forget(self) -> None:
        """Remove the data of a server that does not run."""
        shutil.rmtree(self.data, ignore_errors=True)

    # -- its processes --

    @property
    def runs(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, and return when it can be asked; LocalError with its last words."""
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        with suppress(FileNotFoundError):
            (self.data / "postmaster.pid").unlink()  # of a server that was killed: its number may be another's now
        with self.log.open("ab") as log:
            self._process = self.spawn(
                "postgres",
                "-D",
                self.data,
                "-k",
                self.folder,
                "-h",
                "",
                f"-ccluster_name={self.name}",
                *options,
                log=log,
            )
        end = time.monotonic() + READY_SECONDS
        while self._told(_STATUS_LINE) not in ("ready", "standby"):
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                fatal = [line for line in words if "FATAL" in line] or words or ["it said nothing"]
                raise LocalError(f"PostgreSQL did not start: {fatal[-1]}")
            time.sleep(LOOK)

    def kill(self) -> None:
        """Kill all its processes with SIGKILL, as a machine that is gone, and wait for their end."""
        if self._process is None:
            return
        pids = self.pids()
        memory = self._told(_STATUS_LINE - 1).split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        for pid in pids[1:]:
            while _alive(pid):
                time.sleep(0.001)
        if len(memory) == 2:  # the kernel keeps it beyond the end of all processes
            subprocess.run(["ipcrm", "-m", memory[1]], stderr=subprocess.DEVNULL, check=False, **self._identity)

    def stop(self) -> None:
        """Stop it in order, and wait for its end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Halt all its processes with SIGSTOP, as a machine that hangs."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)  # first, so that it starts no other
        for pid in self.pids()[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def pids(self) -> list[int]:
        """Return the numbers of its processes, the first one's first."""
        if self._process is None:
            return []
        parent = self._process.pid
        return [parent, *(pid for pid, stat in _stats() if int(stat[1]) == parent)]

    @property
    def processor(self) -> float:
        """Seconds of processor time that its processes have used, those that have ended included."""
        parent = None if self._process is None else self._process.pid
        used = 0
        for pid, stat in _stats():
            if pid == parent:
                used += sum(map(int, stat[11:15]))  # with those of children that have ended
            elif int(stat[1]) == parent:
                used += sum(map(int, stat[11:13]))
        return used / _TICKS

    def _told(self, line: int) -> str:
        """Return a line of postmaster.pid, by which PostgreSQL's own programs know the server, too."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return ""
        mine = self._process is not None and lines[:1] == [str(self._process.pid)]
        return lines[line].strip() if mine and len(lines) > line else ""

    # -- what it is told --

    def promote(self) -> None:
        """Make a standby the primary, and return when it takes commits."""
        self.run("pg_ctl", "-D", self.data, "-w", "promote")

    def sql(self, statement: str, *, database: str = DATABASE) -> list[list[str]]:
        """Execute a statement; return its rows as text. LocalError."""
        printed = self.run(
            "psql", "-h", self.folder, "-U", USER, "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement
        )
        return [line.split("|") for line in printed.splitlines()]

    def set(self, name: str, value: str) -> None:
        """Change a setting of the server that runs."""
        self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    def spawn(self, program: str, *arguments: str | Path, log: Any = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs as the server's user. Ctrl-C does not reach it."""
        return subprocess.Popen(
            [self._programs / program, *arguments],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            **self._identity,
        )  # fmt: skip

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run one of PostgreSQL's programs as the server's user, and return what it prints. LocalError if it fails."""
        done = subprocess.run(
            [self._programs / program, *arguments],
            check=False, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True,
            **self._identity,
        )  # fmt: skip
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise LocalError(words[0] if words else f"{program} failed: {done.returncode}")
        return str(done.stdout, "utf-8")


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Yield the processes of this machine: the number, and what /proc/PID/stat has after the name (proc(5))."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue


def _alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended, and whose end nobody wants to know, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
