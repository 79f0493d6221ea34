"""What the instruments for a real server share: the command line, a folder for each trial, what is printed."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from dpe_coap.errors import LocalError

MOST_SHOWN = 20
"""How many faults of one trial are shown one by one."""


class Report(Protocol):
    """The result of a trial. ``str`` describes it without the faults."""

    @property
    def faults(self) -> Sequence[str]:
        """What was found."""
        ...


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for the instrument of this name, whose docstring is ``description``."""
    assert description is not None
    what, _, how = description.partition("\n\n")
    return argparse.ArgumentParser(prog=f"./tools/assure {name}", description=what, epilog=how)


def run_each(trials: Iterable[Callable[[Path], Report]]) -> int:
    """Run trials, each in an empty folder, and print their reports.

    Returns the exit status: 0 if nothing was found, 1 if something was found or cannot be tried here.
    """
    found = False
    for trial in trials:
        with tempfile.TemporaryDirectory(prefix="dpe-assure-") as folder:
            try:
                report = trial(Path(folder))
            except LocalError as error:
                print(f"cannot be tried here: {error}", file=sys.stderr)
                return 1
        print(report, *report.faults[:MOST_SHOWN], sep="\n", flush=True)
        found = found or bool(report.faults)
    return 1 if found else 0
