"""Coverage of the protocol core by its tests: every line and every branch."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.assurance.protocol_core import TESTS, are_core

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 if every line and branch runs, 1 if not or a test fails, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="./tools/assure coverage", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="only this file of the core, or more")
    files = parser.parse_args(arguments).files or list(TESTS)
    if not are_core(files):
        return 2
    return measure(files, sorted({test for file in files for test in TESTS[file]}))


def measure(files: Sequence[str], tests: Sequence[str]) -> int:
    """Run ``tests``, print the table for ``files``, and return 1 if a test fails or a branch never runs."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"COVERAGE_FILE": str(Path(folder) / "data")}

        def coverage(*arguments: str) -> bool:
            command = [sys.executable, "-P", "-m", "coverage", *arguments]
            return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0

        folders = ",".join({str(Path(file).parent) for file in files})  # so a file that no test imports counts, too
        pytest = ("-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *tests)
        if not coverage("run", "--branch", f"--source={folders}", *pytest):
            print("the coverage of tests that fail says nothing", file=sys.stderr)
            return 1
        shown = coverage("report", "--fail-under=100", "--precision=2", f"--include={','.join(files)}")
        return 0 if shown else 1
