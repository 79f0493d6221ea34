"""The command line as a whole: lazy imports, help, exit statuses, and errors without tracebacks."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from dpe_coap.errors import LocalError
from dpe_tools import cli, streams
from dpe_tools.__main__ import run
from dpe_tools.commands.bench import BENCHMARKS
from dpe_tools.exits import Exit, NoAnswer, Refused


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from dpe_tools.cli import main\n"
        "try: main(['--help'], prog_name='dpe')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "heavy = roots & {'rich', 'aiocoap', 'cryptography', 'sqlite3', 'asyncio', 'structlog'}\n"
        "heavy |= roots & {'dpe_server', 'dpe_device'}\n"
        "assert not heavy, heavy\n"
        "assert not [name for name in sys.modules if name.startswith('dpe_tools.commands')]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, (_, text) in cli.COMMANDS.items():
        assert name in done.stdout
        assert text.split()[0] in done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_refuses_what_it_does_not_know(name: str) -> None:
    runner = CliRunner()
    helped = runner.invoke(cli.main, [name, "--help"])
    assert helped.exit_code == 0, helped.output
    assert helped.output.startswith(f"Usage: main {name}")
    wrong = runner.invoke(cli.main, [name, "--no-such-option"])
    assert wrong.exit_code == 2
    assert "No such option" in wrong.stderr


@pytest.mark.parametrize("arguments", [[], ["server"], ["server", "--help"], ["no-such"], ["--no-such"]], ids=" ".join)
def test_the_benchmarks_ask_for_a_checkout(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "dpe_bench", None)  # as if it were not there
    result = CliRunner().invoke(cli.main, ["bench", *arguments])
    assert result.exit_code == 1
    assert result.stderr == (
        "dpe: error: the benchmarks are not installed: they need a checkout\n"
        "hint: unpack the source archive of this version, or clone the repository, and run ./tools/bench in it\n"
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_benchmarks_have_help_without_a_checkout(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setitem(sys.modules, "dpe_bench", None)
    result = CliRunner().invoke(cli.main, ["bench", option])
    assert result.exit_code == 0
    assert "needs a checkout" in result.stdout
    for name in BENCHMARKS:
        assert name in result.stdout


def test_unknown_command_is_wrong_usage() -> None:
    result = CliRunner().invoke(cli.main, ["frobnicate"])
    assert result.exit_code == 2
    assert "No such command" in result.stderr


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (LocalError("the sky fell", hint="run"), 1, ["dpe: error: the sky fell", "hint: run"]),
        (LocalError("the sky fell"), 1, ["dpe: error: the sky fell"]),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, ["dpe: error: x: No such file or directory"]),
        (click.UsageError("no"), 2, ["Error: no"]),
        (NoAnswer("silence", hint="wait"), 3, ["dpe: error: silence", "hint: wait"]),
        (Refused("no entry"), 4, ["dpe: error: no entry"]),
        (KeyboardInterrupt(), 130, []),
    ],
)
def test_boundary(error: BaseException, status: int, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, cli.boundary():
        raise error
    assert caught.value.code == status
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize(
    ("arguments", "message", "hint", "status"),
    [
        (
            ["sessions", "nowhere", "--json"],
            "nowhere: there is no such directory",
            "make one with: dpe init nowhere",
            1,
        ),
        (["doctor", "--json", "--no-such"], "No such option '--no-such'.", "", 2),
        (["register", "--json"], "Missing argument 'CREDENTIAL'.", "", 2),
        (["load", "nowhere", "--json", "-"], "nowhere", "", 1),
    ],
)
def test_a_program_that_asks_for_json_gets_it_on_failure_too(
    arguments: list[str], message: str, hint: str, status: int
) -> None:
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == status
    (line,) = result.stdout.splitlines()
    told = json.loads(line)
    assert told.keys() == {"error"}
    assert message in told["error"]["message"]
    assert hint in told["error"]["hint"]
    assert told["error"]["status"] == status
    assert message in result.stderr


@pytest.mark.parametrize(
    "error", [NoAnswer("silence", hint="wait"), OSError(28, "full", "disk"), click.UsageError("no")]
)
def test_every_kind_of_failure_is_an_object(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, cli.boundary(as_json=True):
        raise error
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["status"] == caught.value.code
    assert told["message"] in ("silence", "disk: full", "no")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("sessions s --json", True),
        ("sessions s", False),
        ("inspect -- --json", False),
        ("load s --json f", False),
        ("load s --json -", True),
        ("load s --json=-", True),
    ],
)
def test_when_a_program_has_asked_for_json(words: str, wanted: bool) -> None:
    assert cli.wants_json(words.split()) is wanted


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), cli.boundary():
        raise ZeroDivisionError


def test_ctrl_c_before_the_command_line_begins_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(streams, "prepare", pressed)
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == Exit.INTERRUPTED
