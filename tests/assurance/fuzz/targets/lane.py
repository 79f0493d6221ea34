"""The lane, which gets each datagram twice, and the router answer any datagram alike, or both drop it; nothing raises;
an answer to a sender that has proved nothing is hardly longer than its request, and leaves nothing behind."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from random import Random

from dpe_coap.binding import CONTENT_FORMAT_CBOR, MAX_PAYLOAD, Code
from dpe_server.coap.datagram import Acknowledgement, Rejected, parse
from dpe_server.coap.discovery import CONTENT_FORMAT_LINKS
from dpe_server.coap.piggyback import refusal
from dpe_server.coap.posts import UPLOADS, PostResource
from dpe_server.coap.response import CoapResponse
from dpe_server.coap.router import Router
from dpe_server.handling.reply import Reply, busy
from dpe_server.operation.resources import lane, router
from tests.assurance.fuzz.known import REDIRECTED, Known
from tests.coap import (  # fmt: skip
    ACCEPT,
    ACK,
    BLOCK1,
    BLOCK2,
    CON,
    CONTENT_FORMAT,
    DISCOVERY,
    GET,
    MAX_AGE,
    NON,
    POST,
    REGISTER,
    RST,
    SIZE1,
    URI_HOST,
    URI_PORT,
    URI_QUERY,
    Message,
)
from tests.links import FakeLink

LONGEST = 420
WORDS = (
    b"\xb3dpe\x08register", b"\x11\x3c", b"\xbb.well-known\x04core", b"\xff", b"\x51\x3c", b"\xd1\x0a\x08", b"\xd0",
    b"\xdd\xff\xff", b"\xee\xff\xff\xff\xff", b"\xe0\xff\xff", b"\x0d\xff", b"\x0e\xff\xff", b"\xf0", b"\x0f",
    b"\x3example", b"\x42\x16\x33", b"\x48", b"\x40\x02", b"\x50\x02", b"\x70\x00", b"\x60\x00", b"\xa5\x00\x01",
    b"\xa4\x00\x03", b"\x17\x58\x20", b"\xd1\x0e\x04", b"\x61", b"\x21\x30",
)  # fmt: skip
SMALL = 112
"""Bytes. No answer to a shorter datagram is longer, unless it has a DPE message."""
HEAD = 4
OPTIONS = 16
"""Bytes of the options of an answer, and its payload marker, at most."""

_known = Known()
_busy = busy(60)


def seeds() -> list[bytes]:
    """Requests as clients send them, with each option that the server knows, and what is answered by a Reset."""
    short = [(number, value) for number, value in REGISTER if number != CONTENT_FORMAT]
    good = _known.request
    found = [
        Message(CON, POST, 1, b"ab", REGISTER, payload)
        for payload in (good, _known.waiting, _known.redirected, _known.success, _known.confirmed, _known.stranger)
    ]
    for more in (
        (URI_HOST, b"server.example"), (URI_PORT, b"\x16\x33"), (ACCEPT, b"\x3c"), (ACCEPT, b"\x32"), (2, bytes(20)),
        (URI_QUERY, b"a=b"), (BLOCK2, b"\x04"), (BLOCK2, b"\x17"), (BLOCK1, b"\x0a"), (BLOCK1, b"\x12"), (9, b"c"),
        (SIZE1, b"\1\0"), (292, b"tag"), (35, b"coap://other"), (39, b"coap"), (65001, bytes(270)), (258, b""),
    ):  # fmt: skip
        found.append(Message(CON, POST, 2, b"", [*REGISTER, more], good[:64] if more[0] == BLOCK1 else good))
    found += [
        Message(NON, POST, 3, b"12345678", REGISTER, good),
        Message(CON, POST, 4, b"1", short, good),
        Message(CON, GET, 5, b"", REGISTER),
        Message(CON, 5, 6, b"", REGISTER, b"x"),
        Message(CON, GET, 7, b"", DISCOVERY),
        Message(CON, GET, 8, b"", [*DISCOVERY, (URI_QUERY, b"rt=dpe.register"), (BLOCK2, b"\x10")]),
        Message(CON, GET, 9, b"", [*DISCOVERY, (URI_QUERY, b"if=dpe*")]),
        Message(CON, GET, 10),
        Message(CON, POST, 11, b"", REGISTER, bytes(MAX_PAYLOAD + 1)),
        Message(CON, 0, 12), Message(RST, 0, 13), Message(ACK, 0, 14), Message(NON, 0, 15), Message(ACK, 69, 16),
    ]  # fmt: skip
    return [bytes(message) for message in found] + [b"\x40\x02\0\x11\xff", b"\x49\x02\0\x12" + bytes(9)]


def repair(data: bytes, chance: Random) -> bytes:
    """Make the MAC of the payload right: of a REQUEST of the known device, or of the SUCCESS that is due."""
    start = 4 + (data[0] & 15 if data else 0)
    marker = data.find(b"\xff", start)
    payload = data[marker + 1 :]
    if marker < 0 or len(payload) < 20:
        return data
    return data[: marker + 1] + _known.signed(payload)


def check(data: bytes) -> None:
    """Send a datagram by the lane, twice, and to the router."""
    before = _known.state()
    link, others = FakeLink(), list[bytes]()
    lane(link, _offer).start(lambda datagrams, _: others.extend(datagrams))
    link.put(data, data)
    answers = [answer for answer, _ in link.sent]
    assert len(answers) + len(others) == 2
    answer = _by_site(data)
    if answers:
        assert answers[0] == answers[1]
        assert isinstance(answer, CoapResponse)
        assert _as_bytes(answer, data) == answers[0]
    else:
        assert others == [data, data]
    _check_state(data, before)
    _check_refusal(data)


def _offer(payloads: Sequence[bytes], answer: Callable[[Sequence[Reply]], None]) -> None:
    answer(_known.handle(payloads))


async def _submit(payload: bytes) -> Reply:
    return _known.handle([payload])[0]


def _by_site(data: bytes) -> CoapResponse | None:
    """Return what the resources answer; None if nothing, a Reset, or an acknowledgement of our own."""
    try:
        request = parse(data)
    except Rejected as rejected:
        assert rejected.reset is None or rejected.reset == int.from_bytes(data[2:4], "big")
        return None
    if isinstance(request, Acknowledgement):
        return None
    resources = router(_submit)
    answering = resources.answer(request, b"peer")
    try:
        answering.send(None)
    except StopIteration as stopped:
        answer = stopped.value
    else:
        raise AssertionError("the answer waits for something")
    assert isinstance(answer, CoapResponse)
    uploads = uploads_of(resources)
    assert len(uploads) <= min(1, UPLOADS)
    assert all(len(repr(key)) < LONGEST and len(upload) < MAX_PAYLOAD for key, upload in uploads.items())
    size = HEAD + len(request.coap_token) + OPTIONS + len(answer.payload)
    if answer.content_format == CONTENT_FORMAT_CBOR:
        assert len(answer.payload) <= MAX_PAYLOAD
        assert _known.proves(request.payload)
        assert size <= len(data) + (OPTIONS if _known.replied_to(request.payload) != REDIRECTED else MAX_PAYLOAD)
    else:
        assert size <= max(SMALL, len(data) + OPTIONS)
        assert answer.code != Code.UNAUTHORIZED or not answer.payload
        assert answer.content_format in (None, CONTENT_FORMAT_LINKS, 257)
    return answer


def uploads_of(resources: Router) -> Mapping[Hashable, bytes]:
    """Return the block-wise requests under way at a server's resources, which share them."""
    (uploads,) = {resource._uploads for resource in resources._resources.values() if isinstance(resource, PostResource)}
    return uploads._begun


def _as_bytes(answer: CoapResponse, data: bytes) -> bytes:
    """Return the piggybacked response by the tests' own encoder."""
    assert answer.block1 is None
    assert answer.block2 is None
    assert answer.size1 is None
    options = []
    for number, value in ((CONTENT_FORMAT, answer.content_format), (MAX_AGE, answer.max_age)):
        if value is not None:
            options.append((number, value.to_bytes(-(-value.bit_length() // 8), "big")))
    coap_token = data[4 : 4 + (data[0] & 15)]
    return bytes(Message(ACK, answer.code, int.from_bytes(data[2:4], "big"), coap_token, options, answer.payload))


def _check_state(data: bytes, before: object) -> None:
    """What was not under a valid security token has left nothing; what was is forgotten for the next input."""
    _known.check_audit()
    if _known.state() != before:
        assert any(_known.proves(data[at + 1 :]) for at in range(4, len(data)) if data[at] == 0xFF)
        _known.restore()


def _check_refusal(data: bytes) -> None:
    """Under overload, too, an answer is an acknowledgement, and of the size of the question."""
    answer = refusal(data, _busy)
    if answer is not None:
        assert answer[2:4] == data[2:4]
        assert len(answer) <= len(data) + 3  # Max-Age
        assert Message.parse(answer).coap_token == data[4 : 4 + (data[0] & 15)]
