"""`dpe register`, `sessions`, `device`, `message` and `doctor` against a real server process."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dpe_coap.binding import Code
from dpe_device.store import FileStore
from dpe_tools.commands.register import RegistrationWatcher
from dpe_tools.credentials import for_device, load
from dpe_tools.exits import Refused
from dpe_tools.server_process import START_SECONDS
from tests.device.scripted import sealed
from tests.tools.conftest import IMEI, IMEIS, Invoke, Running
from tests.tools.strangers import Stranger


def _client_id(output: str) -> str:
    words = output.splitlines()[0].rsplit(" ", 1)
    assert words[0] == "registered: Client ID"
    assert len(bytes.fromhex(words[1])) == 7
    return words[1]


def test_registers_and_registers_anew(dpe: Invoke, server: Running, credential: Path) -> None:
    first = dpe("register", credential)
    state = credential.with_name("device.json.state")
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert "session for 604800 s" in first.stdout
    second = json.loads(dpe("register", credential, "--x25519", "--firmware", "fw 2", "--json").stdout)
    assert second["client_id"] != _client_id(first.stdout)
    assert second["state"] == "REGISTERED"
    assert second["datagrams"] == {"sent": 2, "received": 2}
    sessions = json.loads(dpe("sessions", server.state, "--json").stdout)
    mine = [session for session in sessions if session["client_id"] == second["client_id"]]
    assert len(sessions) == 1
    assert (mine[0]["state"], mine[0]["version"], mine[0]["suite"], mine[0]["firmware"]) == (
        "ESTABLISHED",
        "1.0",
        2,
        "fw 2",
    )
    table = dpe("sessions", server.state).stdout
    assert second["client_id"] in table
    assert "X25519" in table


def test_no_output_but_device_show_names_the_device(dpe: Invoke, server: Running, credential: Path) -> None:
    key = json.loads(credential.read_text(encoding="utf-8"))["device_key"]
    done = dpe("register", credential, "--trace")
    client_id = _client_id(done.stdout)
    told = [done, dpe("sessions", server.state), dpe("sessions", server.state, "--json")]
    told += [dpe("doctor", server.state), dpe("policy", "explain", server.state, "--imei", IMEI, "--version", "1.0")]
    for result in told:
        assert IMEI[:14] not in result.output
        assert IMEI[8:14] not in result.output
        assert key not in result.output
    shown = dpe("device", "show", server.state, client_id)
    assert IMEI in shown.stdout
    by_imei = json.loads(dpe("device", "show", server.state, "--imei-stdin", "--json", stdin=IMEI).stdout)
    assert by_imei["imei"] == IMEI
    assert by_imei["session"]["client_id"] == client_id
    assert by_imei["revoked"] is False


def test_trace_tells_every_datagram(dpe: Invoke, credential: Path) -> None:
    lines = dpe("register", credential, "--trace").stderr.splitlines()
    assert [line.split()[-1] for line in lines] == ["REQUEST", "RESPONSE", "SUCCESS", "CONFIRM"]
    assert [line.split()[2] for line in lines] == ["->", "<-", "->", "<-"]
    assert [int(line.split()[3]) for line in lines] == [85, 83, 56, 40]


def test_decline_leaves_the_session_that_was(dpe: Invoke, server: Running, credential: Path) -> None:
    client_id = _client_id(dpe("register", credential).stdout)
    assert dpe("register", credential, "--decline").stdout.startswith("declined: ")
    assert json.loads(dpe("register", credential, "--decline", "--json").stdout)["state"] == "DECLINED"
    assert [s["client_id"] for s in json.loads(dpe("sessions", server.state, "--json").stdout)] == [client_id]


def test_a_device_at_the_end_of_its_boot_counter_asks_nobody(dpe: Invoke, credential: Path) -> None:
    known = for_device(load(str(credential)))
    FileStore(f"{credential}.state").save(sealed(b"\xff" * 4 + bytes(5) + known["handle"], known))
    done = dpe("register", credential, status=1)
    assert done.stderr.startswith("dpe: error: the device has counted as many attempts as it can")
    assert "another key" in done.stderr


def test_version_that_the_policy_does_not_know(dpe: Invoke, credential: Path) -> None:
    result = dpe("register", credential, "--version", "9.0", status=4)
    assert result.stderr.startswith("dpe: error: refused: version-not-supported")
    assert "hint: " in result.stderr
    fallen_back = json.loads(dpe("register", credential, "--version", "9.0", "--version", "1.0", "--json").stdout)
    assert fallen_back["version"] == "1.0"


def test_wrong_key(dpe: Invoke, server: Running, credential: Path) -> None:
    before = dpe("sessions", server.state, "--json").stdout
    content = json.loads(credential.read_text(encoding="utf-8"))
    wrong = content | {"device_key": "00" * 32}
    credential.write_text(json.dumps(wrong), encoding="utf-8")
    result = dpe("register", credential, "--timeout", "2", status=4)
    assert "\ndpe: error: the server refuses this credential: 4.01 Unauthorized\nhint: " in result.stderr
    sessions = json.loads(dpe("sessions", server.state, "--json").stdout)
    assert [s["client_id"] for s in sessions] == [s["client_id"] for s in json.loads(before)]


REQUEST = bytes.fromhex("42020001abcdff") + bytes.fromhex("a40001")


def _error(code: int) -> bytes:
    return bytes([0x62, code, 0, 1, 0xAB, 0xCD])


def test_a_second_refusal_of_the_key_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = RegistrationWatcher(every=False, again=False)
    watcher.sent(REQUEST, "here")
    watcher.received(_error(Code.UNAUTHORIZED), "here")
    assert capsys.readouterr().err == "dpe: here answers 4.01 Unauthorized; trying again\n"
    watcher.sent(REQUEST, "here")
    with pytest.raises(Refused, match="refuses this credential"):
        watcher.received(_error(Code.UNAUTHORIZED), "here")


def test_an_error_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = RegistrationWatcher(every=False, again=False)
    for _ in range(3):
        watcher.sent(REQUEST, "here")
        watcher.received(_error(Code.SERVICE_UNAVAILABLE), "here")
    assert capsys.readouterr().err == "dpe: here answers 5.03 Service Unavailable; trying again\n"


def test_what_is_sent_again_is_told_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = RegistrationWatcher(every=False, again=True)
    watcher.sent(REQUEST, "here")
    assert capsys.readouterr().err == ""
    watcher.sent(REQUEST, "here")
    told = capsys.readouterr().err
    assert "CON POST" in told
    assert told.endswith("again\n")


def test_no_server(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    path.write_text(dpe("provision", state, IMEI).stdout, encoding="utf-8")
    result = dpe("register", path, "--timeout", "0.3", status=3)
    told, error, hint = result.stderr.splitlines()
    assert re.fullmatch(r"dpe: 127\.0\.0\.1:\d+: nobody listens there", told)
    assert error.startswith("dpe: error: no answer from coap://127.0.0.1:")
    assert error.endswith(": nobody listens there)")
    assert hint == "hint: is it running (dpe serve STATE), and listening there?"


def _piggybacked(code: int, rest: bytes = b"") -> Callable[[bytes], bytes]:
    """Answer a request with a code and what follows the CoAP token."""
    return lambda datagram: bytes([0x60 | datagram[0] & 15, code]) + datagram[2 : 4 + (datagram[0] & 15)] + rest


@pytest.mark.parametrize(
    ("answer", "status", "error", "hint"),
    [
        (lambda _: None, 3, r"no answer from \S+ in 0\.3 s \(\S+: no answer\)", "Does UDP get through?"),
        (_piggybacked(0xA3), 4, r"the server did not register it in 0\.3 s: 5\.03 Service Unavailable", "its store"),
        (_piggybacked(0x81), 4, r"the server refuses this credential: 4\.01 Unauthorized", "was the credential"),
        (_piggybacked(0x84), 4, r"the server did not register it in 0\.3 s: 4\.04 Not Found", "no other CoAP server"),
        (
            _piggybacked(0x44, b"\xff\xa3"),
            1,
            r"not registered .* has a security token for this device",
            "of this server?",
        ),
    ],
    ids=["silence", "5.03", "4.01", "4.04", "2.04"],
)
def test_what_is_known_of_a_server_that_does_not_register(
    dpe: Invoke,
    credential: Path,
    answer: Callable[[bytes], bytes | None],
    status: int,
    error: str,
    hint: str,
) -> None:
    with Stranger(answer) as stranger:
        content = json.loads(credential.read_text(encoding="utf-8")) | {"server": stranger.uri}
        credential.write_text(json.dumps(content), encoding="utf-8")
        told = dpe("register", credential, "--timeout", "0.3", status=status).stderr.splitlines()
    assert re.fullmatch(f"dpe: error: {error}", told[-2]), told
    assert hint.lower() in told[-1].lower()


def test_a_name_without_an_address_is_told_at_once(dpe: Invoke, credential: Path) -> None:
    name = "a" * 64  # no name can have it
    content = json.loads(credential.read_text(encoding="utf-8")) | {"server": f"coap://{name}"}
    credential.write_text(json.dumps(content), encoding="utf-8")
    result = dpe("register", credential, "--timeout", "0.3", "--trace", status=3)
    assert result.stderr.splitlines() == [
        f"dpe: no address is known for the name {name}",
        f"dpe: error: no address is known for the name {name} (tried for 0.3 s)",
        "hint: is the name written right?",
    ]  # and no datagram, for none was sent


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["/no/such/file"], 1),
        (["{}", "--version", "1"], 2),
        (["{}", "--timeout", "0"], 2),
        (["{}", "--firmware", "x" * 33], 2),
        (["{}", "--firmware", ""], 2),
        (["{}", "--firmware", "\udcff"], 2),
        (["{}", "--state", "/no/such/directory/state"], 1),
    ],
)
def test_wrong_arguments(dpe: Invoke, credential: Path, arguments: list[str], status: int) -> None:
    result = dpe("register", *(word.format(credential) for word in arguments), status=status)
    assert "rror: " in result.stderr


def test_revoked_device_loses_its_session(dpe: Invoke, server: Running, tmp_path: Path) -> None:
    path = tmp_path / "stolen.json"
    path.write_text(dpe("provision", server.state, IMEIS[1]).stdout, encoding="utf-8")
    client_id = _client_id(dpe("register", path).stdout)
    dry = dpe("revoke", server.state, IMEIS[1], "--dry-run")
    assert (dry.stdout, dry.stderr) == ("would be revoked: 1 device, 1 session ended\n", "nothing was changed\n")
    assert client_id in dpe("sessions", server.state, "--json").stdout
    done = dpe("revoke", server.state, IMEIS[1])
    assert (done.stdout, done.stderr) == ("revoked: 1 device, 1 session ended\n", "")
    assert client_id not in dpe("sessions", server.state, "--json").stdout
    explained = dpe("policy", "explain", server.state, "--imei", "-", "--version", "1.0", stdin=IMEIS[1]).stdout
    assert "revoked" in explained.splitlines()[0]
    dpe("register", path, "--timeout", "0.5", status=4)
    assert dpe("unrevoke", server.state, IMEIS[1]).stdout == "revocation lifted: 1 device\n"
    assert _client_id(dpe("register", path).stdout) != client_id


def test_retired_epoch_is_told_to_be_provisioned_anew(dpe: Invoke, server: Running, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(dpe("provision", server.state, IMEIS[2]).stdout, encoding="utf-8")
    dpe("revoke", server.state, IMEIS[2], "--below-epoch", 2)
    result = dpe("register", path, status=4)
    assert result.stderr.startswith("dpe: error: refused: reprovision\nhint: ")


def test_message_refusals(dpe: Invoke, credential: Path, tmp_path: Path) -> None:
    request, response = tmp_path / "request", tmp_path / "response"
    dpe("message", "request", credential, "--out", request)
    assert stat.S_IMODE(request.stat().st_mode) == 0o600
    assert len(dpe("message", "request", credential).stdout_bytes) == 61
    assert len(bytes.fromhex(dpe("message", "request", credential, "--hex").stdout)) == 61
    dpe("message", "request", credential, "--x25519", status=2)
    not_text = dpe("message", "request", credential, "--firmware", "\udcff", status=2)
    assert "the name of the firmware is not UTF-8" in not_text.stderr
    response.write_bytes(b"")
    empty = dpe("message", "success", credential, "--request", request, "--response", response, status=1)
    assert "is empty" in empty.stderr
    swapped = dpe("message", "success", credential, "--request", request, "--response", request, status=1)
    assert "is a REQUEST, not a RESPONSE" in swapped.stderr


def test_doctor_of_a_running_server(dpe: Invoke, server: Running) -> None:
    told = json.loads(dpe("doctor", server.state, "--json").stdout)
    assert {finding["level"] for finding in told} == {"ok"}
    assert f"{server.uri} answers and offers dpe.register" in [finding["what"] for finding in told]


def test_second_server_is_a_clear_error(dpe: Invoke, server: Running, state: Path) -> None:
    done = _serve(server.state, "127.0.0.1:0")
    assert done.returncode == 1
    assert "in use by another server" in done.stderr
    port = server.uri.rsplit(":", 1)[1]
    taken = _serve(state, f"127.0.0.1:{port}")
    assert taken.returncode == 1
    assert port in taken.stderr
    for result in (done, taken):
        assert "Traceback" not in result.stderr
        assert "hint: " in result.stderr


def _serve(state: Path, listen: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dpe_tools", "serve", str(state), "--listen", listen]
    return subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)


def _interrupt(command: list[str], ready: str) -> subprocess.CompletedProcess[str]:
    """Start `dpe`, wait for a line that starts with ``ready`` on either stream, and press Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "dpe_tools", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        read = [process.stdout.readline()]
        while read[-1] and not read[-1].startswith(ready):
            read.append(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    return subprocess.CompletedProcess(command, process.returncode, "".join(read) + rest)


def test_ctrl_c_ends_the_server_in_order(state: Path) -> None:
    done = _interrupt(["serve", str(state), "--listen", "127.0.0.1:0"], "listening on coap://127.0.0.1:")
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout


def test_ctrl_c_ends_a_client_quietly(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    path.write_text(dpe("provision", state, IMEI).stdout, encoding="utf-8")
    done = _interrupt(["register", str(path), "--trace"], "  0.")
    assert done.returncode == 130, done.stdout
    assert "Traceback" not in done.stdout
