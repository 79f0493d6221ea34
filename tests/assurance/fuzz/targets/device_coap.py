"""Any datagram, from the right or a wrong sender, leaves the DPE Client in a state that its table allows, makes it send
nothing but an empty answer or the message that is due, and is believed only under a valid security token."""

import runpy
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from dpe_coap import keys as schedule
from dpe_coap.errors import MalformedMessage
from dpe_coap.messages import Request, Success
from dpe_coap.messages import decode as decode_message
from dpe_device.registration import CONFIRMING, REGISTERED, REQUESTING, Registration
from tests.coap import CON, POST, REGISTER, Message
from tests.device.scripted import (
    ACK,
    CHANGED,
    DEVICE_KEY,
    FORBIDDEN,
    HOME,
    NON,
    PEER,
    REALM,
    RST,
    UNAUTHORIZED,
    UNAVAILABLE,
    Bench,
    Memory,
    answer,
    empty,
)

LONGEST = 300
WORDS = (
    b"\xc1\x3c", b"\xff", b"\xd1\x01\x3c", b"\xd4\x01\xff\xff\xff\xff", b"\xe1\xff\xff", b"\x0d\xff", b"\x0e\xff\xff",
    b"\xf0", b"\x0f", b"\x21\x3c", b"\x64\x44", b"\x64\x00", b"\x60\x00", b"\x70\x00", b"\x44\x44", b"\x54\x44",
    b"\x64\xa3", b"\x64\x81", b"\x44\x83", b"\x40\x01", b"\x40\x00", b"\xa3\x00\x04\x04", b"\xa6\x00\x02\x02",
    b"\x17\x58\x20", b"\x17\x50", b"\x82\x01\x00", b"\x09\x1a\xff\xff\xff\xff",
)  # fmt: skip
ELSEWHERE = ("192.0.2.66", 5683)
HOUR = 3_600_000
ABSENT = object()
BELIEVED = {"status", "version", "client_id", "lifetime", "oscore", "_prk3", "_th", "_session", "_mark"}
"""What the client knows from a server that it believes."""

_tools = Path(__file__).parents[4] / "tools" / "generate.py"
TABLE = {(state, following) for state, _, following in runpy.run_path(str(_tools))["client_transitions"]()}


class X25519:
    """The curve by a library: the device's own takes a second."""

    @staticmethod
    def public(private: bytes) -> bytes:
        return schedule.ephemeral(private)

    @staticmethod
    def shared(private: bytes, peer: bytes) -> bytes:
        try:
            return schedule.agree(private, peer)
        except MalformedMessage:
            raise ValueError from None


class Scene(NamedTuple):
    """A client in some state, and what a server that has the key would answer."""

    attributes: dict[str, Any]
    now: int
    request: bytes
    """The payload of the last message that was sent."""
    coap: bytes
    """Message ID (2 bytes) and CoAP token (4 bytes) of it."""
    prk3: bytes
    th3: bytes
    answers: list[bytes]


def _scenes() -> list[Scene]:
    """Make a client for every state and for what may be open in it."""
    found = []
    for x25519 in (False, True):
        options: dict[str, Any] = {"x25519": X25519, "suite": 2} if x25519 else {"versions": ((1, 2), (1, 0))}
        found += [
            _requesting(Bench(**options)),
            _requesting(Bench(**options), acknowledged=True),
            _confirming(Bench(**options)),
            _confirming(Bench(accept=lambda *_: 16, **options)),
            _at_rest(Bench(**options), "BACKOFF"),
            _at_rest(Bench(**options), REGISTERED),
            _at_rest(Bench(**options), "REFUSED"),
        ]
    redirected = Bench()
    sent = redirected.wait_sent()
    away = redirected.server.response(sent.payload, status=6, server_uri="coap://192.0.2.9")
    redirected.send(answer(sent, away, FORBIDDEN))
    found.append(_confirming(redirected))
    return [*found, _requesting(Bench(), hinted=True), _confirming(Bench(), hinted=True)]


def _response(bench: Bench, request: bytes, **fields: Any) -> bytes:
    if private := bench.registration._private:
        ours = bytes(range(32))
        public = X25519.public(private)
        fields |= {"x25519_key": X25519.public(ours), "x25519": X25519.shared(ours, public)}
    return bench.server.response(request, **fields)


def _scene(bench: Bench, sent: Any, answers: list[bytes], th3: bytes = b"") -> Scene:
    prk3 = bench.server.prk3 if th3 else b""
    datagrams = [*answers, empty(ACK, sent.mid), empty(RST, sent.mid), answer(sent, code=UNAUTHORIZED)]
    datagrams += [
        answer(sent, code=UNAVAILABLE, options=((14, b"\xff\xff\xff\xff"),)),
        answer(sent, code=CHANGED, kind=CON, mid=b"\1\2"), answer(sent, b"", FORBIDDEN, NON, b"\1\3"),
        answer(sent, answers[0][-60:], CHANGED, options=((9, b"critical"), (12, b"\x3c"))),
        answer(sent, answers[0][-60:], CHANGED, options=((4, bytes(300)), (12, b"\x3c"))),
        empty(CON, b"\1\4"), bytes(Message(CON, POST, 5, b"", REGISTER, b"x")),
    ]  # fmt: skip
    attributes = dict(vars(bench.registration))
    return Scene(attributes, bench.now, sent.payload, sent.mid + sent.token, prk3, th3, datagrams)


def _requesting(bench: Bench, *, acknowledged: bool = False, hinted: bool = False) -> Scene:
    sent = bench.wait_sent()
    if hinted:
        bench.step(answer(sent, code=UNAUTHORIZED))
    if acknowledged:
        bench.step(empty(ACK, sent.mid))
    kinds: list[dict[str, Any]] = [
        {}, {"version": (1, 0), "retry_after": 9}, {"status": 1}, {"status": 2}, {"status": 3, "retry_after": 7},
        {"status": 4}, {"status": 5}, {"status": 6, "server_uri": HOME}, {"status": 99},
    ]  # fmt: skip
    payloads = [_response(bench, sent.payload, **fields) for fields in kinds]
    answers = [answer(sent, payload, CHANGED) for payload in payloads]
    return _scene(bench, sent, [*answers, answer(sent, payloads[0], CHANGED, CON, b"\1\2")])


def _confirming(bench: Bench, *, hinted: bool = False) -> Scene:
    sent = bench.wait_sent()
    success = bench.send(answer(sent, _response(bench, sent.payload, version=(1, 0))))
    if hinted:
        bench.step(empty(RST, success.mid))
    assert bench.state == CONFIRMING
    answers = []
    for status, lifetime in ((0, None), (0, 86400), (32, None), (33, None), (99, 0)):
        answers.append(answer(success, bench.server.confirm(success.payload, status, lifetime)))
    answers.append(answer(success, bench.server.confirm(success.payload), CHANGED, NON, b"\1\2"))
    return _scene(bench, success, answers, bench.server.th3)


def _at_rest(bench: Bench, state: str) -> Scene:
    sent = bench.wait_sent()
    confirm, th3 = b"\xa0", b""
    if state == REGISTERED:
        success = bench.send(answer(sent, _response(bench, sent.payload, version=(1, 0))))
        confirm = bench.server.confirm(success.payload)
        th3 = bench.server.th3
        bench.step(answer(success, confirm, CHANGED, CON, b"\1\2"))
        sent = success
    elif state == "REFUSED":
        bench.step(answer(sent, _response(bench, sent.payload, status=2), FORBIDDEN))
    else:
        bench.exhausted()
    assert bench.state == state
    late = confirm if th3 else _response(bench, sent.payload)
    return _scene(bench, sent, [answer(sent, late), answer(sent, late, CHANGED, CON, b"\1\2")], th3)


SCENES = _scenes()


def seeds() -> list[bytes]:
    """In each scene, each answer; the first octet is the scene's number, the second says who sends and when."""
    found = [bytes([number, 0]) + datagram for number, scene in enumerate(SCENES) for datagram in scene.answers]
    return [*found, bytes([0, 1]) + SCENES[0].answers[0], bytes([2, 2]) + SCENES[2].answers[0]]


def repair(data: bytes, chance: Random) -> bytes:
    """Make the datagram one for the open exchange, or the MAC of its payload right."""
    if len(data) < 10:
        return data
    scene = SCENES[data[0] % len(SCENES)]
    if chance.random() < 0.5:
        mid = scene.coap[:2] if data[2] >> 4 in (6, 7) else data[4:6]
        data = data[:4] + mid + scene.coap[2:] + data[10:]
    marker = data.find(b"\xff", 10)
    payload = data[marker + 1 :]
    if marker < 0 or len(payload) < 20:
        return data
    return data[: marker + 1] + payload[:-16] + _mac(scene, payload)


def check(data: bytes) -> None:
    """Deliver the datagram, deliver it again, and let the time come that the client asked for."""
    if len(data) < 3:
        return
    scene = SCENES[data[0] % len(SCENES)]
    client = object.__new__(Registration)
    vars(client).update(scene.attributes)
    client.storage = storage = Memory()
    sender = ELSEWHERE if data[1] & 1 else PEER
    now = scene.now
    if data[1] & 2 and client.due is not None:
        now = max(now, client.due)
    datagram = data[2:]
    for _ in range(2):
        _deliver(client, scene, storage, now, datagram, sender)
    if client.due is not None:
        now = max(now, client.due)
        before = client.state
        out, _, state = client.step(now)
        assert (before, state) in TABLE or before == state
        _check_sent(client, out)


def _deliver(client: Any, scene: Scene, storage: Memory, now: int, datagram: bytes, sender: object) -> None:
    before = dict(vars(client))
    exchange, saved, state = client._request, storage.saves, client.state
    timely = client.due is None or now < client.due
    out, due, following = client.step(now, datagram, sender)
    assert following == client.state
    assert due == client.due
    assert (due is None) == (following in ("REGISTERED", "REFUSED", "IDLE")), following
    assert following == state or (state, following) in TABLE
    changed = {name for name, value in vars(client).items() if before.get(name, ABSENT) != value}
    if sender != PEER and timely:
        assert not changed
        assert out is None
        return
    believed = changed & BELIEVED
    settled = following != state and following in (CONFIRMING, REGISTERED, "REFUSED", "IDLE")
    if believed or settled or (timely and storage.saves > saved):
        assert sender == PEER
        assert exchange
        assert _is_authentic(scene, datagram), (state, following, believed)
    if due is not None and following == "BACKOFF" != state:
        assert 0 < due - now <= HOUR * 3 // 2 or believed
    if out is not None and (len(out) == 4 and out[0] in (0x60, 0x70)):
        assert out[1:2] == b"\0"
        assert datagram[0] >> 4 == 4
        assert out[2:4] == datagram[2:4]
    else:
        assert out is None or believed or changed & {"due", "_left"}
        _check_sent(client, out)


def _check_sent(client: Any, out: bytes | None) -> None:
    """What is sent is the open exchange: a REQUEST or the SUCCESS, and nothing else."""
    if out is None:
        return
    assert out == client._request
    message = Message.parse(out)
    assert (message.type, message.code, list(message.options)) == (CON, POST, REGISTER)
    sent = decode_message(message.payload)
    assert isinstance(sent, Request if client.state == REQUESTING else Success)


def _mac(scene: Scene, payload: bytes) -> bytes:
    """Return the MAC that the server would make."""
    if scene.th3:
        return schedule.ConfirmStep(scene.th3, scene.prk3)._mac(payload)
    return _step(scene, payload)._mac(payload)


def _step(scene: Scene, payload: bytes) -> schedule.ResponseStep:
    """Return the server's step of the RESPONSE; the dh is that of the server's X25519 key, if the REQUEST has one."""
    request = decode_message(scene.request) if scene.request[2:3] == b"\1" else None
    dh = b""
    if isinstance(request, Request) and request.x25519_key is not None:
        ours = bytes(range(32))
        dh = X25519.public(ours) + X25519.shared(ours, request.x25519_key)
    return schedule.RequestStep.of(DEVICE_KEY, REALM).respond(scene.request, payload[-32:-16], dh)


def _is_authentic(scene: Scene, datagram: bytes) -> bool:
    """Say, by the server's key schedule and the tests' parser, whether a payload has a valid security token."""
    try:
        payload = Message.parse(datagram).payload
    except (AssertionError, IndexError):
        return False
    return len(payload) > 16 and payload[-16:] == _mac(scene, payload)
