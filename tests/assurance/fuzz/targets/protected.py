"""The lane, which gets each request under OSCORE three times, and the router answer it alike, or both drop it; only
what the device of a session has made, under a number above the mark, changes anything or gets a protected answer, which
is the same each time and says what was done; whoever proves nothing gets a code and no more."""

from collections.abc import Callable, Sequence
from random import Random

import cbor2

from dpe_coap.binding import Code
from dpe_coap.client_ids import client_id_bytes
from dpe_coap.session_messages import decode_report, decoded
from dpe_server.coap.datagram import CoapRequest, Rejected, Type, parse
from dpe_server.coap.response import CoapResponse
from dpe_server.handling.reply import UNAUTHORIZED, Reply
from dpe_server.operation.resources import lane, router
from dpe_server.store.record import entries
from tests.assurance.fuzz.in_session import BEFORE, LIVE, MARK, NEVER, OVER, InSession
from tests.assurance.fuzz.targets import session_request
from tests.coap import ACK, CON, GET, NON, POST, REGISTER, URI_HOST, Message
from tests.links import FakeLink

LONGEST = 360
OSCORE, FETCH = 9, 5
SEALED = b"\1"
"""How an input begins whose payload is a plaintext: it is encrypted as by the device that its OSCORE option names. The
rest of any other input is sent as it is."""
WORDS = (
    *session_request.WORDS, SEALED, b"\x99\x09", b"\x9a\x0a", b"\x9d\x00\x0d", b"\x09\x06" + client_id_bytes(LIVE),
    client_id_bytes(LIVE), client_id_bytes(OVER), client_id_bytes(NEVER), b"\x40\x02", b"\x50\x02", b"\x40\x05",
    b"\x31h",
)  # fmt: skip
DONE = (Code.CHANGED, Code.CONTENT, Code.DELETED)
INSIDE = (*DONE, Code.BAD_REQUEST, Code.BAD_OPTION, Code.NOT_FOUND, Code.METHOD_NOT_ALLOWED, Code.NOT_ACCEPTABLE,
          Code.REQUEST_ENTITY_TOO_LARGE, Code.UNSUPPORTED_CONTENT_FORMAT)  # fmt: skip

_in_session = InSession()


def seeds() -> list[bytes]:
    """What devices ask for, with other numbers and senders, and what is outside in other ways."""
    plaintexts = session_request.seeds()
    option = _option(MARK + 1, LIVE)
    found = [SEALED + _datagram(option, plaintext) for plaintext in plaintexts if plaintext]
    report = plaintexts[0]
    for number, client_id in ((MARK, LIVE), (0, LIVE), (300, LIVE), (1 << 39, LIVE), (9, OVER), (9, NEVER), (9, 7)):
        found.append(SEALED + _datagram(_option(number, client_id), report))
    for more in ((URI_HOST, b"server.example"), (1, b"critical"), (2, b"elective"), (35, b"coap://other"), (6, b"")):
        found.append(SEALED + _datagram(option, report, more))
    found += [SEALED + _datagram(option, report, code=FETCH), SEALED + _datagram(option, report, code=GET)]
    found += [SEALED + _datagram(option, report, kind=NON), SEALED + _datagram(b"", report)]
    found += [
        b"\0" + _datagram(option, bytes(20)),
        b"\0" + _datagram(option, b""),
        b"\0" + _datagram(option, bytes(1_101)),
    ]
    return [*found, b"\0" + bytes(Message(CON, POST, 1, b"", REGISTER, bytes(61)))]


def repair(data: bytes, chance: Random) -> bytes:
    """Let the input be of the device in its session, under a number that was not used."""
    start = 5 + (data[1] & 15 if len(data) > 1 else 0)
    marker = data.find(b"\xff", start)
    if marker < 0:
        return data
    option = _option(MARK + 1 + chance.randrange(1 << chance.choice((3, 12, 39))), LIVE)
    return SEALED + _datagram(option, data[marker + 1 :])


def check(data: bytes) -> None:
    """Send a datagram by the lane, three times, and to the router."""
    datagram = _sealed(data[1:]) if data[:1] == SEALED else data[1:]
    link, others = FakeLink(), list[bytes]()
    lane(link, _refuse, _offer).start(lambda datagrams, _: others.extend(datagrams))
    link.put(datagram)
    link.put(datagram, datagram)
    answers = [answer for answer, _ in link.sent]
    assert len(answers) + len(others) == 3
    if answers:
        assert answers == answers[:1] * 3
    else:
        assert others == [datagram] * 3
    _in_session.restore()
    response = _by_router(datagram)
    if answers:
        assert response is not None
        assert _as_bytes(response, datagram) == answers[0]
    _in_session.restore()
    _in_session.check_audit()


def _refuse(payloads: Sequence[bytes], deliver: Callable[[Sequence[Reply]], None]) -> None:
    deliver([UNAUTHORIZED] * len(payloads))


def _offer(payloads: Sequence[bytes], deliver: Callable[[Sequence[Reply]], None]) -> None:
    deliver(_in_session.handle(payloads))


async def _register(_: bytes) -> Reply:
    return UNAUTHORIZED


async def _talk(payload: bytes) -> Reply:
    return _in_session.handle([payload])[0]


def _by_router(datagram: bytes) -> CoapResponse | None:
    """Return what the resources answer; None if nothing, or a Reset."""
    try:
        request = parse(datagram)
    except Rejected:
        return None
    if not isinstance(request, CoapRequest):
        return None
    answering = router(_register, _talk).answer(request, b"peer")
    try:
        answering.send(None)
    except StopIteration as stopped:
        response = stopped.value
    else:
        raise AssertionError("the answer waits for something")
    assert isinstance(response, CoapResponse)
    if request.oscore is None:
        assert not response.protected
        assert _in_session.unchanged()
    elif response.protected:
        _check_accepted(request, response)
    else:
        assert _in_session.unchanged()
        assert response.code in (Code.UNAUTHORIZED, Code.BAD_OPTION, Code.METHOD_NOT_ALLOWED,
                                 Code.REQUEST_ENTITY_TOO_LARGE, Code.PROXYING_NOT_SUPPORTED)  # fmt: skip
        assert response == CoapResponse(response.code, silent=request.type is Type.NON)
    return response


def _check_accepted(request: CoapRequest, response: CoapResponse) -> None:
    """The request is of the session's device, and the store is what the answer says."""
    assert request.oscore is not None
    number = int.from_bytes(request.oscore[1:-7], "big")
    plaintext = _in_session.proves(request.oscore, request.payload)
    assert plaintext is not None
    assert number > MARK
    assert response.code == (Code.CONTENT if request.code == FETCH else Code.CHANGED)
    assert (response.content_format, response.max_age, response.silent) == (None, None, False)
    answer = _in_session.open(request.oscore, response.payload)
    assert answer is not None
    assert answer[0] in INSIDE
    session = _in_session.session
    if answer[0] == Code.DELETED:
        assert plaintext[0] == Code.DELETE
        assert session is None
        return
    assert session is not None
    assert session.mark == number
    found = {entry.property: entry.value for entry in entries(session.record)}
    expected = {cbor2.dumps(0): BEFORE[1:3], cbor2.dumps("a"): BEFORE[5:]}
    if answer[0] == Code.CHANGED:
        message = Message.parse(bytes([0x40, plaintext[0], 0, 0]) + plaintext[1:])
        for name, value in decoded(decode_report(message.payload).properties or {}).items():
            expected.pop(cbor2.dumps(name), None)
            if value is not None:
                expected[cbor2.dumps(name)] = cbor2.dumps(value, canonical=True)
    assert found == expected


def _sealed(datagram: bytes) -> bytes:
    """Return the datagram with its payload encrypted, if that can be done."""
    try:
        request = parse(datagram)
    except Rejected:
        return datagram
    if not isinstance(request, CoapRequest) or not request.oscore or not request.payload:
        return datagram
    ciphertext = _in_session.seal(request.oscore, request.payload)
    return datagram if ciphertext is None else datagram[: -len(request.payload)] + ciphertext


def _as_bytes(response: CoapResponse, datagram: bytes) -> bytes:
    """Return the piggybacked response by the tests' own encoder."""
    assert response.max_age is None
    options = [(OSCORE, b"")] if response.protected else []
    coap_token = datagram[4 : 4 + (datagram[0] & 15)]
    return bytes(
        Message(ACK, response.code, int.from_bytes(datagram[2:4], "big"), coap_token, options, response.payload)
    )


def _option(number: int, client_id: int) -> bytes:
    partial_iv = number.to_bytes(max(1, -(-number.bit_length() // 8)), "big")
    return bytes([8 | len(partial_iv)]) + partial_iv + client_id_bytes(client_id)


def _datagram(option: bytes, payload: bytes, *more: tuple[int, bytes], kind: int = CON, code: int = POST) -> bytes:
    return bytes(Message(kind, code, 0x1234, b"ab", [*more, (OSCORE, option)], payload))
