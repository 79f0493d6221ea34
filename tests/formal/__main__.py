"""Explores the Spin models and their mutants, and prints what was found; or writes the inputs for ProVerif."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.formal import symbolic
from tests.formal.spin import MODELS, Job, ModelError, Result, explore_all, missing, plan


def table(runs: Sequence[Job], explored: Sequence[Result], mutants: Sequence[Job], caught: Sequence[Result]) -> str:
    """Return the findings as text."""
    width = max(len(job.name) for job in [*runs, *mutants])
    lines = [f"{'run':{width}}  {'states':>10}  {'transitions':>11}  depth  errors"]
    for job, result in zip(runs, explored, strict=True):
        lines.append(
            f"{job.name:{width}}  {result.states:10,}  {result.transitions:11,}  {result.depth:5}  "
            f"{result.violated or 'none'}"
        )
    if not mutants:
        return "\n".join(lines)
    lines += ["", f"{'fault planted in the model':{width}}  caught by"]
    for job, result in zip(mutants, caught, strict=True):
        lines.append(f"{job.name:{width}}  {result.violated or 'NOTHING'}")
    right = sum(job.caught_by == result.violated for job, result in zip(mutants, caught, strict=True))
    lines.append(f"{right} of {len(mutants)} caught, each by the property that should")
    return "\n".join(lines)


def main() -> int:
    """Return the exit status: 1 if a model has an error, or a fault was not caught as it should be."""
    plans = [plan(name)[:2] for name in MODELS]
    names = [run.name for runs, _ in plans for run in runs]
    parser = argparse.ArgumentParser(prog="tools/models", description=__doc__)
    parser.add_argument("run", nargs="*", help=f"only this run, without mutants: {', '.join(names)}")
    parser.add_argument("--symbolic", type=Path, metavar="FOLDER", help="write the inputs for ProVerif into FOLDER")
    arguments = parser.parse_args()
    unknown = set(arguments.run) - set(names)
    if unknown:
        parser.error(f"no such run: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if arguments.symbolic:
        print(f"{symbolic.write(arguments.symbolic)} inputs in {arguments.symbolic}")
        return 0
    absent = missing()
    if absent:
        print(f"not installed: {', '.join(absent)}; on Debian: apt-get install spin gcc libc6-dev", file=sys.stderr)
        return 1
    if arguments.run:
        plans = [([run for run in runs if run.name in arguments.run], []) for runs, _ in plans]
    jobs = [job for runs, mutants in plans for job in (*runs, *mutants)]
    try:
        results = dict(zip([job.name for job in jobs], explore_all(jobs), strict=True))
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n\n".join(table(*found(runs, results), *found(mutants, results)) for runs, mutants in plans if runs))
    return int(any(job.caught_by != results[job.name].violated for job in jobs))


def found(jobs: Sequence[Job], results: Mapping[str, Result]) -> tuple[Sequence[Job], Sequence[Result]]:
    """Return jobs and what was found of each, by its name."""
    return jobs, [results[job.name] for job in jobs]


if __name__ == "__main__":
    sys.exit(main())
