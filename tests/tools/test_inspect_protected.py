"""`dpe inspect` of protected messages, and `dpe message report`, against the vectors of sessions."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpe_coap import oscore
from dpe_coap.errors import MalformedMessage
from dpe_coap.messages import Success, encode
from dpe_coap.numbers import Status
from dpe_tools import annotate_oscore, annotate_session
from dpe_tools.annotate import Row
from dpe_tools.datagram import OSCORE, TYPES, Datagram, parse
from tests.tools.conftest import Invoke

VECTORS = Path(__file__).parent.parent / "vectors"
REGISTRATIONS = {
    case["name"]: case for case in json.loads((VECTORS / "dpe1-vectors.json").read_text(encoding="utf-8"))["valid"]
}
CASES = [
    case
    for case in json.loads((VECTORS / "session-vectors.json").read_text(encoding="utf-8"))
    if case["name"] in ("plain", "forward-secret")
]
BY_NAME = {(case["name"], case["case"]): case for case in CASES}
IDS = [f"{case['name']}-{case['case']}" for case in CASES]
MALFORMED = "malformed, problem back"
FIRST = BY_NAME["plain", "first report, policies back"]

Keys = Callable[..., list[str]]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Write a credential; return the options that name it and the messages of its registration."""

    def write(name: str, *without: str, **changed: str) -> list[str]:
        case = REGISTRATIONS[name] | changed
        content = {
            "server": "coap://127.0.0.1",
            "realm": case["realm"],
            "handle": case["handle"],
            "device_key": case["k_dev"],
            "epoch": case["epoch"],
        }
        path = tmp_path / "credential"
        path.write_text(json.dumps(content), encoding="utf-8")
        given = {"credential": str(path)} | {kind: case[kind] for kind in ("request", "response", "success")}
        if "eph_c_private" in case:
            given["ephemeral"] = case["eph_c_private"]
        return [word for option, value in given.items() if option not in without for word in (f"--{option}", value)]

    return write


def bytes_of(rows: list[Row]) -> bytes:
    """The bytes of rows, each of which begins where the one before has ended."""
    data = b""
    for row in rows:
        assert row.offset == len(data)
        data += row.data
    return data


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_rows_hold_every_byte_once(case: dict[str, Any]) -> None:
    client_id, number = bytes.fromhex(case["client_id"]), case["sequence_number"]
    for kind in ("request", "response"):
        data = bytes.fromhex(case[kind])
        assert bytes_of(list(annotate_oscore.outside(data))) == data
        plaintext = bytes.fromhex(case[f"{kind}_plaintext"])
        if (kind, case["case"]) != ("request", MALFORMED):
            assert bytes_of(list(annotate_oscore.inside(plaintext))) == plaintext
    assert bytes_of(list(annotate_oscore.additional_data(client_id, number))).hex() == case["aad"]
    nonce = bytes.fromhex(case["nonce"])
    assert bytes_of(list(annotate_oscore.nonce(nonce, client_id, number))) == nonce


def hex_of(fields: list[dict[str, str]]) -> str:
    return "".join(field["hex"] for field in fields).replace(" ", "")


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_message_is_opened_with_the_keys_of_its_registration(case: dict[str, Any], dpe: Invoke, keys: Keys) -> None:
    given = keys(case["name"])
    for kind, more in (("request", []), ("response", ["--answers", case["request"]])):
        malformed = (kind, case["case"]) == ("request", MALFORMED)
        told = json.loads(dpe("inspect", case[kind], *given, *more, "--json", status=malformed).stdout)
        assert told["message"] == f"protected {kind}"
        assert told["protection"] == {"valid": True, "why": ""}
        assert hex_of(told["fields"]) == case[kind]
        assert hex_of(told["additional_data"]) == case["aad"]
        assert hex_of(told["nonce"]) == case["nonce"]
        inside = told["plaintext"]
        assert (inside["hex"].replace(" ", "") if malformed else hex_of(inside)) == case[f"{kind}_plaintext"]


def test_a_report_byte_by_byte(dpe: Invoke, keys: Keys) -> None:
    data = bytes.fromhex(FIRST["request"])
    shown = dpe("inspect", data.hex(), *keys("plain")).stdout.splitlines()
    assert shown[:2] == ["CoAP CON POST /, message ID 4660, 67 bytes", "protected request, 67 bytes"]
    assert shown[-1] == "protection: valid"
    columns = [re.split(r" {2,}", line.strip()) for line in shown]
    for expected in (
        ["1", "02", "0.02 POST", "outer code: the request's own is inside (RFC 8613 section 4.2)"],
        ["9", "09", "Partial IV of 1, kid", "flags: RFC 8613 section 6.1"],
        ["10", "01", "1", "Partial IV: the request's number (RFC 8613 section 6.1)"],
        ["11", "58 46 2d eb 90 80 78", "h'58462deb908078'", "kid: the Client ID (RFC 8613 section 6.1)"],
        ["19", data[19:27].hex(" "), "ciphertext: 40 bytes (RFC 8613 section 5.3)"],
        ["59", data[-8:].hex(" "), "tag: AES-CCM-16-64-128 (RFC 9053 section 4.2)"],
        ["11", "4f 85", "<<[", "external_aad: 15 bytes, an array of 5 (RFC 8613 section 5.4)"],
        ["16", "47 58 46 2d eb 90 80 78", "h'58462deb908078',", "request_kid: the Client ID"],
        ["24", "41 01", "h'01',", "request_piv: the request's number, 1"],
        ["0", "c5", "7 ^ Common IV", "size of the kid: RFC 8613 section 5.2"],
        ["8", "30 d8 21 42 3b", "1 ^ Common IV", "Partial IV: the request's number"],
        ["inside: POST /dpe, 40 bytes"],
        ["0", "02", "0.02 POST", "inner code: RFC 8613 section 5.3"],
        ["1", "b3 64 70 65", '"dpe"', "Uri-Path: RFC 7252 section 5.10"],
        ["5", "11 3c", "60", "Content-Format: RFC 7252 section 5.10"],
        ["8", "a1", "{", "dpe-report: map of 1 (RFC 8949 section 3.1)"],
        ["9", "01 a6", "1: {", "properties: map of 6"],
        ["11", "00 18 57", "0: 87,", "battery: 87 %"],
        ["14", "01 65 31 2e 34 2e 32", '1: "1.4.2",', "firmware: 1.4.2"],
    ):
        assert expected in columns


def test_what_a_device_is_told_byte_by_byte(dpe: Invoke, keys: Keys) -> None:
    shown = dpe("inspect", FIRST["response"], *keys("plain"), "--answers", FIRST["request"]).stdout.splitlines()
    assert shown[1] == "protected response, 69 bytes"
    columns = [re.split(r" {2,}", line.strip()) for line in shown]
    for expected in (
        [
            "8",
            "90",
            "option 9, empty",
            "OSCORE: the number and the IDs are those of the request (RFC 8613 section 5.2)",
        ],
        ["inside: 2.04 Changed, 51 bytes"],
        ["4", "a3", "{", "dpe-answer: map of 3 (RFC 8949 section 3.1)"],
        ["5", "00 44 2c 0f 48 3d", "0: h'2c0f483d',", "policy etag: of what is told here"],
        ["11", "02 1a 00 09 3a 80", "2: 604800,", "lifetime: 604800 s from now"],
        ["17", "03 a6", "3: {", "policies: map of 6"],
        ["21", "00 19 0e 10", "0: 3600,", "pmin"],
        ["25", "01 1a 00 01 51 80", "1: 86400,", "pmax"],
    ):
        assert expected in columns


def test_a_problem_is_explained(dpe: Invoke, keys: Keys) -> None:
    case = BY_NAME["plain", MALFORMED]
    shown = dpe("inspect", case["response"], *keys("plain"), "--answers", case["request"]).stdout
    assert "inside: 4.00 Bad Request" in shown
    assert "concise problem details: map of" in shown
    assert re.search(r'-1: "malformed.*title: RFC 9290 section 2', shown)


def test_what_is_malformed_inside_is_marked(dpe: Invoke, keys: Keys) -> None:
    shown = dpe("inspect", BY_NAME["plain", MALFORMED]["request"], *keys("plain"), status=1).stdout.splitlines()
    at = next(number for number, line in enumerate(shown) if "not a message of a session: " in line)
    assert any("^^" in line for line in shown[at:])
    assert shown[-1] == "protection: valid"


def test_without_keys_the_rest_is_ciphertext(dpe: Invoke) -> None:
    shown = dpe("inspect", FIRST["request"]).stdout
    assert "ciphertext: 40 bytes" in shown
    assert "additional data, 27 bytes" in shown
    assert "nonce" not in shown
    assert "inside: " not in shown
    assert shown.splitlines()[-1].startswith("what is inside can be read with the session's keys: give --credential")
    told = json.loads(dpe("inspect", FIRST["response"], "--json").stdout)
    assert set(told) == {"message", "size", "fields"}


@pytest.mark.parametrize("missing", ["request", "response", "success", "ephemeral"])
def test_a_missing_link_is_named(missing: str, dpe: Invoke, keys: Keys) -> None:
    case = BY_NAME["forward-secret", "one property"]
    shown = dpe("inspect", case["request"], *keys("forward-secret", missing), status=1).stdout
    assert shown.splitlines()[-1].startswith(f"protection: cannot tell: needs --{missing}")


def test_a_response_needs_its_request(dpe: Invoke, keys: Keys) -> None:
    shown = dpe("inspect", FIRST["response"], *keys("plain"), status=1).stdout
    assert shown.endswith("protection: cannot tell: needs --answers, the request before it\n")
    other = BY_NAME["plain", "one property"]["request"]
    shown = dpe("inspect", FIRST["response"], *keys("plain"), "--answers", other, status=1).stdout
    assert "protection: not valid: not made with this session's keys, or changed on the way" in shown
    none = dpe("inspect", FIRST["response"], *keys("plain"), "--answers", FIRST["response"], status=1)
    assert none.stderr.startswith("dpe: error: --answers is not the datagram of a protected request: ")


def test_what_was_changed_on_the_way_does_not_open(dpe: Invoke, keys: Keys) -> None:
    for place in (10, 30, 66):  # number, ciphertext, tag
        changed = bytearray.fromhex(FIRST["request"])
        changed[place] ^= 2
        shown = dpe("inspect", changed.hex(), *keys("plain"), status=1).stdout
        assert shown.endswith("protection: not valid: not made with this session's keys, or changed on the way\n")
        assert "inside: " not in shown


def test_a_message_of_another_session_is_told(dpe: Invoke, keys: Keys) -> None:
    shown = dpe("inspect", FIRST["request"], *keys("forward-secret"), status=1).stdout
    theirs = REGISTRATIONS["forward-secret"]["client_id"]
    assert f"not valid: the kid is 58462deb908078, and that registration was for Client ID {theirs}" in shown
    wrong = dpe("inspect", FIRST["request"], *keys("plain", k_dev="00" * 32), status=1).stdout
    assert "not valid: the REQUEST before it is not of this credential" in wrong
    other = encode(Success(bytes.fromhex(REGISTRATIONS["plain"]["client_id"]), Status.OK, bytes(16))).hex()
    wrong = dpe("inspect", FIRST["request"], *keys("plain", success=other), status=1).stdout
    assert "not valid: the SUCCESS does not answer that RESPONSE" in wrong


def test_a_registration_that_was_declined_has_no_session(dpe: Invoke, keys: Keys) -> None:
    shown = dpe("inspect", FIRST["request"], *keys("declined"), status=1).stdout
    assert "not valid: the SUCCESS declines the Client ID: no session began" in shown


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("", "1 to 5 bytes of Partial IV and a kid"),
        ("01" + "01", "1 to 5 bytes of Partial IV and a kid"),
        ("e9" + "01" + "58462deb908078", "reserved"),
        ("0a" + "0001" + "58462deb908078", "begins with a zero"),
        ("19" + "01" + "0158462deb908078", "kid context"),
        ("09" + "01" + "aabb", "no Client ID"),
    ],
)
def test_an_option_that_no_session_has_is_told(option: str, expected: str, dpe: Invoke, keys: Keys) -> None:
    data = bytes(Datagram(TYPES[0], 2, 1, b"", ((OSCORE, bytes.fromhex(option)),), bytes(20)))
    assert bytes_of(list(annotate_oscore.outside(data))) == data
    assert expected in dpe("inspect", data.hex()).stdout
    assert "protection: not valid: " in dpe("inspect", data.hex(), *keys("plain"), status=1).stdout


def test_other_options_are_shown() -> None:
    options = ((3, b"a.example"), (OSCORE, b""), (14, b"\x3c"), (2049, b"\1"))
    data = bytes(Datagram(TYPES[1], 0x45, 1, b"", options, b""))
    rows = list(annotate_oscore.outside(data))
    assert bytes_of(rows) == data
    assert {(row.name, row.notation) for row in rows} >= {
        ("Uri-Host", '"a.example"'),
        ("Max-Age", "60"),
        ("option 2049", "h'01'"),
    }


@pytest.mark.parametrize(
    ("plaintext", "fault", "offset"),
    [
        ("02b364", "an option is cut short", 3),
        ("02b3647065ff", "no payload behind the payload marker", 6),
        ("02b3647065113cffa0a0", "bytes after the map", 9),
        ("80c20101ffa1", "truncated", 6),
        ("80c20101ff01", "not a map", 5),
    ],
)
def test_what_is_no_message_of_a_session(plaintext: str, fault: str, offset: int) -> None:
    with pytest.raises(MalformedMessage) as caught:
        list(annotate_oscore.inside(bytes.fromhex(plaintext)))
    assert (caught.value.fault, caught.value.offset) == (fault, offset)


def test_a_payload_of_another_kind_is_shown_as_it_is() -> None:
    plaintext = bytes.fromhex("45ff") + bytes(range(20))
    rows = list(annotate_oscore.inside(plaintext))
    assert bytes_of(rows) == plaintext
    assert [row.name for row in rows if row.name] == ["inner code", "payload marker", "payload"]


def test_what_is_not_known_is_ignored_and_text_cannot_move_the_cursor() -> None:
    report = bytes.fromhex("a2" + "01a2" + "1907d0631b5b41" + "611bf6" + "1864" + "80")
    rows = list(annotate_session.rows(report, annotate_session.Kind.REPORT))
    assert bytes_of(rows) == report
    words = [(row.name, row.meaning) for row in rows if row.name]
    assert words[2:] == [
        ("2000", r'"\u001b[A"'),
        (r'"\u001b"', "not there any more"),
        ("key 100", "unknown: ignored"),
    ]
    answer = bytes.fromhex("a2" + "0044aabbccdd" + "03a1" + "00a1" + "18c801")
    rows = list(annotate_session.rows(answer, annotate_session.Kind.ANSWER))
    assert [(row.name, row.meaning) for row in rows if row.name][-1] == ("attribute 200", "unknown: ignored")
    assert not any("\x1b" in row.notation + row.name + row.meaning for row in rows)


@pytest.mark.parametrize("name", ["plain", "forward-secret"])
def test_a_report_is_made_as_in_the_vectors(name: str, dpe: Invoke, keys: Keys, tmp_path: Path) -> None:
    files = list(keys(name))
    credential = files[files.index("--credential") + 1]
    rest = [word for word in files if word not in ("--credential", credential)]
    for place in range(1, len(rest), 2):
        path = tmp_path / rest[place - 1].removeprefix("--")
        path.write_text(rest[place], encoding="utf-8")
        rest[place] = str(path)
    case = BY_NAME[name, "one property"]
    words = ("battery=86", "--number", case["sequence_number"], "--etag", "2c0f483d", *rest)
    made = [bytes.fromhex(dpe("message", "report", credential, *words, "--hex").stdout) for _ in range(2)]
    assert made[0][:8] != made[1][:8], "message ID and CoAP token are drawn anew"
    assert {one[8:].hex() for one in made} == {bytes.fromhex(case["request"])[8:].hex()}
    assert {(one[0], one[1]) for one in made} == {(0x44, 2)}
    assert len({parse(one).coap_token for one in made}) == 2
    case = BY_NAME[name, "refresh, number of two bytes"]
    out = tmp_path / "refresh"
    dpe("message", "report", credential, "--number", 256, "--etag", "2c0f483d", *rest, "--out", out)
    assert out.read_bytes()[8:].hex() == bytes.fromhex(case["request"])[8:].hex()
    assert out.stat().st_mode & 0o777 == 0o600


def test_what_no_report_can_be_made_of(dpe: Invoke, keys: Keys, tmp_path: Path) -> None:
    given = keys("plain", k_dev="00" * 32)
    rest = given[2:]
    for place in range(1, len(rest), 2):
        path = tmp_path / rest[place - 1].removeprefix("--")
        path.write_text(rest[place], encoding="utf-8")
        rest[place] = str(path)
    wrong = dpe("message", "report", given[1], "--number", 1, *rest, "--hex", status=1)
    assert wrong.stderr.startswith("dpe: error: the session's keys cannot be derived: the REQUEST before it is not of")
    assert "number" in dpe("message", "report", given[1], *rest, "--hex", status=2).stderr
    for words in (["--number", 0], ["--number", oscore.MAX_NUMBER], ["--number", 1, "--etag", "xyz"], ["battery"]):
        more = words if "--number" in words else ["--number", 1, *words]
        assert dpe("message", "report", given[1], *more, *rest, "--hex", status=2).exit_code == 2
