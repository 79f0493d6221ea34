"""Hostile input: fuzzes what strangers and files give to the server and the device, guided by coverage.

Each target has an invariant in one sentence. A run ends at the first input that breaks it, which is then shortened.
Where atheris cannot be installed, the same targets run on the kept inputs and on mutations of them, by the same seed,
without guidance.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.assurance.fuzz.runs import Progress, Result, Run, breaks, has_atheris, minimized, run_all
from tests.assurance.fuzz.targets import UNDER_TEST, load


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 an invariant is broken, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="./tools/assure fuzz", description=__doc__, epilog=_epilog(),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, unless some are named")
    parser.add_argument("--executions", type=int, default=20_000, help="of each target")
    parser.add_argument("--seed", type=int, default=1, help="from 1; the same seed repeats the run")
    parser.add_argument("--jobs", type=int, default=1, help="targets that run side by side")
    parser.add_argument("--unguided", action="store_true", help="mutate by chance alone, as without atheris")
    parser.add_argument("--keep", action="store_true", help="keep the inputs that cover something new, in corpus/")
    parser.add_argument("--input", metavar="HEX", help="run one target on this input alone")
    given = parser.parse_args(arguments)
    names = given.targets or list(UNDER_TEST)
    if unknown := [name for name in names if name not in UNDER_TEST]:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(UNDER_TEST)}")
    if given.input is not None:
        if len(given.targets) != 1:
            parser.error("--input asks for one TARGET")
        return _one_input(names[0], given.input, parser)
    if min(given.executions, given.seed, given.jobs) < 1:
        parser.error("--executions, --seed and --jobs are 1 or more")
    guided = has_atheris() and not given.unguided
    if not guided:
        print("not guided by coverage: mutations of the kept inputs, by seed", file=sys.stderr)
    runs = [Run(name, given.executions, given.seed, guided, given.keep) for name in names]
    results = run_all(runs, given.jobs, Progress())
    print(table(results))
    for result in results:
        if result.report:
            print(told(result), flush=True)
    return int(any(result.report for result in results))


def table(results: Sequence[Result]) -> str:
    """Return the table of runs."""
    lines = [f"{'target':17} {'executions':>12} {'edges':>6} {'features':>9} {'new inputs':>11}  broken"]
    for name, executions, edges, features, inputs, _, report in results:
        covered = f"{'-' if edges is None else edges:>6} {'-' if features is None else features:>9}"
        lines.append(f"{name:17} {executions:>12,} {covered} {inputs:>11}  {'yes' if report else 'no'}")
    return "\n".join(lines)


def told(result: Result) -> str:
    """Say what was found and how to repeat it."""
    if result.found is None:
        return f"\n{result.target} failed without an input:\n{result.report}"
    shortest = minimized(result.target, result.found)
    return (
        f"\n{result.target}: {load(result.target).invariant}\n{result.report}\n"
        f"broken by {shortest.hex()}\nrepeat: ./tools/assure fuzz {result.target} --input {shortest.hex()}"
    )


def _one_input(name: str, text: str, parser: argparse.ArgumentParser) -> int:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        parser.error("--input is not hex")
    error = breaks(load(name), data)
    if error is None:
        print(f"{name}: the invariant holds for these {len(data)} bytes")
        return 0
    print(f"{name}: broken by {type(error).__name__}: {error}")
    raise error


def _epilog() -> str:
    return "targets: " + ", ".join(UNDER_TEST)


__all__ = ["Result", "main", "table", "told"]
