"""The session's messages: our vectors, round trips, and any bytes give a message or one typed error."""

import json
import re
from pathlib import Path
from typing import Any

import cbor2
import pycddl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dpe_coap
from dpe_coap import usual_reports
from dpe_coap.binding import Code
from dpe_coap.errors import LocalError, MalformedMessage, TooLarge
from dpe_coap.numbers import Attribute, Property
from dpe_coap.session_messages import (
    MAX_SESSION_MESSAGE,
    Answer,
    Report,
    Value,
    decode_answer,
    decode_policies,
    decode_report,
    decoded,
    encode_policies,
    encode_report,
)

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "session-vectors.json").read_text(encoding="utf-8")
)
CDDL = (Path(dpe_coap.__file__).parent / "dpe1.cddl").read_text(encoding="utf-8")


def schema(rule: str) -> pycddl.Schema:
    """The schema with another rule as its start.

    pycddl 0.6.4 checks neither maps whose keys are a choice nor ranges that begin below 0.
    """
    return pycddl.Schema(f"start = {rule}\n{re.sub('(?m)^int64 = .*$', 'int64 = int', CDDL)}")


VALUE, SETTING, PROPERTY, ATTRIBUTE = map(schema, ("value", "setting", "property", "attribute"))

texts = st.text(max_size=256).filter(lambda text: len(text.encode()) <= 256)
names = st.text(min_size=1, max_size=32).filter(lambda text: len(text.encode()) <= 32)
floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(1 << 63), (1 << 63) - 1)
properties = st.integers(0, 65_535) | names
values = st.none() | st.booleans() | integers | floats | texts | st.binary(max_size=256)
small_values = st.none() | st.booleans() | integers | floats | st.binary(max_size=12)
etags = st.none() | st.binary(min_size=4, max_size=4)
conditions = st.dictionaries(st.integers(0, 65_535), st.booleans() | integers | floats, max_size=4)
answers = st.builds(
    Answer, st.dictionaries(properties, conditions, max_size=8), st.none() | st.integers(60, (1 << 32) - 1)
)


def payload_of(message: str) -> bytes:
    return bytes.fromhex(message).partition(b"\xff")[2]


def exact(value: object) -> bytes:
    """A value so that 1, 1.0 and True differ."""
    return cbor2.dumps(value)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['name']}, {v['case']}")
def test_vectors(vector: dict[str, Any]) -> None:
    request, response = payload_of(vector["request_plaintext"]), payload_of(vector["response_plaintext"])
    if vector["case"].startswith("malformed"):
        with pytest.raises(MalformedMessage):
            decode_report(request)
        return
    if request:
        report = decode_report(request)
        values_ = None if report.properties is None else decoded(report.properties)
        assert encode_report(values_, report.policy_etag) == request
    if response:
        etag, answer = decode_answer(response)
        assert (etag, answer.encode()) == (answer.policy_etag, response)


@given(st.dictionaries(properties, small_values, min_size=1, max_size=16), etags)
def test_a_report_round_trips(reported: dict[Any, Any], etag: bytes | None) -> None:
    payload = encode_report(reported, etag)
    report = decode_report(payload)
    assert report.properties is not None
    assert report.policy_etag == etag
    found = decoded(report.properties)
    assert {key: exact(value) for key, value in found.items()} == {key: exact(v) for key, v in reported.items()}
    assert list(report.properties) == sorted(report.properties)
    assert b"".join(key + value for key, value in report.properties.items()) in payload


@given(properties, values)
def test_what_is_taken_is_in_the_schema(property_: Any, value: Any) -> None:
    PROPERTY.validate_cbor(cbor2.dumps(property_))
    VALUE.validate_cbor(cbor2.dumps(value))
    report = decode_report(encode_report({property_: value}))
    assert report.properties is not None
    assert exact(decoded(report.properties)) == exact({property_: value})


@given(answers)
def test_an_answer_round_trips(answer: Answer) -> None:
    payload = answer.encode()
    etag, again = decode_answer(payload)
    assert etag == answer.policy_etag == cbor2.loads(payload)[0]
    assert again.encode() == payload
    assert again.lifetime == answer.lifetime
    assert exact(again.policies) == exact(cbor2.loads(payload)[3])


@given(answers)
def test_policies_by_themselves_round_trip(answer: Answer) -> None:
    encoded = encode_policies(answer.policies)
    assert answer.encode().endswith(encoded)
    assert exact(decode_policies(encoded)) == exact(cbor2.loads(encoded))
    for wrong in (encoded[:-1], encoded + b"\x00", b"", b"\x80", b"\xa1" + encoded):
        with pytest.raises(MalformedMessage):
            decode_policies(wrong)


@given(st.binary(max_size=64))
def test_any_bytes_give_a_report_or_one_error(payload: bytes) -> None:
    try:
        report = decode_report(payload)
    except MalformedMessage:
        return
    assert report.properties is None or 1 <= len(report.properties) <= 64


@given(st.data(), answers, st.dictionaries(properties, small_values, min_size=1, max_size=8), etags)
def test_a_changed_byte_gives_another_message_or_one_error(
    data: st.DataObject, answer: Answer, reported: dict[Any, Any], etag: bytes | None
) -> None:
    for payload, read in ((answer.encode(), decode_answer), (encode_report(reported, etag), decode_report)):
        place = data.draw(st.integers(0, len(payload) - 1))
        octet = data.draw(st.integers(0, 255))
        changed = payload[:place] + bytes([octet]) + payload[place + 1 :]
        try:
            message: Any = read(changed)
        except MalformedMessage:
            continue
        if isinstance(message, Report):
            for key, value in (message.properties or {}).items():
                PROPERTY.validate_cbor(key)
                VALUE.validate_cbor(value)
        else:
            for key, how in message[1].policies.items():
                PROPERTY.validate_cbor(cbor2.dumps(key))
                for attribute, setting in how.items():
                    ATTRIBUTE.validate_cbor(cbor2.dumps(attribute))
                    SETTING.validate_cbor(cbor2.dumps(setting))


@pytest.mark.parametrize(
    ("payload", "code", "fault"),
    [
        ("", Code.BAD_REQUEST, "empty"),
        ("80", Code.BAD_REQUEST, "not a map"),
        ("a10043010203", Code.BAD_REQUEST, "4 bytes"),
        ("a1006461626364", Code.BAD_REQUEST, "4 bytes"),
        ("a101a0", Code.BAD_REQUEST, "a refresh leaves label 1 out"),
        ("a10180", Code.BAD_REQUEST, "not a map"),
        ("a101a10080", Code.BAD_REQUEST, "wrong type"),
        ("a101a100c101", Code.BAD_REQUEST, "wrong type"),
        ("a101a100f7", Code.BAD_REQUEST, "wrong type"),
        ("a101a100f97e00", Code.BAD_REQUEST, "NaN"),
        ("a101a100f97c00", Code.BAD_REQUEST, "infinite"),
        ("a101a100f9fc00", Code.BAD_REQUEST, "infinite"),
        ("a101a100fa41a00000", Code.BAD_REQUEST, "non-shortest float"),
        ("a101a1001b8000000000000000", Code.BAD_REQUEST, "64 bits"),
        ("a101a1003b8000000000000000", Code.BAD_REQUEST, "64 bits"),
        ("a101a100181", Code.BAD_REQUEST, "truncated"),
        ("a101a10017ff", Code.BAD_REQUEST, "after the map"),
        ("a101a1001817", Code.BAD_REQUEST, "non-shortest head"),
        ("a101a11a0001000001", Code.BAD_REQUEST, "neither a number"),
        ("a101a12001", Code.BAD_REQUEST, "neither a number"),
        ("a101a16001", Code.BAD_REQUEST, "neither a number"),
        ("a101a14101", Code.BAD_REQUEST, "truncated"),
        ("a101a1410101", Code.BAD_REQUEST, "neither a number"),
        ("a101a1782161" + "61" * 32 + "01", Code.BAD_REQUEST, "neither a number"),
        ("a101a161ff01", Code.BAD_REQUEST, "UTF-8"),
        ("a101a2010100" + "01", Code.BAD_REQUEST, "unordered"),
        ("a101a201010101", Code.BAD_REQUEST, "duplicate"),
        ("a101a10059010100" + "00" * 256, Code.REQUEST_ENTITY_TOO_LARGE, "longer than 256 bytes"),
        ("a101b841" + "".join(f"18{n:02x}01" for n in range(24, 89)), Code.REQUEST_ENTITY_TOO_LARGE, "more than 64"),
        ("a1025903ff" + "00" * 1_023, Code.REQUEST_ENTITY_TOO_LARGE, "longer than 1024 bytes"),
    ],
)
def test_reports_that_are_refused(payload: str, code: Code, fault: str) -> None:
    octets = bytes.fromhex(payload if len(payload) % 2 == 0 else payload[:-1])
    with pytest.raises(MalformedMessage, match=fault) as caught:
        decode_report(octets)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        ("a0", "policy etag missing"),
        ("a10044c0483d01", "policies missing"),
        ("a20044c0483d010380", "not a map"),
        ("a30044c0483d0102183b03a0", "60 to 4294967295"),
        ("a30044c0483d0102f603a0", "60 to 4294967295"),
        ("a20044c0483d0103a10001", "not a map"),
        ("a20044c0483d0103a100a16001", "an attribute"),
        ("a20044c0483d0103a100a100f6", "wrong type"),
        ("a20044c0483d0103a100a1004101", "wrong type"),
        ("a20044c0483d0103a120a0", "neither a number"),
        ("a20044c0483d0103b841" + "".join(f"18{n:02x}a0" for n in range(24, 89)), "more than 64"),
    ],
)
def test_answers_that_are_refused(payload: str, fault: str) -> None:
    with pytest.raises(MalformedMessage, match=fault):
        decode_answer(bytes.fromhex(payload))


def test_labels_and_attributes_that_nobody_knows_are_ignored() -> None:
    assert decode_report(bytes.fromhex("a2050119ffff8102")) == Report()
    etag, answer = decode_answer(bytes.fromhex("a30044c0483d0103a100a119fffe0118628101"))
    assert (etag.hex(), answer) == ("c0483d01", Answer({0: {65_534: 1}}))


def test_what_cannot_be_said_is_our_own_fault() -> None:
    wrong: list[dict[Any, Any]] = [
        {},
        {65_536: 1},
        {"": 1},
        {"a": float("nan")},
        {"a": 1 << 63},
        {"a": [1]},
        {"a": "x" * 257},
        dict.fromkeys(range(65), 1),
        {str(n): "x" * 256 for n in range(5)},
    ]
    for reported in wrong:
        with pytest.raises(LocalError):
            encode_report(reported)
    with pytest.raises(LocalError):
        encode_report({0: 1}, b"short")
    for answer in (Answer({0: {Attribute.GT: float("inf")}}), Answer({}, 59), Answer({"": {}}), Answer({0: {-1: 1}})):
        with pytest.raises(LocalError):
            answer.encode()


def test_the_etag_tells_all_that_is_told() -> None:
    told = [Answer({}), Answer({}, 60), Answer({0: {}}), Answer({1: {}}), Answer({0: {0: 1}}), Answer({0: {0: 1.0}})]
    assert len({answer.policy_etag for answer in told}) == len(told)


def test_the_longest_report() -> None:
    payload = encode_report({str(n): "x" * 250 for n in range(4)})
    assert MAX_SESSION_MESSAGE - 24 < len(payload) <= MAX_SESSION_MESSAGE
    with pytest.raises(TooLarge):
        decode_report(payload + bytes(24))


def test_numbered_properties_take_one_byte() -> None:
    assert all(number < 24 for number in Property)
    assert encode_report({Property.BATTERY: 86}) == bytes.fromhex("a101a1001856")


@given(
    st.none() | st.binary(min_size=4, max_size=4),
    st.dictionaries(st.integers(0, 300) | st.text(max_size=3), values, max_size=9),
    st.data(),
)
def test_the_usual_report_is_read_as_any_other(
    etag: bytes | None, properties: dict[int | str, Any], data: st.DataObject
) -> None:
    try:
        payload = bytearray(encode_report(properties or None, etag))
    except LocalError:  # an empty name
        return
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 3))):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    usual = usual_reports.read(bytes(payload))
    if usual is not None:
        assert usual == decode_report(bytes(payload))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_alike(rest: bytes) -> None:
    for before in (b"", b"\xa1\x01\xa1", b"\xa1\x01\xa2", b"\xa2\x00\x44etag\x01\xa1\x00"):
        usual = usual_reports.read(before + rest)
        if usual is not None:
            assert usual == decode_report(before + rest)


USUAL: list[Value] = [
    0,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    (1 << 32) - 1,
    -1,
    -24,
    -25,
    -(1 << 32),
    True,
    None,
    1.5,
    -0.0,
    "",
    "a",
]
USUAL += ["x" * 23, b"", b"\xff", bytes(23)]


@pytest.mark.parametrize("value", USUAL)
def test_usual_values_are_read_by_the_pattern(value: Value) -> None:
    for property_ in (0, 23, 24, 255, 256, 65_535, "a", "x" * 23):
        payload = encode_report({property_: value}, b"etag")
        usual = usual_reports.read(payload)
        assert usual is not None
        assert usual == decode_report(payload)


@pytest.mark.parametrize(
    "message",
    [
        "a101a1001800",  # an integer that is not the shortest
        "a101a100190018",
        "a101a1001a00001000",
        "a101a100f97e00",  # NaN
        "a101a100f97c00",  # infinite
        "a101a100f9fc00",
        "a101a100f7",  # undefined
        "a101a11800f5",  # a property that is not the shortest
        "a101a16000",  # an empty name
        "a101a20100f500",  # too much
        "a101a201000000",  # not in order
        "a101a200000001",  # twice
        "a101a0",  # none
        "a101a1006180",  # not ASCII
        "a200446162636401a10000ff",
        "a1",
        "",
    ],
)
def test_the_pattern_takes_nothing_else(message: str) -> None:
    assert usual_reports.read(bytes.fromhex(message)) is None


def test_a_report_shows_nothing_of_the_device() -> None:
    assert repr(Report(b"etag", {b"\x01": b"\x66secret"})) == "Report(policy_etag=b'etag')"


def test_null_is_a_value_wherever_the_reader_comes_to_it() -> None:
    payload = encode_report({1: None, 2: 1e300}, b"etag")
    assert usual_reports.read(payload) is None
    assert decode_report(payload) == Report(b"etag", {b"\x01": b"\xf6", b"\x02": payload[-9:]})


def test_a_refresh_has_seven_bytes() -> None:
    assert usual_reports.read(b"\xa1\x00\x44etag") == Report(b"etag")
    for payload in (b"\xa1\x00\x44eta", b"\xa1\x00\x44etags", b"\xa1\x00\x43eta\x00", b"\xa1\x01\x44etag"):
        assert usual_reports.read(payload) is None


def test_text_of_24_bytes_is_not_in_the_pattern() -> None:
    """Its head has two bytes: one alone would be taken for a size of 24."""
    assert usual_reports.read(b"\xa1\x01\xa1\x00\x78\x18" + b"a" * 23) is None
    assert usual_reports.read(b"\xa1\x01\xa1\x00\x58\x18" + bytes(23)) is None
    assert usual_reports.read(b"\xa1\x01\xa1\x00\x77" + b"a" * 23) is not None


@pytest.mark.parametrize("etag", [None, b"etag"])
@pytest.mark.parametrize("count", [1, 2, 23])
def test_the_pattern_takes_what_is_usual(count: int, etag: bytes | None) -> None:
    """Without it a report is read just as well, and more slowly."""
    usual = [0, 23, 24, 255, 256, 65_536, -1, -24, -25, True, False, None, 20.0, -0.5, "", b"", b"x" * 23]
    usual += ["a" * size for size in range(1, 24)]
    for value in usual:
        for first in (0, 23, 24, 255, 256, 65_535):
            properties = {first: value} | {f"{number:02}": value for number in range(count - 1)}
            payload = encode_report(properties, etag)
            assert usual_reports.read(payload) == decode_report(payload)
    for size in range(1, 24):
        payload = encode_report({"n" * size: 1}, etag)
        assert usual_reports.read(payload) == decode_report(payload)


def test_the_pattern_takes_nothing_that_does_not_fit_together() -> None:
    one, two = b"\x00\x01", b"\x02\x03"
    for payload in (
        b"\xa1\x01\xa2" + one,  # one is missing
        b"\xa1\x01\xa2" + one + two + b"\x04\x05",
        b"\xa1\x01\xa1" + one + two,
        b"\xa1\x01\xa2" + one + one,  # twice
        b"\xa1\x01\xa2" + two + one,  # not in order
        b"\xa1\x01\xa2" + one + two + b"\xff",
        b"\xa1\x01\xa2" + one + b"\xff" + two,
    ):
        assert usual_reports.read(payload) is None
        with pytest.raises(MalformedMessage):
            decode_report(payload)
