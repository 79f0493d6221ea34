"""`dpe inspect --pcap`: whose the messages of a capture are, and which of them prove it."""

import json
from pathlib import Path
from typing import Any

import pytest

from dpe_server.net.pcapng import Capture
from tests.tools.captures import CLIENT, Script, credential_of
from tests.tools.conftest import Invoke

SESSION_VECTORS = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "session-vectors.json").read_text(encoding="utf-8")
)


@pytest.fixture
def plain(vectors: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in vectors["valid"] if one["name"] == "plain")


def _keep(place: Path, one: dict[str, Any]) -> Path:
    path = place / f"{one['name'].replace(' ', '-')}.json"
    path.write_text(credential_of(one).to_json(), encoding="utf-8")
    return path


def _protected(script: Script, name: str) -> int:
    found = [one for one in SESSION_VECTORS if one["name"] == name]
    for one in found:
        script.exchange(bytes.fromhex(one["request"]), bytes.fromhex(one["response"]))
    return len(found)


def test_verifies_a_registration_and_opens_its_session(dpe: Invoke, tmp_path: Path, plain: dict[str, Any]) -> None:
    script = Script(tmp_path / "file")
    script.registers(plain)
    exchanges = _protected(script, "plain")
    told = json.loads(dpe("inspect", "--pcap", script.write(), "--credential", _keep(tmp_path, plain), "--json").stdout)
    named = [one["message"] for one in told["messages"]]
    assert named[:4] == ["REQUEST", "RESPONSE", "SUCCESS", "CONFIRM"]
    assert named[4:6] == ["protected request, number 1: POST /dpe", "protected response, number 1: 2.04 Changed"]
    assert [one["frame"] for one in told["messages"]] == list(range(1, 5 + 2 * exchanges))
    assert told["messages"][0] | {"security_token": ""} == {
        "frame": 1,
        "time": 1.0,
        "source": f"192.0.2.1:{CLIENT.port}",
        "destination": "192.0.2.2:5683",
        "size": 85,
        "message": "REQUEST",
        "security_token": "",
    }
    assert all(one["security_token"] == {"valid": True, "why": ""} for one in told["messages"])
    assert told["security_tokens"] == {"valid": 4 + 2 * exchanges, "not_valid": 0, "cannot_tell": 0}


def test_every_vector_is_valid_with_its_own_credential(
    dpe: Invoke, tmp_path: Path, vectors: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for one in vectors["valid"]:
        with subtests.test(one["name"]):
            script = Script(tmp_path / "file")
            script.registers(one)
            options = ["--ephemeral", one["eph_c_private"]] if one.get("eph_c_private") else []
            done = dpe("inspect", "--pcap", script.write(), "--credential", _keep(tmp_path, one), *options, "--json")
            number = sum(bool(one.get(name)) for name in ("request", "response", "success", "confirm"))
            counted = json.loads(done.stdout)["security_tokens"]
            assert counted == {"valid": number, "not_valid": 0, "cannot_tell": 0}


def test_several_devices_are_told_apart(dpe: Invoke, tmp_path: Path, vectors: dict[str, Any]) -> None:
    script = Script(tmp_path / "file")
    some = [one for one in vectors["valid"] if one["suite"] == 1 and one.get("confirm")][:3]
    for one in some:
        script.registers(one)
    (tmp_path / "folder").mkdir()
    names = [_keep(tmp_path, one) for one in some]
    lines = "".join(name.read_text() + "\n" for name in names)
    (tmp_path / "folder" / "credentials.jsonl").write_text(lines)
    for given in (("--credential", names[0], "--credential", names[1]), ("--credential", tmp_path / "folder")):
        told = dpe("inspect", "--pcap", script.write(), *given).stdout
        known = 3 if len(given) == 2 else 2
        assert told.splitlines()[-1] == f"{4 * known} valid, 0 not valid, {4 * (3 - known)} cannot tell"
        assert told.count("cannot tell: of none of the credentials given") == 4 * (3 - known)


@pytest.mark.parametrize("field", ["response", "success", "confirm"])
def test_a_changed_message_is_not_valid(dpe: Invoke, tmp_path: Path, plain: dict[str, Any], field: str) -> None:
    changed = bytearray.fromhex(plain[field])
    changed[-1] ^= 1
    script = Script(tmp_path / "file")
    script.registers(plain | {field: changed.hex()})
    done = dpe("inspect", "--pcap", script.write(), "--credential", _keep(tmp_path, plain), status=1)
    wrong = [line for line in done.stdout.splitlines() if line.endswith("  not valid")]
    assert [field.upper() in line for line in wrong] == [True]


def test_a_changed_report_is_not_valid(dpe: Invoke, tmp_path: Path, plain: dict[str, Any]) -> None:
    script = Script(tmp_path / "file")
    script.registers(plain)
    report = bytearray.fromhex(SESSION_VECTORS[0]["request"])
    report[-1] ^= 1
    script.exchange(bytes(report), bytes.fromhex("60811234"))
    done = dpe("inspect", "--pcap", script.write(), "--credential", _keep(tmp_path, plain), status=1)
    assert "number 1  not valid: not made with this session's keys" in done.stdout
    assert done.stdout.splitlines()[-1] == "4 valid, 1 not valid, 0 cannot tell"


def test_without_credentials_it_says_what_there_is(dpe: Invoke, tmp_path: Path, plain: dict[str, Any]) -> None:
    script = Script(tmp_path / "file")
    script.registers(plain)
    script.exchange(bytes.fromhex("40010001b3666f6f"), bytes.fromhex("60840001"))  # GET /foo
    script.exchange(bytes.fromhex("40000002"), bytes.fromhex("70000002"))  # a ping
    _protected(script, "plain")
    told = dpe("inspect", "--pcap", script.write()).stdout
    assert "protected request, Client ID 58462deb908078, number 1" in told
    assert "valid" not in told
    assert "foo" not in told


def test_a_session_whose_registration_is_missing_cannot_be_told(
    dpe: Invoke, tmp_path: Path, plain: dict[str, Any]
) -> None:
    script = Script(tmp_path / "file")
    _protected(script, "plain")
    done = dpe("inspect", "--pcap", script.write(), "--credential", _keep(tmp_path, plain), status=1)
    assert "cannot tell: its registration is not in the capture" in done.stdout


def test_what_is_no_message_is_told(dpe: Invoke, tmp_path: Path) -> None:
    script = Script(tmp_path / "file")
    script.asks(b"\xa1\x00\x09", b"")
    done = dpe("inspect", "--pcap", script.write(), status=1)
    assert "not a message: unknown message type, key 0, offset 2" in done.stdout


def test_says_what_cannot_be_read(dpe: Invoke, tmp_path: Path) -> None:
    Capture(tmp_path / "empty", "test").close()
    assert "no message of DPE-1" in dpe("inspect", "--pcap", tmp_path / "empty", status=1).stderr
    (tmp_path / "text").write_text("text")
    assert "not a capture" in dpe("inspect", "--pcap", tmp_path / "text", status=1).stderr
    assert "so name none" in dpe("inspect", "--pcap", tmp_path / "empty", "a0", status=2).stderr
    twice = ("--credential", "a", "--credential", "b")
    assert "several go with --pcap" in dpe("inspect", "a0", *twice, status=2).stderr
