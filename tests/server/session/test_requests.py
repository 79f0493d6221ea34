"""What a device asks for inside a protected request: the table of the protocol, line by line."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.binding import Code
from dpe_coap.session_messages import Report, decoded
from dpe_server.session.requests import Asked, RefusedInside, answer, read

PATH = b"\xb3dpe"
REPORT = b"\x02" + PATH + b"\x11\x3c\xff"
BATTERY = bytes.fromhex("a101a1001856")


def refusal(plaintext: bytes) -> tuple[int, dict[int, Any]]:
    """The code and the problem details that a plaintext is refused with."""
    with pytest.raises(RefusedInside) as caught:
        read(plaintext)
    head, details = caught.value.answer[:5], caught.value.answer[5:]
    assert head[1:] == b"\xc2\x01\x01\xff"
    return head[0], cbor2.loads(details)


def test_a_report_sets_properties() -> None:
    report = read(REPORT + BATTERY)
    assert isinstance(report, Report)
    assert report.properties is not None
    assert decoded(report.properties) == {0: 86}


@pytest.mark.parametrize(
    ("plaintext", "expected"),
    [
        (REPORT + b"\xa0", Report()),
        (b"\x02" + PATH + b"\x11\x3c\x51\x3c\xff\xa0", Report()),  # Accept 60
        (b"\x01" + PATH, Asked.GET),
        (b"\x01" + PATH + b"\x61\x3c", Asked.GET),  # Accept 60
        (b"\x01\x60" + b"\x53dpe", Asked.GET),  # Observe is ignored
        (b"\x01" + PATH + b"\xd1\xe4\x01", Asked.GET),  # Echo
        (b"\x01" + PATH + b"\xd1\xea\x02", Asked.GET),  # No-Response
        (b"\x04" + PATH, Asked.END),
    ],
    ids=["refresh", "accept", "get", "get, accept", "observe", "echo", "no-response", "end"],
)
def test_requests_that_are_taken(plaintext: bytes, expected: Report | Asked) -> None:
    assert read(plaintext) == expected


@pytest.mark.parametrize(
    ("plaintext", "code"),
    [
        (b"", Code.BAD_REQUEST),
        (b"\x02" + PATH + b"\x11", Code.BAD_REQUEST),  # cut off within an option
        (b"\x02" + PATH + b"\x11\x3c\xff", Code.BAD_REQUEST),  # a marker without a payload
        (REPORT + b"\xa1", Code.BAD_REQUEST),
        (REPORT + BATTERY + b"\x00", Code.BAD_REQUEST),
        (b"\x02" + PATH + b"\x11\x3c", Code.BAD_REQUEST),  # no payload
        (b"\x02" + PATH, Code.UNSUPPORTED_CONTENT_FORMAT),
        (b"\x02" + PATH + b"\x10\xff" + BATTERY, Code.UNSUPPORTED_CONTENT_FORMAT),  # 0: text
        (b"\x02" + PATH + b"\x11\x3c\x50\xff" + BATTERY, Code.NOT_ACCEPTABLE),
        (b"\x01" + PATH + b"\x60", Code.NOT_ACCEPTABLE),
        (b"\x03" + PATH, Code.METHOD_NOT_ALLOWED),
        (b"\x00" + PATH, Code.METHOD_NOT_ALLOWED),
        (b"\x45" + PATH, Code.METHOD_NOT_ALLOWED),
        (b"\x02\x11\x3c\xff" + BATTERY, Code.BAD_OPTION),  # option 1, If-Match
        (b"\x02\xc1\x3c\xff" + BATTERY, Code.NOT_FOUND),  # no path
        (b"\x02" + PATH + b"\x08register" + b"\x11\x3c\xff" + BATTERY, Code.NOT_FOUND),
        (b"\x01\xb3DPE", Code.NOT_FOUND),
        (b"\x01" + PATH + b"\x43a=b", Code.BAD_OPTION),  # Uri-Query
        (b"\x01\x31a\x83dpe", Code.BAD_OPTION),  # Uri-Host
        (b"\x01" + PATH + b"\xc0", Code.BAD_OPTION),  # Block2
        (b"\x02" + PATH + b"\x11\x3c\xd1\x02\x08\xff" + BATTERY, Code.BAD_OPTION),  # Block1
        (b"\x01" + PATH + b"\xd1\x0bx", Code.BAD_OPTION),  # Proxy-Uri
        (b"\x01\x90\x23dpe", Code.BAD_OPTION),  # OSCORE within OSCORE
        (REPORT + b"\xa101" + bytes(1_100), Code.REQUEST_ENTITY_TOO_LARGE),
    ],
)
def test_requests_that_are_refused(plaintext: bytes, code: Code) -> None:
    refused, details = refusal(plaintext)
    assert refused == code
    assert details[-1]


def test_the_refusal_of_an_option_names_it() -> None:
    assert refusal(b"\x01" + PATH + b"\xc0\xd1\x0bx")[1] == {-1: "option not supported here", -2: "option 23"}


@pytest.mark.parametrize(
    ("plaintext", "code", "title", "detail"),
    [
        (b"", Code.BAD_REQUEST, "malformed CoAP message inside", None),
        (REPORT, Code.BAD_REQUEST, "malformed CoAP message inside", None),  # a marker without a payload
        (b"\x01" + PATH + b"\x43a=b", Code.BAD_OPTION, "option not supported here", "option 15"),
        (b"\x01", Code.NOT_FOUND, "no such resource", "a session's messages go to /dpe"),
        (b"\x02" + PATH, Code.UNSUPPORTED_CONTENT_FORMAT, "a report has content format 60", "no content format"),
        (
            b"\x02" + PATH + b"\x11\x32",
            Code.UNSUPPORTED_CONTENT_FORMAT,
            "a report has content format 60",
            "content format 50",
        ),
        (b"\x03" + PATH, Code.METHOD_NOT_ALLOWED, "method not allowed here", "POST, GET and DELETE are"),
        (b"\x01" + PATH + b"\x61\x32", Code.NOT_ACCEPTABLE, "answers have content format 60", "accept 50"),
    ],
)
def test_a_refusal_is_explained(plaintext: bytes, code: Code, title: str, detail: str | None) -> None:
    expected = {-1: title} if detail is None else {-1: title, -2: detail}
    assert refusal(plaintext) == (code, expected)
    with pytest.raises(RefusedInside, match=f"^{title}$"):
        read(plaintext)


def test_what_is_known_outside_and_not_critical_is_ignored_inside() -> None:
    assert read(b"\x01" + PATH + b"\xd1\x24\x05") is Asked.GET  # Size1
    assert read(b"\x01" + PATH + b"\xe0\x00\x0c") is Asked.GET  # Request-Tag


def test_a_fault_of_a_report_has_its_place() -> None:
    assert refusal(REPORT + b"\xa1\x01\xa1\x00\x80")[1] == {-1: "a value is of a wrong type", -2: "key 1, offset 4"}


def test_the_usual_report_is_read_like_any_other() -> None:
    for payload in (b"\xa0", BATTERY):
        other = b"\x02" + PATH + b"\x11\x3c" + b"\x51\x3c" + b"\xff" + payload
        assert read(REPORT + payload) == read(other)


@given(st.binary(max_size=48) | st.binary(max_size=40).map(lambda data: REPORT + data))
def test_any_bytes_give_a_request_or_a_refusal(plaintext: bytes) -> None:
    try:
        request = read(plaintext)
    except RefusedInside as refused:
        assert refused.answer[0] >> 5 == 4
    else:
        assert isinstance(request, Report) or request in Asked


def test_answers() -> None:
    assert answer(Code.CHANGED) == b"\x44"
    assert answer(Code.CONTENT, b"\xa0") == bytes.fromhex("45c13cffa0")
    assert answer(Code.DELETED) == b"\x42"
