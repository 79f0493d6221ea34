"""Any plaintext inside a protected request gives what it asks for, or one refusal with the code that the protocol's
table names and a short payload; the usual report is read as any other is."""

import cbor2

from dpe_coap.binding import Code
from dpe_coap.errors import MalformedMessage
from dpe_coap.session_messages import Report, decode_report
from dpe_server.session.requests import Asked, RefusedInside, read
from tests.assurance.fuzz.targets import session_messages
from tests.coap import ACCEPT, CONTENT_FORMAT, URI_PATH

LONGEST = 300
PATH = b"\xb3dpe"
WORDS = (
    b"\x02" + PATH + b"\x11\x3c\xff", PATH, b"\x11\x3c", b"\x51\x3c", b"\x61\x3c", b"\xff", b"\x01", b"\x04",
    b"\x60", b"\x53dpe", b"\xd1\xe4\x01", b"\xd1\xea\x02", b"\x43a=b", b"\xc0", b"\xd1\x0bx", b"\x90",
    b"\xdd\xff\xff", b"\xee\xff\xff\xff\xff", b"\xe0\xff\xff", b"\xf0", b"\x0f", b"\x10", b"\x00",
    b"\xa1\x01\xa1\x00\x18\x56", b"\xa0", b"\xa1\x00\x44etag",
)  # fmt: skip
MOST_OPTIONS = 64
LONGEST_ANSWER = 240
"""Bytes of a refusal."""


def seeds() -> list[bytes]:
    """Each request of the protocol's page, each with something added or missing, and the messages of the vectors."""
    report = b"\x02" + PATH + b"\x11\x3c\xff"
    found = [report + message for message in session_messages.seeds()[:40]]
    for code in (b"\x01", b"\x02", b"\x04"):
        for more in (
            b"",
            b"\x61\x3c",
            b"\x60",
            b"\x43a=b",
            b"\xd1\xe4\x01",
            b"\x08register",
            b"\x10",
            b"\x11\x3c",
            b"\xc0",
        ):
            found += [code + PATH + more, code + PATH + more + b"\xff\xa0"]
    return [
        *found,
        b"",
        b"\x03" + PATH,
        b"\x01\x60\x53dpe",
        b"\x01\x31a\x83dpe",
        b"\x01\x90\x23dpe",
        b"\x01" + b"\0" * 65,
    ]


def check(plaintext: bytes) -> None:
    """Compare with the table, by a second reader of options."""
    expected = _expected(plaintext)
    try:
        request = read(plaintext)
    except RefusedInside as refused:
        answer = refused.answer
        assert answer[0] == expected
        assert answer[1:5] == b"\xc2\x01\x01\xff"
        assert len(answer) <= LONGEST_ANSWER
        details = cbor2.loads(answer[5:])
        assert details.keys() <= {-1, -2}
        assert all(isinstance(text, str) and text.isprintable() for text in details.values())
        return
    assert request == expected


def _expected(plaintext: bytes) -> Report | Asked | int:
    """Return what is asked for, or the code that refuses it."""
    options, payload = _options(plaintext)
    if options is None:
        return Code.BAD_REQUEST
    values: dict[int, list[bytes]] = {}
    for number, value in options:
        longest = {URI_PATH: 255, CONTENT_FORMAT: 2, ACCEPT: 2}.get(number, -1)
        if len(value) <= longest and (number not in values or number == URI_PATH):
            values.setdefault(number, []).append(value)
        elif number & 1:
            return Code.BAD_OPTION
    if values.get(URI_PATH) != [b"dpe"]:
        return Code.NOT_FOUND
    match plaintext[0]:
        case 0x02:
            if int.from_bytes(values.get(CONTENT_FORMAT, [b""])[0], "big") != 60:
                return Code.UNSUPPORTED_CONTENT_FORMAT
            try:
                request: Report | Asked = decode_report(payload)
            except MalformedMessage as error:
                return error.code
        case 0x01:
            request = Asked.GET
        case 0x04:
            request = Asked.END
        case _:
            return Code.METHOD_NOT_ALLOWED
    if ACCEPT in values and int.from_bytes(values[ACCEPT][0], "big") != 60:
        return Code.NOT_ACCEPTABLE
    return request


def _options(plaintext: bytes) -> tuple[list[tuple[int, bytes]] | None, bytes]:
    """Return the options and the payload (RFC 7252 section 3.1); None if they cannot be read."""
    rest = plaintext[1:]
    options: list[tuple[int, bytes]] = []
    number = 0
    while rest:
        head, rest = rest[0], rest[1:]
        if head == 0xFF:
            return (options, rest) if rest else (None, b"")
        fields = []
        for nibble in (head >> 4, head & 15):
            size = max(0, nibble - 12)
            if nibble == 15 or len(rest) < size:
                return None, b""
            fields.append((0, 13, 269)[size] + int.from_bytes(rest[:size], "big") if size else nibble)
            rest = rest[size:]
        number += fields[0]
        if len(rest) < fields[1] or number > 0xFFFF or len(options) == MOST_OPTIONS:
            return None, b""
        options.append((number, rest[: fields[1]]))
        rest = rest[fields[1] :]
    return (options, b"") if plaintext else (None, b"")
