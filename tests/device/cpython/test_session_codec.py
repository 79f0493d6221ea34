"""The device's reports and the server's answers: each side reads what the other writes, and both write the same."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dpe_coap import session_messages
from dpe_coap.session_messages import Answer
from dpe_device.reporter import Reporter
from dpe_device.values import decode, encode

NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False, allow_infinity=False)
HALVES = st.floats(allow_nan=False, allow_infinity=False, width=16)
SINGLES = st.floats(allow_nan=False, allow_infinity=False, width=32)
VALUES = st.none() | st.booleans() | NUMBERS | HALVES | SINGLES | st.text(max_size=64) | st.binary(max_size=256)
NAMES = st.integers(0, 65535) | st.text(min_size=1, max_size=8)
CONDITIONS = st.dictionaries(st.integers(0, 65535), st.booleans() | NUMBERS | HALVES | SINGLES, max_size=8)
ETAGS = st.binary(min_size=4, max_size=4)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=8), st.none() | ETAGS)
def test_a_report_is_what_the_shared_code_writes(properties: dict[Any, Any], etag: bytes | None) -> None:
    report: dict[int, Any] = {1: properties} if etag is None else {0: etag, 1: properties}
    assert encode(report) == session_messages.encode_report(properties, etag)


@given(st.dictionaries(NAMES, CONDITIONS, max_size=5), st.none() | st.integers(60, (1 << 32) - 1))
def test_an_answer_is_read(policies: dict[Any, Any], lifetime: int | None) -> None:
    answer = Answer(policies, lifetime)
    payload = answer.encode()
    told = decode(payload)
    assert told[3] == policies
    assert [type(flag) is bool for how in told[3].values() for flag in how.values()] == [
        type(flag) is bool for name in told[3] for flag in (policies[name][n] for n in told[3][name])
    ]
    reporter = Reporter()
    assert reporter.take(payload) == lifetime
    assert decode(reporter.make(0, 1)) == {0: answer.policy_etag}


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\xa2\0\x44abcd\3" + tail))
@example(b"\xa2\0\x44abcd\3\x40")
@example(b"\xa2\0\x44abcd\3\x60")
@example(b"\xa2\0\x44abcd\3\xf6")
@example(b"\xa2\0\x44abcd\3\x80")
@example(b"\xa2\0\x44abcd\3\xa1\0\x60")
@example(b"\xa2\0\x44abcd\3\xa1\0\xa1\x10\x80")
@example(b"\xa2\0\x44abcd\3\xa1\0\xa1\1\x61x")
def test_no_answer_breaks_the_reporter(payload: bytes) -> None:
    reporter = Reporter()
    reporter.values = {0: 1}
    reporter.make(0, 1)
    reporter.done(0x44, payload, 60)
    assert (None in reporter.dropped) or not payload or decode(payload)[3] is not None
    reporter.values = {0: 2, 1: "x", 2: None, 3: True}
    reporter.due(1000)
    reporter.make(1000, 1)


@given(st.dictionaries(NAMES, VALUES, max_size=80))
def test_what_a_reporter_makes_is_taken_and_ends(values: dict[Any, Any]) -> None:
    reporter = Reporter()
    reporter.values = dict(values)
    record: dict[bytes, bytes] = {}
    for _ in range(40):
        payload = reporter.make(0, 1)
        assert len(payload) <= session_messages.MAX_SESSION_MESSAGE
        items = session_messages.decode_report(payload).properties
        if items is None:
            break
        record |= items
        reporter.done(0x44, b"", None)
    assert session_messages.decoded(record) == values
    assert reporter.dropped == {}
