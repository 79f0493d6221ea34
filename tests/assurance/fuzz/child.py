"""One run of one target, in a process of its own: ``python -m tests.assurance.fuzz.child`` with what ``runs.py`` gives.

atheris brings libFuzzer, which ends the process by itself: with 0, or with what it says of a failure on stderr.
"""

import argparse
import contextlib
import sys
from pathlib import Path
from random import Random

from tests.assurance.fuzz import corpus, seeded
from tests.assurance.fuzz.targets import UNDER_TEST, Target, load

TIMEOUT = 600
"""Seconds of an execution that count as a hang: a process that yields to all others may have to wait for minutes."""


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--executions", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--merge", type=Path)
    parser.add_argument("--unguided", action="store_true")
    arguments = parser.parse_args()
    if arguments.unguided:
        _unguided(load(arguments.target), arguments.folder, arguments.executions, arguments.seed)
    else:
        _guided(arguments.target, arguments.folder, arguments.executions, arguments.seed, arguments.merge)


def _unguided(target: Target, folder: Path, executions: int, seed: int) -> None:
    kept = [*corpus.read(target.name), *target.seeds()]
    for data, _ in zip(seeded.inputs(target, kept, seed), range(executions), strict=False):
        try:
            target.check(data)
        except BaseException:
            (folder / "crash-seeded").write_bytes(data)
            raise
    print(f"Done {executions} runs", file=sys.stderr)


def _guided(name: str, folder: Path, executions: int, seed: int, merge: Path | None) -> None:
    import atheris

    with contextlib.redirect_stdout(sys.stderr), atheris.instrument_imports(include=UNDER_TEST[name]):
        target = load(name)
    kept, new = folder / "kept", folder / "new"
    for number, data in enumerate([*corpus.read(name), *target.seeds()]):
        kept.mkdir(exist_ok=True)
        (kept / f"{number:05}").write_bytes(data)
    new.mkdir(exist_ok=True)
    dictionary = folder / "words"
    dictionary.write_text(
        "".join('"{}"\n'.format("".join(f"\\x{octet:02x}" for octet in word)) for word in target.words)
    )
    options = [
        sys.argv[0], f"-seed={seed}", f"-max_len={target.longest}", f"-timeout={TIMEOUT}",
        f"-report_slow_units={TIMEOUT}", f"-artifact_prefix={folder}/", "-print_final_stats=1",
    ]  # fmt: skip
    if merge is None:
        options += [f"-runs={executions}", f"-dict={dictionary}", str(new), str(kept)]
    else:
        options += ["-set_cover_merge=1", str(merge), str(kept), str(new)]
    repair = target.repair

    def mutated(data: bytes, longest: int, seed: int) -> bytes:
        changed: bytes = atheris.Mutate(data, longest)
        if repair is None or seed & 1:
            return changed
        return repair(changed, Random(seed))[:longest]

    if repair is None:
        atheris.Setup(options, target.check)
    else:
        atheris.Setup(options, target.check, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
