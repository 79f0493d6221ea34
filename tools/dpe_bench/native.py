"""The programs in C: compiled when they are needed, from the sources in native/."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dpe_coap.errors import LocalError

SOURCES = Path(__file__).parent / "native"


class Missing(LocalError):
    """A program or library that a benchmark needs is not on this machine; the hint says how to install it."""


def compile_c(folder: Path, name: str, sources: Sequence[str], libraries: Sequence[str], hint: str) -> Path:
    """Compile ``sources`` into the program ``name`` in ``folder`` and return its path.

    ``libraries`` are names for pkg-config. Raises Missing, with ``hint``, when that cannot be.
    """
    for program in ("gcc", "pkg-config"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed", hint="sudo apt-get install gcc pkg-config libc6-dev")
    found = subprocess.run(
        ["pkg-config", "--cflags", "--libs", *libraries], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise Missing(f"{' and '.join(libraries)}: headers are not installed", hint=hint)
    made = folder / name
    command = ["gcc", "-O2", "-o", str(made), *(str(SOURCES / source) for source in sources), *found.stdout.split()]
    done = subprocess.run([*command, "-lm"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{name} does not compile: {done.stderr.strip().splitlines()[0]}", hint=hint)
    return made
