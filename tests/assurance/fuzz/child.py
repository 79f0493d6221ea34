"""One run of one target, in its own process: ``python -m tests.assurance.fuzz.child`` with arguments from ``runs.py``.

atheris contains libFuzzer, which ends the process by itself: with 0, or with a report of the failure on stderr.
"""

import argparse
import contextlib
import shlex
import sys
from pathlib import Path
from random import Random

from tests.assurance.fuzz import corpus, seeded
from tests.assurance.fuzz.targets import UNDER_TEST, Target, load

TIMEOUT = 600
"""Seconds after which an execution counts as a hang. A process that yields to all others may wait for minutes."""
PULSE = 1 << 18
"""How many executions there are between two progress lines, without atheris."""


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--executions", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--merge", type=Path)
    parser.add_argument("--unguided", action="store_true")
    arguments, inner = parser.parse_known_args()
    if arguments.unguided:
        _unguided(load(arguments.target), arguments.folder, arguments.executions, arguments.seed)
    else:
        _guided(arguments, inner)


def _unguided(target: Target, folder: Path, executions: int, seed: int) -> None:
    kept = [*corpus.read(target.name), *target.seeds()]
    for data, count in zip(seeded.inputs(target, kept, seed), range(executions), strict=False):
        if count and count % PULSE == 0:
            print(f"#{count}\tpulse ", file=sys.stderr, flush=True)
        try:
            target.check(data)
        except BaseException:
            (folder / "crash-seeded").write_bytes(data)
            raise
    print(f"Done {executions} runs", file=sys.stderr)


def _guided(arguments: argparse.Namespace, inner: list[str]) -> None:
    """Run libFuzzer. For a merge this runs the program again, by the command in ``argv[0]``, with its own options."""
    import atheris

    with contextlib.redirect_stdout(sys.stderr), atheris.instrument_imports(include=UNDER_TEST[arguments.target]):
        target = load(arguments.target)
    folder: Path = arguments.folder
    options = inner or [f"-seed={arguments.seed}", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    options += [f"-max_len={target.longest}", f"-timeout={TIMEOUT}", f"-report_slow_units={TIMEOUT}"]
    if not inner:
        new, kept = _write_corpus(target, folder)
        if arguments.merge is None:
            options += [f"-runs={arguments.executions}", f"-dict={_write_words(target, folder)}", str(new), str(kept)]
        else:
            options += ["-set_cover_merge=1", str(arguments.merge), str(kept), str(new)]
    program = [sys.executable, "-P", "-m", __spec__.name, target.name, str(folder), "--executions=1", "--seed=1"]
    options.insert(0, shlex.join(program))
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


def _write_corpus(target: Target, folder: Path) -> tuple[Path, Path]:
    """Write the kept inputs and the seeds as files. Return the folder for new inputs, and the folder of these."""
    new, kept = folder / "new", folder / "kept"
    for path in (new, kept):
        path.mkdir(exist_ok=True)
    for number, data in enumerate([*corpus.read(target.name), *target.seeds()]):
        (kept / f"{number:05}").write_bytes(data)
    return new, kept


def _write_words(target: Target, folder: Path) -> Path:
    """Write libFuzzer's dictionary."""
    lines = ['"{}"\n'.format("".join(f"\\x{octet:02x}" for octet in word)) for word in target.words]
    path = folder / "words"
    path.write_text("".join(lines))
    return path


if __name__ == "__main__":
    main()
