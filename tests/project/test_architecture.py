"""docs/architecture.md shows the house as it is: its places are there, and it names every file of the server."""

import ast
import re
from pathlib import Path

import pytest

BASES = ("", "server/dpe_server", "tools/dpe_tools", "tools/dpe_tools/simulation", "device/dpe_device", "dpe_coap")
MOST_LINES = 400  # of a module of the server


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def modules(root: Path) -> list[Path]:
    return sorted((root / "server" / "dpe_server").rglob("*.py"))


def test_every_place_to_change_something_is_there(root: Path, page: str) -> None:
    table = page.split("## Where do I change")[1].split("\n## ")[0]
    places = {place for place in re.findall(r"`([^`]+)`", table) if "/" in place or place.endswith(".py")}
    assert len(places) > 20
    assert {place for place in places if not any((root / base / place).exists() for base in BASES)} == set()


def test_every_file_of_the_server_is_named(page: str, modules: list[Path]) -> None:
    floors = page.split("## The floors of the server")[1].split("## A batch's life")[0]
    named = set(re.findall(r"`(\w+\.py|\w+/)`", floors))
    missing = {
        str(module)
        for module in modules
        if module.name not in {"__init__.py", "__main__.py", *named} and f"{module.parent.name}/" not in named
    }
    assert missing == set()


def test_every_room_says_what_lives_there_and_what_may_not(modules: list[Path]) -> None:
    rooms = [module for module in modules if module.name == "__init__.py" and module.parent.name != "dpe_server"]
    assert len(rooms) >= 9
    for room in rooms:
        described = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""
        assert re.search(r"\b(no|nothing|none|only)\b", described, re.IGNORECASE), room.parent.name


def test_no_module_of_the_server_is_too_long(modules: list[Path]) -> None:
    lengths = {str(module): len(module.read_bytes().splitlines()) for module in modules}
    assert {module: lines for module, lines in lengths.items() if lines > MOST_LINES} == {}
