"""What every file of the repository must be: small, clean, and at home on any machine."""

import re
import subprocess
from pathlib import Path

import pytest

MOST_LINES = 450  # of a Python file: beyond it, a second thing has moved in
NO_TEXT = (".sqlite", ".state", ".state.2")  # what earlier versions made, in tests/fixtures


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    """The files of the repository: all that git knows, or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found = [root / name for name in listed.split("\0") if name]
    assert found
    return [file for file in found if file.is_file()]


def test_no_python_file_is_too_long(root: Path, files: list[Path]) -> None:
    lengths = {file: len(file.read_bytes().splitlines()) for file in files if file.suffix == ".py"}
    assert {str(file.relative_to(root)): lines for file, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_file_is_clean_text(root: Path, files: list[Path]) -> None:
    faults = []
    for file in files:
        if (file.name.endswith(NO_TEXT) and "fixtures" in file.parts) or file.suffix == ".png":
            continue
        text = file.read_text(encoding="utf-8")
        if text and (not text.endswith("\n") or "\r" in text or re.search(r"[ \t]+$", text, re.MULTILINE)):
            faults.append(str(file.relative_to(root)))
    assert faults == []


# In parts, so that this file does not match itself.
A_MACHINE = "|".join(rf"/{folder}/[a-z]" for folder in ("work", "root", "home"))
A_REGISTRY = "|".join(
    rf"\b{host}\b"
    for host in (
        r"pypi\." + "org",
        r"pythonhosted\." + "org",
        r"(registry|www)\." + r"npmjs\." + "com",
        r"(deb|snapshot|security)\." + r"debian\." + "org",
        r"archive\." + r"ubuntu\." + "com",
    )
)


@pytest.mark.parametrize("pattern", [A_MACHINE, A_REGISTRY], ids=["a machine's path", "a registry's host"])
def test_no_file_names(root: Path, files: list[Path], pattern: str) -> None:
    found = []
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{file.relative_to(root)}:{number}: {line.strip()[:80]}")
    assert found == []
