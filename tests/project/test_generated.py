"""What is made from other files is what is committed, and a difference is noticed."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpe_tools.cli import COMMANDS, main

PACKAGING = Path("tools", "packaging")
MANUAL = PACKAGING / "man"


def generate(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(root / "tools" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_committed_is_what_is_made(root: Path) -> None:
    done = generate(root, "--check")
    assert done.returncode == 0, done.stderr


def test_a_difference_is_told_and_mended(root: Path, tmp_path: Path) -> None:
    made = (
        "dpe_coap/numbers.py", "docs/protocol.md", "docs/state-machines.md", "docs/reference/cli.md",
        "docs/reference/api.md", "docs/reference/metrics.md", "server/packaging/grafana/dpe-server.json",
    )  # fmt: skip
    scripts = ("generate.py", "api_pages.py", "cli_page.py", "index_page.py", "man_pages.py", "metrics_pages.py")
    sources = ("dpe_coap/dpe1.cddl", "README.md", "pyproject.toml")
    for file in (*(f"tools/{script}" for script in scripts), *sources, *made):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, tmp_path / file)
    shutil.copytree(root / PACKAGING, tmp_path / PACKAGING)
    (tmp_path / MANUAL / "dpe-serve.1").unlink()
    (tmp_path / MANUAL / "dpe-gone.1").touch()
    schema = tmp_path / "dpe_coap" / "dpe1.cddl"
    schema.write_text(schema.read_text(encoding="utf-8").replace("status-redirect = 6", "status-redirect = 7"))
    done = generate(tmp_path, "--check")
    assert done.returncode == 1
    assert "numbers.py, protocol.md, dpe-serve.1, dpe-gone.1;" in done.stderr
    assert generate(tmp_path).returncode == 0
    assert generate(tmp_path, "--check").returncode == 0
    assert "REDIRECT = 7" in (tmp_path / "dpe_coap" / "numbers.py").read_text(encoding="utf-8")


def test_the_page_of_commands_has_every_command_and_option(root: Path) -> None:
    page = (root / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        helped = CliRunner().invoke(main, [name, "--help"]).output
        section = page.split(f"\n## dpe {name}\n")[1].split("\n## dpe ")[0]
        for option in set(re.findall(r"^  (--[a-z0-9-]+)", helped, re.MULTILINE)) - {"--help"}:
            assert f"`{option}" in section, f"{name} {option}"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (None, "See Security (`SECURITY.md`), `a.py` and [b](#b), [c](https://c.example)."),
        (
            "https://forge.example/x/",
            "See [Security](https://forge.example/x/blob/v1/SECURITY.md#timing),"
            " [`a.py`](https://forge.example/x/blob/v1/a.py) and [b](#b), [c](https://c.example).",
        ),
    ],
)
def test_links_of_the_page_for_an_index(
    address: str | None, shown: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(root / "tools"))
    made = importlib.import_module("index_page").absolute
    text = "See [Security](SECURITY.md#timing), [`a.py`](a.py) and [b](#b), [c](https://c.example)."
    code = "```text\n[not](a-link.md)\n```"
    assert made(f"{text}\n{code}\n{text}", address, "v1") == f"{shown}\n{code}\n{shown}\n"
