"""Response times of refused messages: can an observer tell for which reason they are refused?"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.assurance.timing.measuring import Times, in_process, over_loopback
from tests.assurance.timing.refusals import Refusals
from tests.assurance.timing.telling_apart import BLOCK, Comparison, compare, quick, share_found

MARGIN = 1_000
"""Nanoseconds. Differences inside the server must be shown to be below this; over loopback none may be seen."""
RUNS = 20
"""Into how many runs the planted observations are divided, to see in how many of them a delay is found."""


def main(arguments: Sequence[str]) -> int:
    """Return 0 if no class can be told from another, 1 if one can or a planted delay is not found."""
    parser = argparse.ArgumentParser(
        prog="./tools/assure timing",
        description="Measures how long refused messages of every class take, and tests whether the classes differ.",
        epilog="The machine should have nothing else to do. 40,000 rounds take some ten minutes.",
    )
    parser.add_argument("--rounds", type=int, default=40_000, help="observations of each class (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the classes (default: %(default)s)")
    parser.add_argument("--where", choices=("process", "loopback", "both"), default="both")
    parser.add_argument("--pin", action="store_true", help="client and server on a core each: for a quiet machine")
    parser.add_argument("--no-wait", action="store_true", help="leave out transactions that expire after five minutes")
    given = parser.parse_args(arguments)
    if given.rounds < 2 * BLOCK:
        parser.error(f"--rounds: at least {2 * BLOCK}")
    found = []
    with tempfile.TemporaryDirectory(prefix="dpe-timing-") as directory:
        if given.where != "loopback":
            refusals = Refusals(Path(directory) / "process")
            found += _judge("In process", in_process(refusals, given.rounds, given.seed), MARGIN)
        if given.where != "process":
            refusals = Refusals(Path(directory) / "loopback")
            measured = over_loopback(
                refusals, given.rounds, given.seed, Path(directory), pin=given.pin, wait=not given.no_wait
            )
            found += _judge("Over loopback", measured, None)
    for line in found:
        print(f"found: {line}")
    if found:
        print(f"again: ./tools/assure timing {' '.join(arguments)}")
    return 1 if found else 0


def _judge(where: str, measured: Iterator[Times], margin: int | None) -> list[str]:
    """Print a table for each of the four measurements. Return what was found.

    With a ``margin``, every difference must be shown to be below it. Without one, no two classes may be told apart.
    """
    found = []
    for kind in ("REQUEST", "SUCCESS", "session"):
        for name, comparison in _table(f"{where}, {kind}", next(measured)).items():
            if margin is not None and not comparison.within(margin):
                found.append(f"{where}: {name} is not shown to be within {margin} ns of the first class")
            if margin is None and comparison.told_apart:
                found.append(f"{where}: {name} can be told from the first class")
    times = next(measured)
    comparisons = _table(f"{where}, planted", times)
    reference, *_, largest = times
    size = len(times[reference]) // RUNS // BLOCK * BLOCK
    if size >= 2 * BLOCK:
        for name in comparisons:
            share = share_found(times[reference], times[name], size)
            print(f"{name}: found in {share:.0%} of the runs of {size} observations")
    if not comparisons[largest].told_apart:
        found.append(f"{where}: {largest} was not found; the measurement is worth nothing")
    return found


def _table(title: str, times: Times) -> dict[str, Comparison]:
    """Print how each class compares with the first. Return the comparisons."""
    reference, *others = times
    print(f"\n{title}: {len(times[reference])} observations of each class; µs")
    print(f"{'':44}{'quick':>9}{'differs':>9}{'+-':>7}{'t':>7}{'rank':>7}{'finds':>7}")
    print(f"{reference:44}{quick(times[reference]) / 1e3:9.2f}")
    compared = {name: compare(times[reference], times[name]) for name in others}
    for name, one in compared.items():
        figures = f"{one.difference / 1e3:9.3f}{one.error / 1e3:7.3f}{one.t:7.1f}{one.rank:7.1f}"
        print(f"{name:44}{quick(times[name]) / 1e3:9.2f}{figures}{one.detectable / 1e3:7.2f}")
    sys.stdout.flush()
    return compared
