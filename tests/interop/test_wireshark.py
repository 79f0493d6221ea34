"""Wireshark's own eyes on what we write and record: Debian's tshark, with the dissector and the profiles.

Its dissector is another reader of the messages, so it must find malformed what the server refuses, and nothing else.
"""

import json
import os
import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import pytest

from dpe_coap import messages, oscore
from dpe_coap.errors import MalformedMessage
from dpe_coap.numbers import Attribute, MessageType, Property, Status
from dpe_coap.session_messages import Answer, decode_answer, decode_report
from dpe_server.operators.capture_file import read
from dpe_tools import oscore_files, protected
from dpe_tools.annotate import TITLES
from dpe_tools.datagram import OSCORE, Datagram, parse
from dpe_tools.oscore_files import Context
from dpe_tools.server_process import ServerProcess
from tests.interop.conftest import IMEI, dpe
from tests.interop.wireshark import DISSECTOR, Tshark, run
from tests.tools.captures import Script

pytestmark = pytest.mark.timeout(180)

MALFORMED = ("dpe1.malformed.encoding", "dpe1.malformed.field", "dpe1.malformed.size")
CONTEXT = Context(bytes(range(1, 8)), bytes(range(16)), bytes(range(8)))
KEYS = oscore.derive(CONTEXT.master_secret, CONTEXT.master_salt, CONTEXT.client_id)


@pytest.fixture(scope="module")
def tshark(require_tool: Callable[[str], str]) -> Tshark:
    return partial(run, require_tool("tshark"))


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    made = tmp_path / "profile"
    made.mkdir()
    return made


NAMES = [
    "message",
    "imei",
    "imei.handle_key",
    "imei.clear",
    "imei_in_clear",
    "version",
    "client_id",
    "status",
    "next_handle",
    "x25519_key",
    "firmware",
    "server_uri",
    "lifetime",
    "retry_after",
    "security_token.nonce",
    "security_token.mac",
]


def test_registrations_have_the_fields_of_the_vectors(
    tshark: Tshark, tmp_path: Path, profile: Path, vectors: dict[str, Any]
) -> None:
    script = Script(tmp_path / "file")
    for one in vectors["valid"]:
        script.registers(one)
    frames = tshark(script.write(), profile, *(f"dpe1.{name}" for name in NAMES), "frame.protocols")
    kinds = ("request", "response", "success", "confirm")
    payloads = [one[kind] for one in vectors["valid"] for kind in kinds if one.get(kind)]
    assert len(payloads) > 60
    for frame, payload in zip(frames, payloads, strict=True):
        assert frame.pop("frame.protocols") == ["raw:ip:udp:coap:dpe1"]
        assert frame == _expected(bytes.fromhex(payload))


def _expected(payload: bytes) -> dict[str, list[str]]:
    """Return the fields of a message as the product's reader finds them."""
    message: Any = messages.decode(payload)
    found: dict[str, list[str]] = {"message": [str(int(MessageType[type(message).__name__.upper()]))]}
    if isinstance(message, messages.Request):
        sealed = len(message.identity) == 17
        found["imei" if sealed else "imei.clear"] = [message.identity.hex()]
        found |= {"imei.handle_key": [str(message.identity[0])]} if sealed else {"imei_in_clear": ["1"]}
    for name, attribute in (("client_id", "client_id"), ("next_handle", "sealed_handle"), ("x25519_key", "x25519_key")):
        if getattr(message, attribute, None) is not None:
            found[name] = [getattr(message, attribute).hex()]
    for name in ("version", "status", "firmware", "server_uri", "lifetime", "retry_after"):
        if getattr(message, name, None) is not None:
            value = getattr(message, name)
            found[name] = [str(int(value) if isinstance(value, int) else value)]
    if isinstance(message, messages.Request | messages.Response):
        found["security_token.nonce"] = [message.security_token[:16].hex()]
    found["security_token.mac"] = [payload[-16:].hex()]
    return {f"dpe1.{name}": values for name, values in found.items()}


def test_sessions_are_decrypted_and_have_the_fields_of_the_vectors(
    tshark: Tshark, tmp_path: Path, profile: Path
) -> None:
    path = Path(__file__).resolve().parents[1] / "vectors" / "session-vectors.json"
    vectors = json.loads(path.read_text(encoding="utf-8"))
    script = Script(tmp_path / "file")
    contexts = {}
    for one in vectors:
        master = (bytes.fromhex(one[name]) for name in ("client_id", "master_secret", "master_salt"))
        contexts[one["client_id"]] = oscore_files.wireshark(Context(*master))
        script.exchange(bytes.fromhex(one["request"]), bytes.fromhex(one["response"]))
    (profile / "oscore_contexts").write_text("".join(contexts.values()))
    names = ("oscore.code", "dpe1.session", "dpe1.policy_etag", "dpe1.property", "dpe1.session.lifetime", "dpe1.policy")
    frames = tshark(script.write(), profile, *names, *MALFORMED, "oscore.decrypt_error", "oscore.tag_check_failed")
    assert len(frames) == 2 * len(vectors)
    malformed = 0
    about = [(one, kind) for one in vectors for kind in ("request", "response")]
    for frame, (one, kind) in zip(frames, about, strict=True):
        plaintext = bytes.fromhex(one[f"{kind}_plaintext"])
        expected = {"oscore.code": [str(plaintext[0])]}
        _, marker, payload = plaintext.partition(b"\xff")
        if b"\xc1\x3c\xff" in plaintext or b"\x11\x3c\xff" in plaintext:
            expected |= _expected_inside(payload, kind)
            malformed += MALFORMED[0] in expected
        assert frame == expected, (one["case"], kind)
        assert not payload or marker
    assert malformed == sum(one["case"].startswith("malformed") for one in vectors)


def _expected_inside(payload: bytes, kind: str) -> dict[str, list[str]]:
    if kind == "request":
        try:
            report = decode_report(payload)
        except MalformedMessage:
            return {"dpe1.session": ["dpe-report"], MALFORMED[0]: ["1"]}
        names = [cbor2.loads(name) for name in report.properties or ()]
        found = {"dpe1.session": ["dpe-report"], "dpe1.property": [_name(name) for name in names]}
        found["dpe1.policy_etag"] = [report.policy_etag.hex()] if report.policy_etag else []
        return {name: values for name, values in found.items() if values}
    etag, answer = decode_answer(payload)
    found = {"dpe1.session": ["dpe-answer"], "dpe1.policy_etag": [etag.hex()]}
    found["dpe1.policy"] = [_name(name) for name in answer.policies]
    found["dpe1.session.lifetime"] = [str(answer.lifetime)] if answer.lifetime else []
    return {name: values for name, values in found.items() if values}


def _name(name: int | str) -> str:
    return Property(name).name.lower() if isinstance(name, int) else name


VALUES: dict[str, Any] = {
    "0": 0, "-1": -1, "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63), "4294967296": 2**32,
    "-4294967297": -(2**32) - 1, "20": 20, "20.0": 20.0, "-0.0": -0.0, "0.1": 0.1, "1e+300": 1e300,
    "5.9604644775390625e-08": 2.0**-24, "3.4028234663852886e+38": 3.4028234663852886e38, "true": True,
    "false": False, "null": None, '"de-DE"': "de-DE", '"ä€😀"': "ä€😀", "h'00ff'": b"\x00\xff", "h''": b"", '""': "",
}  # fmt: skip


def test_values_are_in_diagnostic_notation(tshark: Tshark, tmp_path: Path, profile: Path) -> None:
    script = Script(tmp_path / "file")
    for number, value in enumerate(VALUES.values(), 1):
        payload = cbor2.dumps({1: {number: value}}, canonical=True)
        script.exchange(protected.report(CONTEXT, number, payload), None)
    (profile / "oscore_contexts").write_text(oscore_files.wireshark(CONTEXT))
    frames = tshark(script.write(), profile, "dpe1.property.value", *MALFORMED)
    assert [frame.get("dpe1.property.value") for frame in frames] == [[told] for told in VALUES]
    assert not any(name in frame for frame in frames for name in MALFORMED)


def _damaged(draw: random.Random, data: bytes) -> bytes:
    """Return a message with one to three faults, some of which leave it a message."""
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        at = draw.randrange(len(damaged)) if damaged else 0
        match draw.randrange(5):
            case 0 if damaged:
                damaged[at] ^= 1 << draw.randrange(8)
            case 1 if damaged:
                damaged[at] = draw.choice(
                    [0x00, 0x17, 0x18, 0x19, 0x1F, 0x40, 0x60, 0x80, 0xA0, 0xC0, 0xF4, 0xF9, 0xFB]
                )
            case 2:
                del damaged[at : at + draw.randrange(1, 4)]
            case 3:
                damaged[at:at] = draw.randbytes(draw.randrange(1, 4))
            case 4:
                damaged[at:] = draw.choice(OTHERS)
    return bytes(damaged)


ITEMS: tuple[Any, ...] = (
    1.5,
    0.1,
    1e300,
    float("nan"),
    float("inf"),
    2**64 - 1,
    -(2**63) - 1,
    "ä",
    b"x" * 257,
    "y" * 256,
    [[[[[]]]]],
)
UNCOMMON = ("fb3ff8000000000000", "fa3fc00000", "fa33800000", "f93e00", "62c080", "63eda080", "f818")
OTHERS = [*map(cbor2.dumps, ITEMS), *map(bytes.fromhex, UNCOMMON)]
"""What an end is replaced by: valid items, items too long by one byte, and encodings that are not the shortest."""


def test_finds_malformed_what_the_server_does(
    tshark: Tshark, tmp_path: Path, profile: Path, vectors: dict[str, Any]
) -> None:
    draw = random.Random(4)
    whole = [bytes.fromhex(one[kind]) for one in vectors["valid"] for kind in ("request", "success") if one.get(kind)]
    whole += [bytes.fromhex(one[kind]) for one in vectors["valid"] for kind in ("response", "confirm") if one.get(kind)]
    tried = [bytes.fromhex(one["message"]) for one in vectors["malformed_requests"] if one["message"]]
    tried += [damaged for _ in range(2_000) if (damaged := _damaged(draw, draw.choice(whole)))]
    script = Script(tmp_path / "file")
    for payload in tried:
        script.asks(payload)
    frames = tshark(script.write(), profile, "dpe1.message", *MALFORMED)
    expected = [_refused(messages.decode, payload) for payload in tried]
    assert [any(name in frame for name in MALFORMED) for frame in frames] == expected
    assert 100 < expected.count(False) < 1_900


def test_finds_malformed_in_sessions_what_the_server_does(tshark: Tshark, tmp_path: Path, profile: Path) -> None:
    draw = random.Random(5)
    report = cbor2.dumps({0: b"etag", 1: {0: 87, 1: "1.4.2", 2: True, 300: -5, "x.y": 21.5}}, canonical=True)
    answer = Answer({0: {0: 60, 3: 20.5, 5: True}, "x.y": {}}, 604_800).encode()
    script = Script(tmp_path / "file")
    expected = []
    for number in range(1, 1_501):
        asked, answered = _damaged(draw, report), _damaged(draw, answer)
        expected += [_refused(decode_report, asked), _refused(lambda data: decode_answer(data), answered)]
        request = protected.report(CONTEXT, number, asked)
        script.exchange(request, _answer(number, parse(request).coap_token, answered))
    (profile / "oscore_contexts").write_text(oscore_files.wireshark(CONTEXT))
    frames = tshark(script.write(), profile, "dpe1.session", "oscore.code", *MALFORMED)
    kinds = ["dpe-report", "dpe-answer"] * 1_500
    assert [frame["oscore.code"] for frame in frames] == [["2"], ["68"]] * 1_500
    read_as = [(frame.get("dpe1.session", ["none"])[0], any(name in frame for name in MALFORMED)) for frame in frames]
    assert read_as == list(zip(kinds, expected, strict=True))
    assert 100 < expected.count(False) < 2_900


def _answer(number: int, coap_token: bytes, payload: bytes) -> bytes:
    """Return the datagram of a protected response to the request of this number."""
    plaintext = b"\x44\xc1\x3c\xff" + payload if payload else b"\x44\xc1\x3c"
    nonce = oscore.nonce(KEYS.common_iv, CONTEXT.client_id, number)
    data = oscore.encrypt(KEYS.server, nonce, oscore.additional_data(CONTEXT.client_id, number), plaintext)
    return bytes(Datagram("ACK", 0x44, 0, coap_token, ((OSCORE, b""),), data))


def _refused(decode: Callable[[bytes], object], payload: bytes) -> bool:
    try:
        decode(payload)
    except MalformedMessage:
        return True
    return False


def test_its_names_and_numbers_are_those_of_the_schema() -> None:
    text = DISSECTOR.read_text(encoding="utf-8")

    def table(name: str) -> dict[int, str]:
        (body,) = re.findall(rf"^local {name} = \{{(.*?)\}}", text, re.DOTALL | re.MULTILINE)
        return {int(number): word for number, word in re.findall(r'\[(\d+)\] = "([^"]+)"', body)}

    assert table("TYPES") == {int(number): title for number, title in TITLES.items()}
    assert table("STATUSES") == {int(one): one.name.lower().replace("_", "-") for one in Status}
    assert table("PROPERTIES") == {int(one): one.name.lower() for one in Property}
    assert table("ATTRIBUTES") == {int(one): one.name.lower() for one in Attribute}


def test_another_protocol_in_cbor_is_left_to_others(tshark: Tshark, tmp_path: Path, profile: Path) -> None:
    script = Script(tmp_path / "file")
    asked = Datagram("CON", 2, 1, b"a", ((11, b"other"), (12, b"\x3c")), b"\xa1\x00\x01")
    script.exchange(bytes(asked), bytes(Datagram("ACK", 0x44, 1, b"a", ((12, b"\x3c"),), b"\xa1\x00\x01")))
    frames = tshark(script.write(), profile, "_ws.col.Protocol", "cbor.item.map", "dpe1.message")
    assert [set(frame) for frame in frames] == [
        {"_ws.col.Protocol", "cbor.item.map"},
        {"_ws.col.Protocol", "cbor.item.map"},
    ]
    assert [frame["_ws.col.Protocol"] for frame in frames] == [["CoAP"]] * 2


def test_reads_the_capture_of_the_demo(tshark: Tshark, tmp_path: Path) -> None:
    capture = tmp_path / "demo.pcapng"
    dpe("demo", "--pcap", capture)
    profile = tmp_path / "demo.pcapng.profile"
    assert {path.name: path.stat().st_mode & 0o777 for path in profile.iterdir()} == dict.fromkeys(
        ("oscore_contexts", "decode_as_entries", "dpe1.lua", "device-1.json", "device-2.json", "device-3.json"), 0o600
    )
    assert profile.stat().st_mode & 0o777 == 0o700
    frames = tshark(capture, profile, "dpe1.message", "dpe1.session", "dpe1.property", "frame.comment", "coap.code")
    said = [frame["dpe1.message"][0] for frame in frames if "dpe1.message" in frame]
    assert said[:4] == ["1", "2", "3", "4"]
    reports = [frame for frame in frames if frame.get("dpe1.session") == ["dpe-report"]]
    six = ["battery", "firmware", "roaming", "free_memory", "language", "last_reboot"]
    assert [frame.get("dpe1.property", []) for frame in reports][:2] == [six, ["battery"]]
    assert [frame.get("dpe1.session") for frame in frames].count(["dpe-answer"]) == 2
    assert any(frame.get("frame.comment") == ["lost by the relay"] for frame in frames)
    assert [frame["coap.code"] for frame in frames].count(["129"]) == 4  # an impostor, two replays, erased keys
    sums = ("-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE")
    checked = tshark(capture, profile, "ip.checksum.status", "udp.checksum.status", "_ws.malformed", options=sums)
    assert checked == [{"ip.checksum.status": ["1"], "udp.checksum.status": ["1"]}] * len(frames)
    credentials = [part for path in sorted(profile.glob("device-*.json")) for part in ("--credential", path)]
    counted = json.loads(dpe("inspect", "--pcap", capture, *credentials, "--json"))["security_tokens"]
    assert counted["not_valid"] == 0
    assert counted["cannot_tell"] == 1  # the impostor's
    assert counted["valid"] >= 8 + 2 * 6


def test_reads_what_a_device_and_a_server_record(tshark: Tshark, tmp_path: Path) -> None:
    options = ("--workers", "2", "--pcap", str(tmp_path / "served"))
    with ServerProcess(_state(tmp_path), tmp_path / "log", options=options) as running:
        uri = f"coap://127.0.0.1:{running.address[1]}"
        device = tmp_path / "device.json"
        made = json.loads(dpe("provision", tmp_path / "state", IMEI))
        device.write_text(json.dumps(made | {"server": uri}))
        dpe("register", device, "--pcap", tmp_path / "registered")
        dpe("session", "report", device, "battery=50", "--pcap", tmp_path / "reported")
    registered = tshark(tmp_path / "registered", tmp_path / "registered.profile", "dpe1.message", "udp.dstport")
    assert [frame["dpe1.message"] for frame in registered] == [["1"], ["2"], ["3"], ["4"]]
    assert registered[0]["udp.dstport"] == [str(running.address[1])]
    contexts = (tmp_path / "registered.profile" / "oscore_contexts").read_text()
    assert contexts == (tmp_path / "reported.profile" / "oscore_contexts").read_text()
    names = ("dpe1.session", "dpe1.property", "dpe1.property.value", "dpe1.policy")
    reported = tshark(tmp_path / "reported", tmp_path / "reported.profile", *names)
    assert reported[0] == {
        "dpe1.session": ["dpe-report"],
        "dpe1.property": ["battery"],
        "dpe1.property.value": ["50"],
    }
    assert reported[1]["dpe1.session"] == ["dpe-answer"]
    # The server's is read with the profile of the device: it has no keys of its own.
    assert not (tmp_path / "served.profile").exists()
    served = tshark(tmp_path / "served", tmp_path / "reported.profile", *names, "dpe1.message")
    assert [frame.get("dpe1.message") for frame in served] == [["1"], ["2"], ["3"], ["4"], None, None]
    assert served[4:] == reported
    passed = [one.datagram for name in ("registered", "reported") for one in read(str(tmp_path / name))]
    assert [one.datagram for one in read(str(tmp_path / "served"))] == passed
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "every datagram is captured" in log
    assert "who spoke when and from where" in log


def _state(place: Path) -> Path:
    dpe("init", place / "state", "--realm", "captured")
    return place / "state"


def test_serve_records_no_secret(tmp_path: Path) -> None:
    state = _state(tmp_path)
    secrets = [bytes.fromhex(value) for value in re.findall(r'"([0-9a-f]{64})"', (state / "keys.json").read_text())]
    assert secrets
    with ServerProcess(state, tmp_path / "log", options=("--pcap", str(tmp_path / "served"))) as running:
        device = tmp_path / "device.json"
        made = json.loads(dpe("provision", state, IMEI)) | {"server": f"coap://127.0.0.1:{running.address[1]}"}
        device.write_text(json.dumps(made))
        dpe("register", device)
        dpe("session", "report", device, "firmware=1.4.2-secret")
    data = (tmp_path / "served").read_bytes()
    assert len(data) > 600
    hidden = [*secrets, bytes.fromhex(made["device_key"]), IMEI.encode(), bytes.fromhex(IMEI[:14]), b"1.4.2-secret"]
    assert not any(secret in data for secret in hidden)
    assert (tmp_path / "served").stat().st_mode & 0o777 == 0o600


def test_a_second_server_leaves_the_capture_of_the_first(tmp_path: Path) -> None:
    state = _state(tmp_path)
    with ServerProcess(state, tmp_path / "log", options=("--pcap", str(tmp_path / "served"))):
        before = (tmp_path / "served").read_bytes()
        (tmp_path / "served").chmod(0o600)
        os.utime(tmp_path / "served", (1, 1))
        dpe("serve", state, "--listen", "127.0.0.1:0", "--pcap", tmp_path / "served", status=1)
        assert (tmp_path / "served").stat().st_mtime == 1
        assert (tmp_path / "served").read_bytes() == before


@pytest.mark.parametrize("command", [("demo",), ("register", "device.json"), ("session", "get", "device.json")])
def test_nothing_but_a_capture_is_replaced(command: tuple[str, ...], tmp_path: Path, server: tuple[Path, str]) -> None:
    device = tmp_path / "device.json"
    device.write_text(dpe("provision", server[0], IMEI))
    before = device.read_bytes()
    arguments = [str(device) if word == "device.json" else word for word in command]
    dpe(*arguments, "--pcap", device, status=1)
    assert device.read_bytes() == before
    assert not (tmp_path / "device.json.profile").exists()
