"""A server in its own process."""

import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dpe_server.operation.state_dir import StateDir


class Process:
    """``python -m dpe_server``, whose standard error goes to a file."""

    def __init__(self, state: StateDir, log: Path, addresses: Sequence[str], program: Sequence[str]) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "default", *program, str(state.path), *addresses],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.uri = ""

    def started(self) -> str:
        """Wait until it listens, and return the address."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on coap://"), self.log.read_text()
        self.uri = line.removeprefix("listening on ").strip()
        return self.uri

    def ended(self) -> int:
        return self.process.wait(30)

    def logged(self, event: str, times: int = 1) -> str:
        """Wait until a text was logged so many times. Return the log."""
        while (text := self.log.read_text()).count(event) < times:
            assert self.process.poll() is None, text
            select.select([], [], [], 0.01)
        return text


Start = Callable[..., Process]


def children(parent: int) -> list[int]:
    """The process IDs of its children: a server's workers."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.parent.name, stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(rest[1]) == parent and rest[0] != "Z":
            found.append(int(pid))
    return sorted(found)
