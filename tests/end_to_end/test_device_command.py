"""`python -m dpe_device` and `micropython -m dpe_device` report and deregister with the real server."""

import dataclasses
from pathlib import Path

import cbor2
import pytest

from dpe_coap.client_ids import client_id_text
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.record import entries
from dpe_tools.server_process import free_port
from tests.end_to_end.running import Running, running_on
from tests.end_to_end.test_client import COMMAND, IMEI, rows, run


def provisioned(state: StateDir, uri: str, folder: Path) -> str:
    """Make a credential; return its file."""
    file = folder / "device.cbor"
    file.write_bytes(dataclasses.replace(credential(state.keys, state.config, IMEI), server=uri).to_cbor())
    return str(file)


@pytest.mark.parametrize("interpreter", COMMAND)
def test_registers_for_a_report_goes_on_with_the_session_and_ends_it(
    state: StateDir, running: Running, request: pytest.FixtureRequest, interpreter: str, tmp_path: Path
) -> None:
    file = provisioned(state, running.uri, tmp_path)
    client_ids = []
    reports = (
        (["0=87", "1=2.1.0", "2=false"], {0: 87, 1: "2.1.0", 2: False}),
        (["0=86.5", "vendor/x=null", '1="7"', "4=en=GB"], {0: 86.5, 1: "7", 2: False, 4: "en=GB"}),
    )
    for reported, held in reports:
        done = run(interpreter, request, file, *(word for one in reported for word in ("--report", one)))
        (row,) = rows(state)
        said = f"reported: Client ID {client_id_text(row.client_id)}\n"
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
        assert {cbor2.loads(entry.property): cbor2.loads(entry.value) for entry in entries(row.record)} == held
        client_ids.append(row.client_id)
    assert client_ids[0] == client_ids[1]
    done = run(interpreter, request, file, "--deregister")
    assert (done.returncode, done.stdout, done.stderr) == (0, "deregistered\n", "")
    assert rows(state) == []
    done = run(interpreter, request, file, "--deregister")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the device is not registered" in done.stderr


@pytest.mark.parametrize("interpreter", COMMAND)
def test_reports_and_ends_at_once(
    state: StateDir, running: Running, request: pytest.FixtureRequest, interpreter: str, tmp_path: Path
) -> None:
    file = provisioned(state, running.uri, tmp_path)
    done = run(interpreter, request, file, "--report", "0=1", "--deregister")
    assert (done.returncode, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    assert first.startswith("reported: Client ID 1")
    assert last == "deregistered"
    assert rows(state) == []


@pytest.mark.parametrize("interpreter", COMMAND)
def test_says_why_there_is_no_report(
    state: StateDir, running: Running, request: pytest.FixtureRequest, interpreter: str, tmp_path: Path
) -> None:
    file = provisioned(state, running.uri, tmp_path)
    nobody = f"coap://127.0.0.1:{free_port()}"
    (tmp_path / "elsewhere").mkdir()
    elsewhere = provisioned(state, nobody, tmp_path / "elsewhere")
    for arguments, status, said in (
        ([file, "--report", "0"], 2, "--report takes PROPERTY=VALUE, as 0=87, not 0"),
        ([file, "--report", "=1"], 2, "--report takes PROPERTY=VALUE"),
        ([file, "--report"], 2, "--report needs a value"),
        ([file, "--report", "0=[1]"], 2, "a property has one value, not [1]"),
        ([file, "--deregister"], 1, "the device is not registered"),
        ([elsewhere, "--report", "0=1", "--deadline", "1"], 3, f"no registration with {nobody} in 1 s"),
        ([file, "--report", "0=1", "--version", "0.5"], 4, f"refused by {running.uri}: it does not support"),
        ([file, "--report", "70000=1"], 1, "property 70000 has no value that can be reported"),
        ([file, "--report", "0=99999999999999999999"], 1, "property 0 has no value that can be reported"),
    ):
        done = run(interpreter, request, *arguments)
        assert (done.returncode, done.stdout) == (status, ""), arguments
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("interpreter", COMMAND)
def test_says_when_the_server_does_not_answer_a_device_in_its_session(
    state: StateDir, request: pytest.FixtureRequest, interpreter: str, tmp_path: Path
) -> None:
    with running_on(state) as running:
        file = provisioned(state, running.uri, tmp_path)
        assert run(interpreter, request, file, "--report", "0=1").returncode == 0
    for word, said in ((["--report", "0=2"], "no answer of "), (["--deregister"], "has not confirmed")):
        done = run(interpreter, request, file, *word, "--deadline", "1")
        assert (done.returncode, done.stdout) == (3, "")
        assert said in done.stderr


@pytest.mark.parametrize("interpreter", COMMAND)
def test_says_what_the_server_refuses(
    state: StateDir, running: Running, request: pytest.FixtureRequest, interpreter: str, tmp_path: Path
) -> None:
    # It keeps 64 properties of a device.
    file = provisioned(state, running.uri, tmp_path)
    some, others = [[word for n in range(at, at + 40) for word in ("--report", f"{n}=0")] for at in (0, 100)]
    assert run(interpreter, request, file, *some).returncode == 0
    done = run(interpreter, request, file, *others)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"dpe_device: error: {running.uri} refuses property 1")
    assert done.stderr.endswith(": 4.13\n")
