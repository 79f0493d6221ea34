"""`dpe completion`, as bash, zsh and fish use it: what they offer, and that they are not told errors."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dpe_tools.cli import COMMANDS
from tests.tools.conftest import Invoke

Offers = Callable[..., list[str]]
"""Called with the words after `dpe`, the last of which is incomplete."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with something to complete and `dpe` on the PATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "state").mkdir()
    (tmp_path / "device.json").touch()
    return tmp_path


def _run(*command: str, **environment: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def fish(require_tool: Callable[[str], str], place: Path, dpe: Invoke) -> Offers:
    shell = require_tool("fish")
    (place / "script").write_text(dpe("completion", "fish").stdout)
    home = {"HOME": str(place), "XDG_CONFIG_HOME": str(place / "config"), "XDG_DATA_HOME": str(place / "data")}

    def offers(*words: str) -> list[str]:
        line = " ".join(("dpe", *words))
        found = _run(shell, "--no-config", "-c", f'source script; complete -C "{line}"', **home)
        return [one.partition("\t")[0] for one in found]

    return offers


@pytest.fixture
def bash(require_tool: Callable[[str], str], place: Path, dpe: Invoke) -> Offers:
    shell = require_tool("bash")
    (place / "script").write_text(dpe("completion", "bash").stdout)

    def offers(*words: str) -> list[str]:
        # compopt works only while the shell completes, so it tells here what it was asked for.
        script = (
            'source ./script; compopt() { asked=$2; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dpe_completion dpe;'
            ' if [ "$asked" ]; then compgen -o "$asked" "${COMP_WORDS[COMP_CWORD]}"; fi;'
            ' printf "%s\\n" "${COMPREPLY[@]}"'
        )
        return [one for one in _run(shell, "--norc", "-c", script, "bash", "dpe", *words) if one]

    return offers


@pytest.fixture(params=["bash", "fish"])
def offers(request: pytest.FixtureRequest) -> Offers:
    found: Offers = request.getfixturevalue(request.param)
    return found


def test_commands_are_offered(offers: Offers) -> None:
    assert offers("se") == ["serve", "session", "sessions"]
    assert offers("session", "") == ["end", "get", "report"] or offers("session", "") == ["report", "get", "end"]
    assert set(offers("")) == set(COMMANDS)


def test_options_and_choices_are_offered(offers: Offers) -> None:
    assert offers("register", "device.json", "--tim") == ["--timeout"]
    assert offers("sessions", "list", "state", "--below") == ["--below-epoch"]
    assert offers("completion", "z") == ["zsh"]


def test_files_and_folders_are_offered(offers: Offers) -> None:
    assert offers("register", "dev") == ["device.json"]
    assert [one.rstrip("/") for one in offers("serve", "st")] == ["state"]
    assert [one.rstrip("/") for one in offers("sessions", "st")] == ["state"]
    assert offers("sessions", "li") == ["list"]
    assert offers("inspect", "--pcap", "dev") == ["device.json"]


def test_zsh_reads_the_script_and_is_offered_the_same(
    require_tool: Callable[[str], str], place: Path, dpe: Invoke
) -> None:
    (place / "script").write_text(dpe("completion", "zsh").stdout)
    assert (place / "script").read_text().startswith("#compdef dpe\n")
    assert _run(require_tool("zsh"), "-n", "script") == []
    asked = {"_DPE_COMPLETE": "zsh_complete", "COMP_WORDS": "dpe se", "COMP_CWORD": "1"}
    assert _run("dpe", **asked)[:2] == ["plain", "serve"]
    assert _run("dpe", **asked | {"COMP_WORDS": "dpe serve s", "COMP_CWORD": "2"}) == ["dir", "s", "_"]


def test_a_shell_that_asks_is_not_told_errors(place: Path) -> None:
    asked = {"_DPE_COMPLETE": "bash_complete", "COMP_WORDS": "dpe bench x ", "COMP_CWORD": "3"}
    script = "import sys; sys.modules['dpe_bench'] = None; from dpe_tools.__main__ import run; run()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=os.environ | asked, check=False)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_offering_commands_imports_none(place: Path) -> None:
    script = (
        "import sys\nfrom dpe_tools.cli import main\n"
        "try: main(prog_name='dpe')\nexcept SystemExit: pass\n"
        "sys.exit(any(name.startswith('dpe_tools.commands') for name in sys.modules))"
    )
    asked = {"_DPE_COMPLETE": "bash_complete", "COMP_WORDS": "dpe se", "COMP_CWORD": "1"}
    assert _run(sys.executable, "-c", script, **asked) == ["plain,serve", "plain,session", "plain,sessions"]


def test_another_shell_is_wrong_usage(dpe: Invoke) -> None:
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in dpe("completion", "tcsh", status=2).stderr
