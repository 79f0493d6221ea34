"""`dpe inspect` against the vectors: every message, every check of a token, every malformed message."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dpe_coap.messages import Response, Version, encode
from dpe_coap.numbers import Status
from dpe_tools.cli import main

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/dpe1-vectors.json").read_text(encoding="utf-8"))
CASES = VECTORS["valid"]
EARLIER = {"request": [], "response": ["request"], "success": ["request", "response"]}
EARLIER["confirm"] = [*EARLIER["success"], "success"]


def inspect(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)], input=stdin)


@pytest.fixture
def credential(tmp_path: Path) -> Any:
    def write(case: dict[str, Any], **changed: str) -> list[str]:
        content = {
            "server": "coap://127.0.0.1",
            "realm": case["realm"],
            "handle": case["handle"],
            "device_key": case["k_dev"],
            "epoch": case["epoch"],
        } | changed
        path = tmp_path / "credential"
        path.write_text(json.dumps(content), encoding="utf-8")
        ephemeral = ["--ephemeral", case["eph_c_private"]] if case["suite"] == 2 else []
        return ["--credential", str(path), *ephemeral]

    return write


def test_a_message_that_is_too_long_for_a_file_s_name_is_read_as_hex() -> None:
    payload = encode(
        Response(
            version=Version(1, 0), status=Status.REDIRECT, security_token=bytes(32), server_uri="coap://" + "h" * 120
        )
    )
    result = inspect(payload.hex())
    assert result.exit_code == 0
    assert "DPE_REGISTER_RESPONSE" in result.stdout


def _earlier(case: dict[str, Any], kind: str) -> list[str]:
    return [word for name in EARLIER[kind] for word in (f"--{name}", case[name])]


@pytest.mark.parametrize(
    ("case", "kind"),
    [pytest.param(case, kind, id=f"{case['name']}-{kind}") for case in CASES for kind in EARLIER if kind in case],
)
def test_vectors_are_valid(case: dict[str, Any], kind: str, credential: Any) -> None:
    result = inspect(case[kind], *credential(case), *_earlier(case, kind))
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "security token: valid"


@pytest.mark.parametrize("kind", ["request", "response", "success", "confirm"])
def test_wrong_key_and_changed_message_are_not_valid(kind: str, credential: Any) -> None:
    case = CASES[0]
    wrong = inspect(case[kind], *credential(case, device_key="00" * 32), *_earlier(case, kind))
    assert wrong.exit_code == 1
    assert "security token: not valid" in wrong.output
    changed = case[kind][:-2] + f"{int(case[kind][-2:], 16) ^ 1:02x}"
    result = inspect(changed, *credential(case), *_earlier(case, kind))
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "security token: not valid"


@pytest.mark.parametrize(
    ("kind", "given", "needed"),
    [
        ("response", [], "--request"),
        ("success", ["request"], "--response"),
        ("confirm", ["request", "response"], "--success"),
    ],
)
def test_a_missing_link_is_named(kind: str, given: list[str], needed: str, credential: Any) -> None:
    case = CASES[0]
    words = [word for name in given for word in (f"--{name}", case[name])]
    result = inspect(case[kind], *credential(case), *words)
    assert result.exit_code == 1
    assert f"security token: cannot tell: needs {needed}" in result.output


def test_missing_ephemeral_key_is_named(credential: Any) -> None:
    case = next(case for case in CASES if case["suite"] == 2)
    result = inspect(case["response"], *credential(case)[:2], "--request", case["request"])
    assert result.exit_code == 1
    assert "cannot tell: needs --ephemeral" in result.output


def test_earlier_message_of_the_wrong_kind(credential: Any) -> None:
    case = CASES[0]
    result = inspect(case["response"], *credential(case), "--request", case["response"])
    assert result.exit_code == 1
    assert result.stderr.startswith("dpe: error: --request is a RESPONSE, not a REQUEST")


@pytest.mark.parametrize("form", ["binary", "hex", "spaced"])
def test_forms_of_input(form: str, tmp_path: Path) -> None:
    payload = bytes.fromhex(CASES[0]["confirm"])
    content = {"binary": payload, "hex": payload.hex().encode(), "spaced": payload.hex(" ").encode() + b"\n"}[form]
    path = tmp_path / "message"
    path.write_bytes(content)
    outputs = {inspect(path).output, inspect("-", stdin=content).output, inspect(stdin=content).output}
    assert len(outputs) == 1
    assert outputs.pop().startswith("CONFIRM, 23 bytes\n")


def test_whole_datagram() -> None:
    request = bytes.fromhex(CASES[0]["request"])
    datagram = bytes.fromhex("42020007abcdb36470650872656769737465 72113cff") + request
    result = inspect(datagram.hex())
    assert result.exit_code == 0
    assert result.output.startswith(
        "CoAP CON POST /dpe/register, message ID 7, 83 bytes\nDPE_REGISTER_REQUEST, 61 bytes"
    )
    refused = inspect("62810007abcd")
    assert refused.exit_code == 1
    assert refused.output.startswith("CoAP ACK 4.01 Unauthorized, message ID 7, 6 bytes\n")
    assert "hint: " in refused.stderr


@pytest.mark.parametrize("case", VECTORS["malformed_requests"], ids=lambda case: case["name"])
def test_malformed(case: dict[str, str]) -> None:
    result = inspect("-", stdin=bytes.fromhex(case["message"]))
    assert result.exit_code == 1
    assert result.output.startswith("not a DPE-1 message: ")
    assert "^^" in result.output
    told = json.loads(inspect("-", "--json", stdin=bytes.fromhex(case["message"])).output)
    assert set(told["error"]) == {"fault", "offset", "key"}


def test_json(credential: Any) -> None:
    case = CASES[0]
    told = json.loads(inspect(case["request"], *credential(case), "--json").output)
    assert told["message"] == "DPE_REGISTER_REQUEST"
    assert told["size"] == 61
    assert told["security_token"] == {"valid": True, "why": ""}
    assert "".join(field["hex"] for field in told["fields"]).replace(" ", "") == case["request"]


@pytest.mark.parametrize("name", ["/no/such/file", "\udcff"])
def test_no_such_file(name: str) -> None:
    result = inspect(name)
    assert result.exit_code == 1
    assert result.stderr.startswith("dpe: error: no such file, and not hex")
    assert "hint: " in result.stderr


def test_a_message_in_a_pipe() -> None:
    reader, writer = os.pipe()
    os.write(writer, bytes.fromhex(CASES[0]["confirm"]))
    os.close(writer)
    try:
        result = inspect(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
    assert result.exit_code == 0
    assert result.stdout.startswith("CONFIRM, ")


def test_bad_credential(tmp_path: Path) -> None:
    path = tmp_path / "credential"
    path.write_text('{"server": 1}', encoding="utf-8")
    result = inspect(CASES[0]["request"], "--credential", path)
    assert result.exit_code == 1
    assert str(path) in result.stderr
    missing = inspect(CASES[0]["request"], "--credential", tmp_path / "none")
    assert missing.exit_code == 1
    assert "No such file" in missing.stderr
