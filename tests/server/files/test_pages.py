"""A page that an error names is there to be read, in a checkout and where the package is installed."""

import ast
from importlib.metadata import PackageNotFoundError
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from dpe_server.files import pages


class Installed(PurePosixPath):
    """A file of an installation, as importlib.metadata has it."""

    def locate(self) -> Path:
        return Path("/usr/lib/python3/site-packages") / self


def test_a_page_of_the_checkout(root: Path) -> None:
    assert pages.page("docs/how-to/policy.md") == str(root / "docs" / "how-to" / "policy.md")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([Installed("../../../share/doc/dpe-coap/docs/a.md")], "/usr/share/doc/dpe-coap/docs/a.md"),
        ([Installed("docs/a.md")], "docs/a.md"),
        (None, "docs/a.md"),
    ],
)
def test_a_page_of_an_installation(files: Any, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "files", lambda _: files)
    assert pages.page("docs/a.md") == found


def test_a_page_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(pages, "files", missing)
    assert pages.page("docs/a.md") == "docs/a.md"


def test_no_error_names_a_page_by_a_path_that_only_a_checkout_has(root: Path) -> None:
    """Every text with a page's name is an argument of ``page``, or a docstring."""
    named = 0
    for file in [*root.glob("server/dpe_server/**/*.py"), *root.glob("tools/dpe_tools/**/*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "page":
                argument = node.args[0]
                if isinstance(argument, ast.Name) and argument.id == "request":
                    continue  # it makes a page of `dpe web`
                assert isinstance(argument, ast.Constant)
                assert (root / str(argument.value)).is_file()
                named += 1
                argument.value = ""
        texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
                assert "docs/" not in node.value or file.name == "pages.py", f"{file}:{node.lineno}"
    assert named == 2
