"""The manual pages: what formats them has nothing to complain about, and they say what the commands' help says."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpe_tools.cli import COMMANDS, main
from dpe_tools.exits import Exit

PAGES = Path(__file__).resolve().parents[2] / "tools" / "packaging" / "man"


@pytest.fixture
def formatted(require_tool: Callable[[str], str]) -> Callable[[str], str]:
    """A function from a page's name to its text, as `man` shows it."""
    groff = require_tool("groff")

    def page(name: str) -> str:
        command = [groff, "-man", "-ww", "-Tutf8", "-P-c", "-P-b", "-P-u", str(PAGES / name)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C.UTF-8"}
        )
        assert done.stderr == ""
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)

    return page


def test_every_command_has_a_page_with_all_its_options(formatted: Callable[[str], str]) -> None:
    names = [name for name in COMMANDS if name != "bench"]
    assert {page.name for page in PAGES.iterdir()} == {"dpe.1", *(f"dpe-{name}.1" for name in names)}
    for name in names:
        shown = formatted(f"dpe-{name}.1")
        helped = CliRunner().invoke(main, [name, "--help"]).output
        options = set(re.findall(r"^  (--[a-z0-9-]+)", helped, re.MULTILINE)) - {"--help"}
        assert options <= set(re.findall(r"--[a-z0-9-]+", shown)), name
        assert f"NAME dpe-{name} - " in " ".join(shown.split())


def test_a_page_reads_as_the_help_does(formatted: Callable[[str], str]) -> None:
    words = " ".join(formatted("dpe-register.1").split())
    assert "dpe register [OPTIONS] CREDENTIAL" in words
    assert "--timeout SECONDS When to give up. From 0.1 to 86,400. By default 60." in words
    assert "Exit status 3: the server did not answer." in words
    words = " ".join(formatted("dpe-message.1").split())
    assert "coap-client -m post -t 60 -f request -o response coap://HOST/dpe/register" in words
    assert "dpe message request [OPTIONS] CREDENTIAL" in words
    words = " ".join(formatted("dpe.1").split())
    assert "NO_COLOR If it is set to anything" in words
    for status in Exit:
        assert f"{status.value} {status.meaning}".replace("`", "") in words


def test_whatis_knows_the_pages(require_tool: Callable[[str], str]) -> None:
    lexgrog = require_tool("lexgrog")
    done = subprocess.run([lexgrog, *sorted(PAGES.iterdir())], capture_output=True, text=True, check=True)
    assert 'dpe-serve.1: "dpe-serve - Run the server of STATE' in done.stdout
    assert done.stdout.count(': "') == len(list(PAGES.iterdir()))
