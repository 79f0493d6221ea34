"""Standard streams that are closed, full, no longer read, or in ASCII: no silent failure, no traceback."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from types import MappingProxyType
from typing import Protocol

import pytest

from dpe_tools.cli import COMMANDS
from dpe_tools.load.network import Server
from dpe_tools.server_process import STOP_SECONDS
from tests.tools.conftest import IMEI, IMEIS, Invoke, Running

DPE = [sys.executable, "-m", "dpe_tools"]
SHELL = ["sh", "-c", 'redirection=$1; shift; eval "exec \\"\\$@\\" $redirection"', "sh"]

WORK = {
    "demo": ["demo"],
    "init": ["init", "new"],
    "serve": ["serve", "none"],
    "provision": ["provision", "{state}", IMEI],
    "revoke": ["revoke", "{state}", IMEIS[1]],
    "unrevoke": ["unrevoke", "{state}", IMEIS[1]],
    "register": ["register", "{credential}"],
    "session": ["session", "get", "{credential}"],
    "message": ["message", "request", "{credential}", "--hex"],
    "inspect": ["inspect", "a3000404001750" + "00" * 16],
    "sessions": ["sessions", "{state}"],
    "properties": ["properties", "{state}"],
    "device": ["device", "show", "{state}", "--imei-stdin"],
    "policy": ["policy", "check", "{state}"],
    "keys": ["keys", "list", "{state}"],
    "access": ["access", "list", "{state}"],
    "nodes": ["nodes", "list", "{state}"],
    "store": ["store", "copy", "{state}", "--to", "postgresql://127.0.0.1:1/none"],
    "backup": ["backup", "{state}", "copy"],
    "restore": ["restore", "{state}", "none"],
    "recover": ["recover", "{state}"],
    "top": ["top", "{state}", "--once"],
    "doctor": ["doctor", "{state}"],
    "web": ["web", "{state}", "--metrics", "no URL"],
    "load": ["load", "{state}", "--devices", "1"],
    "simulate": ["simulate", "--seeds", "1"],
    "completion": ["completion", "bash"],
    "bench": ["bench"],
}
"""Something that each command does in little time."""
STATUS = {"serve": 1, "nodes": 1, "store": 1, "restore": 1, "recover": 1, "top": 3, "web": 1, "bench": 2}
"""How it ends, if not with 0."""
SILENT = {"serve", "nodes", "store", "restore", "recover", "top", "web", "bench"}
"""What prints nothing on standard output when it does this."""
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


class Run(Protocol):
    """Runs what is in ``WORK`` for a command, as a process whose streams a shell has redirected."""

    def __call__(
        self,
        name: str,
        redirection: str = "",
        *,
        stdout: int = PIPE,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> CompletedProcess[str]: ...


@pytest.fixture
def run(dpe: Invoke, server: Running, credential: Path, tmp_path: Path) -> Run:
    names = {"state": server.state, "credential": credential}

    def run(
        name: str, redirection: str = "", *, stdout: int = PIPE, environment: Mapping[str, str] = MappingProxyType({})
    ) -> CompletedProcess[str]:
        if name == "session":
            dpe("register", credential)
        command = [*SHELL, redirection, *DPE, *(word.format(**names) for word in WORK[name])]
        done = subprocess.run(
            command,
            input=IMEI,
            stdout=stdout,
            stderr=PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **environment},
        )
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        return done

    return run


def test_every_command_is_tried() -> None:
    assert list(WORK) == list(COMMANDS)


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize(
    ("redirection", "why"), [(">&-", "it is closed"), (">/dev/full", "No space left on device")], ids=["closed", "full"]
)
def test_output_that_cannot_be_written_is_an_error(run: Run, name: str, redirection: str, why: str) -> None:
    done = run(name, redirection)
    if name in SILENT:
        assert done.returncode == STATUS[name]
    else:
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == f"dpe: error: standard output: {why}"


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"], ids=["closed", "full"])
def test_an_exit_status_does_not_depend_on_standard_error(run: Run, name: str, redirection: str) -> None:
    done = run(name, redirection)
    assert done.returncode == STATUS.get(name, 0)
    assert bool(done.stdout) == (name not in SILENT)


@pytest.mark.parametrize("name", WORK)
def test_closed_input_is_an_error_where_something_is_read(run: Run, name: str) -> None:
    done = run(name, "<&-")
    if name == "device":
        assert (done.returncode, done.stderr) == (1, "dpe: error: standard input: it is closed\n")
    else:
        assert done.returncode == STATUS.get(name, 0)


@pytest.mark.parametrize("name", WORK)
def test_all_streams_may_be_closed(run: Run, name: str) -> None:
    assert run(name, "<&- >&- 2>&-").returncode == STATUS.get(name, 1)


@pytest.mark.parametrize("name", WORK)
def test_a_reader_that_ends_is_no_fault(run: Run, name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(name, stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == STATUS.get(name, 0)
    assert "standard output" not in done.stderr


@pytest.mark.parametrize("name", WORK)
def test_in_ascii(run: Run, name: str) -> None:
    done = run(name, environment=ASCII)
    assert done.returncode == STATUS.get(name, 0)
    assert (done.stdout + done.stderr).isascii()


@pytest.mark.parametrize("redirection", ["", ">&-", ">/dev/full", "2>&-", "2>/dev/full", "2>&1 | head -n 1"])
def test_a_server_serves_whatever_its_streams_are(state: Path, redirection: str) -> None:
    log = ["--json-log"] if redirection.startswith(">") else []  # it says on standard error where it listens
    with subprocess.Popen(
        ["sh", "-c", f'"$@" {redirection}', "sh", *DPE, "serve", str(state), "--listen", "127.0.0.1:0", *log],
        stdout=PIPE,
        stderr=PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = (process.stderr if redirection.startswith(">") else process.stdout).readline()
        Server.reached(re.findall(r"coap://127\.0\.0\.1:\d+", told)[0])
        os.killpg(process.pid, signal.SIGTERM)
        rest, last = process.communicate(timeout=STOP_SECONDS)
    assert "Traceback" not in rest + last
