"""Datagrams are read strictly: a request, an acknowledgement or Rejected, and nothing else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_server.coap.datagram import Acknowledgement, CoapRequest, Rejected, Type, parse
from dpe_server.coap.options import MOST_OPTIONS, Block
from tests import coap
from tests.coap import ACK, CON, GET, NON, POST, RST, Message

OPTIONS = [
    (coap.URI_HOST, b"h"),
    (coap.URI_PORT, b"\x16\x33"),
    (9, b"\x09\x01kid"),
    *coap.REGISTER,
    (coap.URI_QUERY, b"a=b"),
    (coap.URI_QUERY, b"c"),
    (coap.ACCEPT, b"\x3c"),
    (coap.BLOCK2, b"\x05"),
    (coap.BLOCK1, b"\x01\x2b"),
    (coap.SIZE1, b"\x01\x00"),
    (292, b"tag"),
]


def test_a_request_with_every_option_is_read() -> None:
    request = parse(bytes(Message(CON, POST, 0x1234, b"token", OPTIONS, b"payload")))
    assert request == CoapRequest(
        type=Type.CON,
        code=POST,
        message_id=0x1234,
        coap_token=b"token",
        path=(b"dpe", b"register"),
        query=(b"a=b", b"c"),
        accept=60,
        content_format=60,
        block1=Block(18, True, 3),
        block2=Block(0, False, 5),
        size1=256,
        request_tag=(b"tag",),
        proxied=False,
        oscore=b"\x09\x01kid",
        unrecognized=None,
        payload=b"payload",
    )


@pytest.mark.parametrize("kind", [ACK, RST])
def test_an_empty_message_that_ends_ours_is_read(kind: int) -> None:
    assert parse(bytes(Message(kind, 0, 7))) == Acknowledgement(Type(kind), 7)


HEADER = bytes(Message(CON, POST, 0x0102))
REFUSED = {
    "nothing": (b"", None),
    "three bytes": (HEADER[:3], None),
    "version 0": (b"\x00" + HEADER[1:], None),
    "version 2": (b"\x80" + HEADER[1:], None),
    "a ping": (bytes(Message(CON, 0, 0x0102)), 0x0102),
    "an empty NON": (bytes(Message(NON, 0, 0x0102)), None),
    "an empty ACK with a byte behind": (bytes(Message(ACK, 0, 0x0102)) + b"x", None),
    "an empty CON with a token": (bytes(Message(CON, 0, 0x0102, b"t")), 0x0102),
    "a request in an ACK": (bytes(Message(ACK, POST, 0x0102)), None),
    "a request in a Reset": (bytes(Message(RST, POST, 0x0102)), None),
    "a confirmable response": (bytes(Message(CON, 0x45, 0x0102)), 0x0102),
    "a non-confirmable response": (bytes(Message(NON, 0x45, 0x0102)), None),
    "a reserved class": (bytes(Message(CON, 0x20, 0x0102)), 0x0102),
    "a signalling code": (bytes(Message(CON, 0xE1, 0x0102)), 0x0102),
    "a CoAP token of 9 bytes": (b"\x49\x02\x01\x02" + bytes(9), 0x0102),
    "a CoAP token cut off": (b"\x48\x02\x01\x02" + bytes(7), 0x0102),
    "the same in a NON": (b"\x58\x02\x01\x02" + bytes(7), None),
    "a payload marker alone": (HEADER + b"\xff", 0x0102),
    "option delta 15": (HEADER + b"\xf0", 0x0102),
    "option length 15": (HEADER + b"\x1f", 0x0102),
    "an extended delta cut off": (HEADER + b"\xe0\x00", 0x0102),
    "an extended length cut off": (HEADER + b"\x1d", 0x0102),
    "an option value cut off": (HEADER + b"\xb3dp", 0x0102),
    "an option number above 65535": (HEADER + b"\xe0\xff\xff", 0x0102),
    "an unknown critical option in a NON": (bytes(Message(NON, POST, 0x0102, b"", [(13, b"")])), 0x0102),
}


@pytest.mark.parametrize(("datagram", "reset"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_to_be_processed_is_rejected(datagram: bytes, reset: int | None) -> None:
    with pytest.raises(Rejected) as caught:
        parse(datagram)
    assert caught.value.reset == reset


UNRECOGNIZED: dict[str, tuple[list[tuple[int, bytes]], int | None]] = {
    "If-Match": ([(1, b"")], 1),
    "If-None-Match": ([(5, b"")], 5),
    "OSCORE twice": ([(9, b""), (9, b"")], 9),
    "the first of two": ([(65001, b""), (2049, b"")], 2049),
    "an unknown elective option": ([(2, b"x"), (6, b""), (65000, bytes(300))], None),
    "a second Accept": ([(17, b"\x3c"), (17, b"\x3c")], 17),
    "a second Uri-Host": ([(3, b"a"), (3, b"b")], 3),
    "a second Block1": ([(27, b""), (27, b"")], 27),
    "an Accept of three bytes": ([(17, bytes(3))], 17),
    "an empty Uri-Host": ([(3, b"")], 3),
    "a Uri-Path of 256 bytes": ([(11, bytes(256))], 11),
    "a Uri-Query of 256 bytes": ([(15, bytes(256))], 15),
    "a second Content-Format": ([(12, b"\x3c"), (12, b"")], None),
    "a Content-Format of three bytes": ([(12, bytes(3))], None),
}


@pytest.mark.parametrize(("options", "unrecognized"), UNRECOGNIZED.values(), ids=UNRECOGNIZED)
def test_the_first_critical_option_that_is_not_recognised_is_named(
    options: list[tuple[int, bytes]], unrecognized: int | None
) -> None:
    request = parse(bytes(Message(CON, GET, 1, b"", options)))
    assert isinstance(request, CoapRequest)
    assert request.unrecognized == unrecognized


def test_the_first_content_format_counts_and_one_of_three_bytes_does_not() -> None:
    def content_format(*values: bytes) -> int | None:
        request = parse(bytes(Message(CON, POST, 1, b"", [(12, value) for value in values])))
        assert isinstance(request, CoapRequest)
        return request.content_format

    assert content_format(b"\x3c", b"\x00") == 60
    assert content_format(b"\x00\x00\x3c") is None
    assert content_format(b"") == 0


@pytest.mark.parametrize("option", [(2, b""), (11, b"dpe"), (292, b"tag"), (65001, b"")])
def test_with_too_many_options_it_is_not_processed(option: tuple[int, bytes]) -> None:
    def datagram(kind: int, count: int) -> bytes:
        return bytes(Message(kind, GET, 7, b"", [option] * count))

    assert outcome(datagram(CON, MOST_OPTIONS)) is CoapRequest
    for count in (MOST_OPTIONS + 1, 15_000):
        with pytest.raises(Rejected) as caught:
            parse(datagram(CON, count))
        assert caught.value.reset == 7
        assert outcome(datagram(coap.NON, count)) is Rejected


@pytest.mark.parametrize("number", [coap.PROXY_URI, coap.PROXY_SCHEME])
def test_a_request_for_a_proxy_is_seen(number: int) -> None:
    request = parse(bytes(Message(CON, GET, 1, b"", [(number, b"coap")])))
    assert isinstance(request, CoapRequest)
    assert request.proxied


def outcome(datagram: bytes) -> type:
    try:
        return type(parse(datagram))
    except Rejected as rejected:
        return type(rejected)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_rejected(datagram: bytes) -> None:
    assert outcome(datagram) in (CoapRequest, Acknowledgement, Rejected)


def test_mutated_requests_give_a_message_or_rejected() -> None:
    source = random.Random(7252)
    whole = bytes(Message(CON, POST, 0x1234, b"token", OPTIONS, b"payload"))
    outcomes = set()
    for _ in range(5_000):
        datagram = bytearray(whole)
        for _ in range(source.randint(1, 4)):
            datagram[source.randrange(len(datagram))] = source.randrange(256)
        outcomes.add(outcome(bytes(datagram[: source.randint(1, len(datagram))])))
    assert outcomes >= {CoapRequest, Rejected}
