"""Fixtures for every folder of tests."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import settings

from dpe_tools.cluster import instance

if TYPE_CHECKING:
    from tests.postgresql import Cluster

settings.register_profile("dpe", deadline=None)  # no test fails because it takes long
settings.load_profile("dpe")

# A shell that starts the tests in the background makes them ignore Ctrl-C, and everything that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = (ROOT / ".cache" / "peers" / "bin", Path(sys.executable).parent)
"""Where programs are looked for first: those of tools/fetch_peers, and those of this environment."""
FEATURES = {"coap-client-openssl": "Have OSCORE"}
"""What a program must say of itself when it is started without arguments."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """The test vectors of DPE-1. Byte strings are in hex."""
    loaded: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / "dpe1-vectors.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """A function from a program's name to its path. Without the program, the test is skipped, or fails if CI=true."""

    def require(name: str) -> str:
        found = shutil.which(name, path=os.pathsep.join([*map(str, PROGRAMS), os.environ.get("PATH", os.defpath)]))
        if found is None:
            missing(f"{name} is not installed")
        feature = FEATURES.get(name)
        if feature and feature not in subprocess.run([found], capture_output=True, text=True, check=False).stderr:
            missing(f"{found} does not say {feature!r}: run tools/fetch_peers")
        return found

    return require


@pytest.fixture(scope="session")
def micropython() -> str:
    """The path of a MicroPython interpreter, from DPE_MICROPYTHON or tools/fetch_micropython."""
    found = os.environ.get("DPE_MICROPYTHON", str(ROOT / ".cache" / "micropython" / "micropython"))
    if shutil.which(found) is None:
        missing("there is no MicroPython: run tools/fetch_micropython, or set DPE_MICROPYTHON")
    return found


@pytest.fixture(scope="session")
def postgresql_programs() -> Path:
    """Where PostgreSQL's server programs are."""
    found = instance.programs()
    if found is None:
        missing("PostgreSQL is not installed: sudo apt-get install postgresql")
    return found


@pytest.fixture(scope="session")
def postgresql(postgresql_programs: Path) -> "Iterator[Cluster]":
    """A PostgreSQL server, for all tests of this run."""
    from tests.postgresql import running

    with running(postgresql_programs) as cluster:
        yield cluster


def missing(what: str) -> NoReturn:
    """Skip the calling test, or fail it in continuous integration."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)
