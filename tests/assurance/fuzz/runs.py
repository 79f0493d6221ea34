"""Runs of targets, each in its own process, and their results."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from tests.assurance.fuzz import corpus
from tests.assurance.fuzz.targets import Target, load

ROOT = Path(__file__).parents[3]
MOST_KEPT = 400
"""The most inputs in the kept corpus of one target."""
MINIMIZING = 4_000
"""How often it is tried to shorten an input that breaks an invariant."""

_COVERED = re.compile(r"#\d+\s+\w+\s+cov: (\d+) ft: (\d+)")
_COUNTED = re.compile(r"#(\d+)\s")
_DONE = re.compile(r"Done (\d+) runs")


def has_atheris() -> bool:
    """Return whether runs are guided by coverage on this machine."""
    return importlib.util.find_spec("atheris") is not None


class Result(NamedTuple):
    """The result of one run."""

    target: str
    executions: int
    edges: int | None
    """Covered edges of the code, and features, which are edges with their counts. None without atheris."""
    features: int | None
    inputs: int
    """Inputs that covered something new."""
    found: bytes | None
    """An input that breaks the invariant, or is too slow."""
    report: str
    """What the child wrote to stderr when it failed."""


class Run(NamedTuple):
    """How to run a target."""

    target: str
    executions: int
    seed: int
    guided: bool
    keep: bool = False

    def result(self, report: "Progress") -> Result:
        """Run it in a child process."""
        with tempfile.TemporaryDirectory(prefix="dpe-fuzz-") as name:
            folder = Path(name)
            options = ["--executions", str(self.executions), "--seed", str(self.seed)]
            status, lines = _child(self.target, folder, [*options, *["--unguided"][self.guided :]], report)
            result = self._read(folder, status, lines)
            if self.keep and self.guided and result.found is None:
                self._keep(folder, report)
        return result

    def _read(self, folder: Path, status: int, lines: list[str]) -> Result:
        artifact = next((path for path in folder.glob("*-*") if path.is_file()), None)
        covered = [found for found in map(_COVERED.match, lines) if found]
        counted = [found for found in map(_COUNTED.match, lines) if found]
        done = next((found for found in map(_DONE.match, lines) if found), None)
        edges, features = (int(covered[-1][1]), int(covered[-1][2])) if covered else (None, None)
        found = None if artifact is None else artifact.read_bytes()
        failed = artifact is not None or status != 0 or done is None
        return Result(
            self.target, int(done[1] if done else counted[-1][1] if counted else 0), edges, features,
            len(list((folder / "new").glob("*"))), found, "\n".join(lines[-40:]) if failed else "",
        )  # fmt: skip

    def _keep(self, folder: Path, report: "Progress") -> None:
        """Keep the smallest set of inputs that covers what all of them cover."""
        merged = folder / "merged"
        merged.mkdir()
        options = ["--executions", "0", "--seed", str(self.seed), "--merge", str(merged)]
        status, lines = _child(self.target, folder, options, report)
        assert status == 0, "\n".join(lines[-20:])
        inputs = sorted((path.read_bytes() for path in merged.iterdir()), key=len)
        corpus.write(self.target, inputs[:MOST_KEPT])


class Progress:
    """Shows the progress of runs on stderr, from many threads."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._lock = Lock()

    def tell(self, target: str, line: str) -> None:
        """Pass on one in about a hundred of libFuzzer's lines, and no other line."""
        if not self._quiet and "\tpulse " in line:
            with self._lock:
                print(f"{target}: {line}", file=sys.stderr, flush=True)


def _child(target: str, folder: Path, options: list[str], progress: Progress) -> tuple[int, list[str]]:
    """Run a child. Return its exit status, and what it wrote to stderr."""
    command = [sys.executable, "-P", "-m", "tests.assurance.fuzz.child", target, str(folder), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    lines = []
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as child:
        assert child.stderr is not None
        for line in child.stderr:
            lines.append(line.rstrip("\n"))
            progress.tell(target, lines[-1])
            del lines[:-2_000]
    return child.returncode, lines


def run_all(runs: list[Run], jobs: int, progress: Progress) -> list[Result]:
    """Run some targets side by side."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda run: run.result(progress), runs))


def breaks(target: Target, data: bytes) -> BaseException | None:
    """Return what an input raises, or None."""
    try:
        target.check(data)
    except Exception as error:
        return error
    return None


def minimized(name: str, data: bytes) -> bytes:
    """Return a shorter input that breaks the target's invariant in the same way."""
    target = load(name)
    error = breaks(target, data)
    size, attempts = len(data), 0
    while error is not None and size > 0 and attempts < MINIMIZING:
        at = 0
        while at < len(data) and attempts < MINIMIZING:
            shorter = data[:at] + data[at + size :]
            attempts += 1
            if type(breaks(target, shorter)) is type(error):
                data = shorter
            else:
                at += size
        size //= 2
    return data
