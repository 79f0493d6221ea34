"""Runs the commands that a document shows, and compares their output with what the document shows.

A block fenced as ```console has lines that begin with `$ `, each followed by its output. A command continues after a
backslash, or after << 'END' until END. One shell runs all blocks of a document in order, so files, variables and
background jobs last from block to block. In the output, `…` stands for anything within a line, and a line of `…` for
any lines. Bytes in hex, port numbers, times and dates may differ. A command must succeed unless its output shows an
error. After a command that ends with `&`, the output is awaited.
"""

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from markdown_it import MarkdownIt

DONE = b"\x1edone"

# What differs from run to run, and its stand-in.
HEX = re.compile(r"\b(?:[0-9a-f]{2}[ :]?){5,}[0-9a-f]{2}\b")
VARYING = [
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?"), "<time>"),
    (re.compile(r"(127\.0\.0\.1|\[::1\]|localhost):\d+"), r"\1:<port>"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(ms|µs|s)\b"), r"<number> \1"),
    (re.compile(r"[ \t]+"), " "),
]


@dataclass(frozen=True)
class Command:
    """A command of a document, its line, and the output shown for it."""

    line: int
    text: str
    output: str

    @property
    def in_background(self) -> bool:
        """Whether the shell goes on while the command runs."""
        return self.text.rstrip().endswith("&")


def commands(document: Path) -> Iterator[Command]:
    """Yield the commands of a Markdown document in order."""
    for token in MarkdownIt().parse(document.read_text(encoding="utf-8")):
        if token.type != "fence" or token.info.strip() != "console" or token.map is None:
            continue
        lines = token.content.splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        if starts[:1] != [0]:
            raise ValueError(f"{document.name}:{token.map[0] + 2}: a console block begins with a `$ ` line")
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            after = start + 1
            while lines[after - 1].endswith("\\"):
                after += 1
            if lines[after - 1].endswith("<< 'END'"):
                after = lines.index("END", after) + 1
            text = "\n".join([lines[start][2:], *lines[start + 1 : after]])
            yield Command(token.map[0] + 2 + start, text, "\n".join(lines[after:end]))


def normalised(text: str) -> str:
    """Return the text with a stand-in for everything that may differ from run to run."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = HEX.sub(lambda found: f"<{len(re.sub('[ :]', '', found[0])) // 2} bytes>", text)
    for pattern, stand_in in VARYING:
        text = pattern.sub(stand_in, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def agrees(shown: str, printed: str) -> bool:
    """Return whether a command printed what the document shows."""
    lines = (re.escape(line).replace("…", "[^\n]*") for line in normalised(shown).split("\n"))
    pattern = "\n".join(".*" if line == "[^\n]*" else line for line in lines)
    return re.fullmatch(pattern, normalised(printed), re.DOTALL) is not None


class Shell:
    """A shell in a folder, which gets its commands one by one. Leaving the context ends everything that it started."""

    def __init__(self, folder: Path, programs: Iterable[Path], timeout: float) -> None:
        """Start bash in ``folder``, with ``programs`` first on its PATH. ``timeout`` is in seconds for each command."""
        self.timeout = timeout
        variables = {
            "HOME": str(folder),
            "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
            "LC_ALL": "C.UTF-8",
        }
        variables |= {"COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> "Shell":
        """Return the shell."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the shell and everything it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def run(self, command: Command) -> tuple[str, int]:
        """Run a command; return what it printed and its exit status. Raises TimeoutError."""
        assert self.process.stdin is not None
        self.process.stdin.write(command.text.encode() + b"\necho " + DONE + b" $?\n")
        self.process.stdin.flush()
        printed, status = b"", None
        end = time.monotonic() + self.timeout
        while True:
            found = re.search(DONE + rb" (\d+)\n", printed)
            if found is not None:
                printed, status = printed[: found.start()] + printed[found.end() :], int(found[1])
            if status is not None and (not command.in_background or agrees(command.output, printed.decode())):
                return printed.decode(), status
            more = self._read(end)
            if not more:
                raise TimeoutError(f"{command.text!r} did not end as shown, after printing:\n{printed.decode()}")
            printed += more

    def _read(self, end: float) -> bytes:
        """Return what is printed next, or nothing if nothing comes before the end or the shell has ended."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
        return os.read(self.process.stdout.fileno(), 65536) if ready else b""
