"""Each field report says what was tried, what happens now, and which test holds it: a test that exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "field-reports.md"
COLUMNS = ["report", "what was tried", "what happens now", "test"]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
REPORT = re.compile(r"[\w.-]+/[\w.-]+#\d+")
OURS = ("an attacker's trial", "our own trial")  # where no public report was found


def rows(text: str) -> list[list[str]]:
    """The rows of all tables with the four columns: of each, its cells."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        assert lines[0] == COLUMNS
        found += lines[2:]
    return found


def fault(row: list[str], root: Path) -> str | None:
    """What is wrong with a row, or None."""
    if len(row) != len(COLUMNS) or not all(row):
        return "a cell is missing"
    report, tried, now, tests = row
    if report not in OURS and not all(REPORT.fullmatch(one) for one in report.split(", ")):
        return f"{report}: neither reports nor a trial of ours"
    if not (tried.endswith(".") and now.endswith(".")):
        return "not a sentence"
    named = TEST.findall(tests)
    if not named or ", ".join(f"`{path}::{name}`" for path, name in named) != tests:
        return f"{tests}: not a list of tests"
    missing = [f"{path}::{name}" for path, name in named if name not in functions(root / path)]
    return f"there is no {', '.join(missing)}" if missing else None


@cache
def functions(file: Path) -> frozenset[str]:
    """The names of the functions in a file; none where there is no file."""
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_every_report_names_tests_that_exist() -> None:
    found = rows(PAGE.read_text(encoding="utf-8"))
    assert len(found) > 60
    assert [(row[1], wrong) for row in found if (wrong := fault(row, ROOT))] == []
    assert len({row[1] for row in found}) == len(found)


HERE = "tests/project/test_field_reports.py::test_every_report_names_tests_that_exist"


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        (f"| our own trial | A. | B. | `{HERE}` |", None),
        (f"| a/b#1, c.d/e-f#23 | A \\| B. | B. | `{HERE}`, `{HERE}` |", None),
        ("| a/b#1 | A. | B. | |", "a cell is missing"),
        (f"| a report | A. | B. | `{HERE}` |", "a report: neither reports nor a trial of ours"),
        (f"| a/b#1 | A. | B | `{HERE}` |", "not a sentence"),
        ("| a/b#1 | A. | B. | soon |", "soon: not a list of tests"),
        (f"| a/b#1 | A. | B. | `{HERE}` and more |", f"`{HERE}` and more: not a list of tests"),
        (f"| a/b#1 | A. | B. | `{HERE}s` |", f"there is no {HERE}s"),
        ("| a/b#1 | A. | B. | `tests/gone.py::test_it` |", "there is no tests/gone.py::test_it"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_row_at_fault_is_noticed(row: str, wrong: str | None) -> None:
    (cells,) = rows(f"text\n\n| {' | '.join(COLUMNS)} |\n|---|---|---|---|\n{row}\n\ntext\n")
    assert fault(cells, ROOT) == wrong
