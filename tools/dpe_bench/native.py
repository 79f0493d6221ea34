"""The programs in C: compiled when they are needed, from the sources in native/."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dpe_coap.errors import LocalError

SOURCES = Path(__file__).parent / "native"


class Missing(LocalError):
    """A program or library that a benchmark needs is not on this machine; the hint says how to install it."""


def flags(libraries: Sequence[str], hint: str, *, system: Path | None = None) -> list[str]:
    """Return what gcc must be told of ``libraries``, named as for pkg-config.

    They are in the unpacked packages at ``system``, which then has a newer libc too, or on this machine. Raises
    Missing, with ``hint``, when they are not there.
    """
    variables, more = dict(os.environ), ["-lm"]
    if system is not None:
        folders = map(str, system.glob("usr/lib/*/pkgconfig"))
        variables |= {"PKG_CONFIG_SYSROOT_DIR": str(system), "PKG_CONFIG_LIBDIR": os.pathsep.join(folders)}
        more.append("-Wl,--allow-shlib-undefined")
    command = ["pkg-config", "--cflags", "--libs", *libraries]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if found.returncode:
        raise Missing(f"{' and '.join(libraries)}: headers are not installed", hint=hint)
    return [*found.stdout.split(), *more]


def compile_c(
    folder: Path, name: str, sources: Sequence[str], libraries: Sequence[str], hint: str, *, system: Path | None = None
) -> Path:
    """Compile ``sources`` into the program ``name`` in ``folder`` and return its path.

    For the rest see ``flags``. Raises Missing, with ``hint``, when that cannot be.
    """
    for program in ("gcc", "pkg-config"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed", hint="sudo apt-get install gcc pkg-config libc6-dev")
    linked = flags(libraries, hint, system=system)
    made = folder / name
    command = ["gcc", "-O2", "-o", str(made), *(str(SOURCES / source) for source in sources), *linked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{name} does not compile: {done.stderr.strip().splitlines()[0]}", hint=hint)
    return made
