"""Mutation testing of the protocol core: a fault put in anywhere is noticed by a test, or it is explained."""

import argparse
import hashlib
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.assurance.mutation.survivors import LIST, Fault, explained, strays
from tests.assurance.protocol_core import TESTS, are_core

if TYPE_CHECKING:
    from tests.assurance.mutation.mutants import Mutant

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = ROOT / ".cache" / "venv-mutation"
KILLED = ROOT / ".cache" / "mutation-killed"
"""A file with a line for each killed mutant: the SHA-256 of its file's name and source."""


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0; 1 if a mutant survives unexplained or the list is wrong; 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="./tools/assure mutation", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="only this file of the core, or more")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trials at a time; 1 unless given")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="for --sample; 1 unless given")
    parser.add_argument("--fresh", action="store_true", help="also try those again that were killed before")
    options = parser.parse_args(arguments)
    files = options.files or list(TESTS)
    if not are_core(files):
        return 2
    if Path(sys.prefix) != ENVIRONMENT:
        return _in_its_environment(arguments)
    if gone := strays(ROOT):
        print(f"listed in {LIST.relative_to(ROOT)}, but their lines are not there any more:")
        print("\n".join(map(str, gone)))
        return 1
    try:
        return _run(files, options)
    except RuntimeError as error:
        print(f"{error}\nhint: run these tests alone, with ./tools/test TEST", file=sys.stderr)
        return 1


def _in_its_environment(arguments: Sequence[str]) -> int:
    """Run where mutmut is installed, which the other tests do not need."""
    subprocess.run([ROOT / "tools/venv", ENVIRONMENT, "run", "build", "test", "mutation"], check=True)
    python = ENVIRONMENT / "bin" / "python"
    return subprocess.run([python, "-P", "-m", "tests.assurance", "mutation", *arguments], cwd=ROOT).returncode


def _run(files: Sequence[str], options: argparse.Namespace) -> int:
    from tests.assurance.mutation.mutants import mutants

    every = [mutant for file in files for mutant in mutants(ROOT, file)]
    if options.sample is not None:
        every = random.Random(options.seed).sample(every, min(options.sample, len(every)))
    before = set() if options.fresh or not KILLED.exists() else set(KILLED.read_text().split())
    again = [mutant for mutant in every if _name(mutant) not in before]
    print(f"{len(every)} mutants, {len(again)} to try", file=sys.stderr)
    survived: list[Fault] = []
    for file in files:
        survived += _try(file, [mutant for mutant in again if mutant.fault.file == file], options.jobs)
    return _report([mutant.fault for mutant in every], survived, whole=options.sample is None)


def _try(file: str, mutants: "Sequence[Mutant]", jobs: int) -> list[Fault]:
    """Try the mutants of a file, record the killed ones, and return the others."""
    from tests.assurance.mutation.trial import Trials

    by_source = {mutant.source: mutant for mutant in mutants}
    survived: list[Fault] = []
    how = Counter[str]()

    def tell(source: str, failed: str) -> None:
        if not failed:
            survived.append(by_source[source].fault)
            return
        how[failed if failed in ("import", "time") else "test"] += 1
        if failed != "time":  # on a busy machine it may only have been slow
            with KILLED.open("a") as killed:
                killed.write(_name(by_source[source]) + "\n")

    if mutants:
        Trials(ROOT, file, TESTS[file], jobs).run(list(by_source), tell)
        print(f"{file}: killed by {dict(how)}, {len(survived)} survived", file=sys.stderr)
    return survived


def _name(mutant: "Mutant") -> str:
    return hashlib.sha256(f"{mutant.fault.file}\0{mutant.source}".encode()).hexdigest()


def _report(every: Sequence[Fault], survived: Sequence[Fault], *, whole: bool) -> int:
    known = explained()
    made, alive = Counter(fault.file for fault in every), Counter(one.file for one in survived)
    print(f"{'file':36} {'mutants':>8} {'killed':>8} {'survived':>8} {'unexplained':>12}")
    unexplained = [fault for fault in survived if fault not in known]
    new = Counter(fault.file for fault in unexplained)
    rows = [(file, made[file], alive[file], new[file]) for file in made]
    for name, count, living, odd in (*rows, ("all", made.total(), alive.total(), new.total())):
        print(f"{name:36} {count:8} {count - living:8} {living:8} {odd:12}")
    status = 0
    if unexplained:
        print("\nsurvived, and not in the list; write a test that fails with it, or say why there is none:")
        print("\n".join(map(str, unexplained)))
        status = 1
    if whole and (dead := [one for one in known if one.file in made and one not in survived]):
        print("\nin the list, but killed now or no mutant any more; take it out:")
        print("\n".join(map(str, dead)))
        status = 1
    return status
