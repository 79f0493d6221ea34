"""What is claimed of versions is what the metadata says, and what the tests run on."""

import os
import re
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def metadata(root: Path) -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lowest(metadata: dict[str, Any]) -> str:
    """The lowest Python that the metadata allows."""
    return str(metadata["project"]["requires-python"]).removeprefix(">=")


def test_the_pythons_claimed_are_those_that_the_tests_run_on(root: Path, metadata: dict[str, Any], lowest: str) -> None:
    script = (root / "tools" / "test").read_text(encoding="utf-8")
    newer = set(re.findall(r"PYTHON=\.cache/python(3\.\d+)/python\1 tools/venv", script))
    assert newer == set(re.findall(r'^check ".* on Python (3\.\d+)"', script, re.MULTILINE)) != set()
    run = {lowest, *newer}
    if os.environ.get("CI") == "true":
        run.add("{}.{}".format(*sys.version_info))
    found = (
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in metadata["project"]["classifiers"]
    )
    assert {line[1] for line in found if line} == run


def test_the_lowest_python_is_the_same_everywhere(root: Path, metadata: dict[str, Any], lowest: str) -> None:
    assert metadata["tool"]["mypy"]["python_version"] == lowest
    assert metadata["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")
    tools = root / "tools"
    programs = (*tools.rglob("*.py"), *(root / "server").rglob("*.py"))
    assert f"--python-version {lowest} " in (tools / "lock").read_text(encoding="utf-8")
    claims = {
        (str(file.relative_to(root)), version)
        for file in chain(root.glob("*.md"), (root / "docs").rglob("*.md"), tools.iterdir(), programs)
        if file.is_file()
        for version in re.findall(r"\bPython (\d\.\d+) (?:or|and) later", file.read_text(encoding="utf-8"))
    }
    assert {"README.md", "tools/venv", "server/dpe_server/operators/health.py"} <= {file for file, _ in claims}
    assert {version for _, version in claims} == {lowest}


def test_a_requirement_that_a_document_states_is_that_of_the_metadata(root: Path, metadata: dict[str, Any]) -> None:
    required = metadata["project"]["dependencies"]
    names = "|".join(re.escape(re.split("[<>=!~]", requirement)[0]) for requirement in required)
    stated = {
        (str(file.relative_to(root)), requirement)
        for file in chain(root.glob("*.md"), (root / "docs").rglob("*.md"))
        for requirement in re.findall(rf"`((?:{names})[<>=!~][^`]*)`", file.read_text(encoding="utf-8"))
    }
    assert [claim for claim in sorted(stated) if claim[1] not in required] == []
    # Decision 5: what aiocoap does not document as stable may change with any release.
    (aiocoap,) = (requirement for requirement in required if requirement.startswith("aiocoap>="))
    assert "<" in aiocoap
    assert ("docs/decisions/0005-coap-endpoint.md", aiocoap) in stated
