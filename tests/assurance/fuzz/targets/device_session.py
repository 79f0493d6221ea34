"""Any datagram, from the right or a wrong sender, leaves a device in its session in a state that its tables allow,
makes it send nothing but an empty answer or a message that is due, and is believed only if the server has protected
it. Its policies are then those that the server's decoder reads, or others that do it no harm."""

import copy
import runpy
import struct
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from dpe_coap import oscore
from dpe_coap.errors import MalformedMessage
from dpe_coap.messages import Request as RegistrationRequest
from dpe_coap.messages import decode as decode_message
from dpe_coap.session_messages import MAX_SESSION_MESSAGE, decode_answer
from dpe_device import messages, session
from dpe_device.reporter import Reporter
from dpe_device.session import Session
from dpe_device.values import decode, encode
from tests.coap import CON, POST, Message
from tests.device.scripted import (
    ACK,
    CHANGED,
    CLIENT_ID,
    NON,
    PEER,
    RST,
    UNAUTHORIZED,
    UNAVAILABLE,
    Memory,
    answer,
    empty,
)
from tests.device.sessions import CONTENT, DELETE, DELETED, Request, SessionBench
from tests.device.sessions import POST as REPORT

LONGEST = MAX_SESSION_MESSAGE + 64
WORDS = (
    b"\x44\xc1\x3c\xff", b"\x45\xc1\x3c\xff", b"\x42", b"\x81", b"\x8d\xc2\x01\x01\xff", b"\xa2\x00\x44", b"\x03\xa0",
    b"\xa3\x00\x44", b"\x02\x18\x3c", b"\x02\x1a\xff\xff\xff\xff", b"\x03\xa1\x00\xa0", b"\x03\xa1\x00\xa1\x04\x05",
    b"\xa1\x05\xf5", b"\xf9\x3c\x00", b"\xfa\x47\xc3\x50\x00", b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a", b"\x61x",
    b"\x1b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xf6", b"\x40", b"\x80", b"\x90\xff", b"\xff", b"\x60\x00", b"\x70\x00",
)  # fmt: skip
ELSEWHERE = ("192.0.2.66", 5683)
OTHER_SENDER, WHEN_DUE, PROTECTED = 1, 2, 4
"""Bits of the second octet. PROTECTED: what follows is the inside of an answer, which `check` protects."""
OSCORE = 9
LONGEST_BYTES = 256
"""Of one value (docs/session.md)."""
BAD_REQUEST = 0x80
KNOWN = {"client_id", "oscore", "lifetime", "_session", "_mark", "_prk3", "_th", "version"}
"""What the device knows from a server that it believes."""
ANSWERS = (
    {0: b"abcd", 3: {}},
    {0: b"abce", 2: 60, 3: {0: {4: 5, 0: 60, 1: 3600}, 1: {}}},
    {0: b"abcf", 2: 4294967295, 3: {0: {2: 20.5, 3: 80, 5: True}, 2: {6: False, 16: False}, "x": {99: 1.0}}},
)

_generate = runpy.run_path(str(Path(__file__).parents[4] / "tools" / "generate.py"))
TABLE = {
    (state, following)
    for table in (_generate["client_transitions"](), _generate["client_transitions"](session))
    for state, _, following in table
}


class Aes:
    """AES by a library: the device's own takes long."""

    def __init__(self, key: bytes) -> None:
        self.encrypt = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # one block


class Bench(SessionBench):
    """A device with a reporter of its own."""

    def boot(self) -> None:
        super().boot()
        self.session.aes = Aes
        self.session.reporter = self.reporter = Reporter()
        self.reporter.values = {0: 87, 1: "1.4.2", 2: True}

    @classmethod
    def in_session(cls) -> "Bench":
        """A device that is registered."""
        made = cls()
        made.opened()
        return made


class Scene(NamedTuple):
    """A device in some state, and what its server would answer to its last request."""

    attributes: dict[str, Any]
    reporter: Reporter
    now: int
    request: Request
    keys: oscore.Keys
    datagrams: list[bytes]

    def context(self) -> tuple[bytes, bytes]:
        """Return the nonce and the additional data of the last request, and of its answer."""
        number = self.request.number
        return oscore.nonce(self.keys.common_iv, CLIENT_ID, number), oscore.additional_data(CLIENT_ID, number)

    def protected(self, inside: bytes) -> bytes:
        """Return an answer with this inside."""
        nonce, additional_data = self.context()
        sealed = oscore.encrypt(self.keys.server, nonce, additional_data, inside)
        return answer(self.request.sent, sealed, options=((OSCORE, b""),))

    def opened(self, datagram: bytes) -> bytes | None:
        """Return what the server has protected in a datagram, or None."""
        try:
            sealed = Message.parse(datagram).payload
        except (AssertionError, IndexError):
            return None
        return oscore.decrypt(self.keys.server, *self.context(), sealed) if len(sealed) > oscore.SIZE_TAG else None


def _scene(bench: Bench, request: Request) -> Scene:
    sent = request.sent
    datagrams = [
        answer(sent, code=UNAUTHORIZED), answer(sent, code=UNAVAILABLE, options=((14, b"\x05"),)), empty(ACK, sent.mid),
        empty(RST, sent.mid), answer(sent, bytes(9), options=((OSCORE, b""),)),
        answer(sent, bytes(9), CHANGED, NON, b"\1\3", options=((OSCORE, b""),)), answer(sent, b"\xa0"),
    ]  # fmt: skip
    secret, salt = messages.export(bench.server.prk3, bench.server.th3)
    keys = oscore.derive(secret, salt, CLIENT_ID)
    return Scene(dict(vars(bench.session)), bench.reporter, bench.now, request, keys, datagrams)


def _scenes() -> list[Scene]:
    """Make a device for every state of a session and for what may be open in it."""
    found = []
    for method in (REPORT, DELETE):
        for hint in (b"", ACK, UNAUTHORIZED):
            bench = Bench.in_session()
            bench.reply(bench.asked(), CHANGED, encode(ANSWERS[1]))
            bench.reporter.values[0] = 50
            bench.session.want(method)
            request = bench.asked()
            if hint == ACK:
                bench.step(empty(ACK, request.sent.mid))
            elif hint:
                bench.refuse(request)
            found.append(_scene(bench, request))
    new, ready, over = Bench.in_session(), Bench.in_session(), Bench.in_session()
    found.append(_scene(new, new.asked()))
    request = ready.asked()
    ready.reply(request)
    found.append(_scene(ready, request))
    over.session.want(DELETE)
    request = over.asked()
    over.reply(request, DELETED)
    over.step()
    assert over.state == "IDLE"
    return [*found, _scene(over, request)]


SCENES = _scenes()


def seeds() -> list[bytes]:
    """In each scene, answers with and without protection; the first octet is the scene's number."""
    inside = [bytes((CHANGED,)), bytes((DELETED,)), b"\x8d\xc2\x01\x01\xff\xa1\x20\x61x", b"\x81"]
    inside += [bytes((code,)) + b"\xc1\x3c\xff" + encode(told) for code in (CHANGED, CONTENT) for told in ANSWERS]
    found = []
    for number, scene in enumerate(SCENES):
        found += [bytes((number, 0)) + datagram for datagram in scene.datagrams]
        found += [bytes((number, PROTECTED)) + one for one in inside]
        found += [bytes((number, flag)) + scene.datagrams[0] for flag in (OTHER_SENDER, WHEN_DUE)]
    return found


def check(data: bytes) -> None:
    """Deliver the datagram, deliver it again, and let the time come that the device asked for."""
    if len(data) < 3:
        return
    scene = SCENES[data[0] % len(SCENES)]
    device: Any = object.__new__(Session)
    vars(device).update(scene.attributes)
    device.storage = Memory()
    device.reporter = copy.deepcopy(scene.reporter)
    device._context = copy.copy(device._context)
    datagram = data[2:]
    if data[1] & PROTECTED:
        if _is_taken_as_it_is(datagram):
            return
        datagram = scene.protected(datagram)
    sender = ELSEWHERE if data[1] & OTHER_SENDER else PEER
    now = scene.now
    if data[1] & WHEN_DUE and device.due is not None:
        now = max(now, device.due)
    for _ in range(2):
        _deliver(device, scene, now, datagram, sender)
    if device.due is not None:
        before = device.state
        out = device.step(max(now, device.due))[0]
        assert device.state == before or (before, device.state) in TABLE
        _check_sent(device, scene, out)
    device.reporter.due(now)
    device.reporter.make(now, 1)


def _is_taken_as_it_is(inside: bytes) -> bool:
    """Say whether an answer has what the device takes its server's word for: an etag is short."""
    try:
        told = decode(Message.parse(b"\x40" + inside[:1] + b"\0\0" + inside[1:]).payload)
    except (AssertionError, IndexError, TypeError, ValueError, struct.error):  # the last is a ValueError on a board
        return False
    if not isinstance(told, dict):
        return False
    etag = told.get(0)
    return isinstance(etag, bytes) and len(etag) > LONGEST_BYTES


def _deliver(device: Any, scene: Scene, now: int, datagram: bytes, sender: object) -> None:
    before, state, exchange = dict(vars(device)), device.state, device._request
    reporter = device.reporter
    policies, etag = reporter._policies, reporter._etag
    reporter.code = None
    reporter.dropped = {}
    timely = device.due is None or now < device.due
    out, due, following = device.step(now, datagram, sender)
    assert (following, due) == (device.state, device.due)
    assert following == state or (state, following) in TABLE
    changed = {name for name, value in vars(device).items() if before.get(name) != value}
    if sender != PEER and timely:
        assert not changed
        assert out is None
    if reporter.code is not None:
        assert exchange
        assert sender == PEER
        _check_believed(device, scene.opened(datagram))
    else:
        assert (reporter._policies, reporter._etag, reporter.dropped) == (policies, etag, {})
        if timely:
            assert not changed & KNOWN
            assert following in (state, "BACKOFF")
    if out is not None and len(out) == 4:
        assert out[:2] in (b"\x60\0", b"\x70\0")
        assert datagram[0] >> 4 == 4
        assert out[2:] == datagram[2:4]
    else:
        _check_sent(device, scene, out)


def _check_believed(device: Any, inside: bytes | None) -> None:
    """What the reporter was told is what the server has protected."""
    assert inside is not None
    reporter = device.reporter
    assert reporter.code == inside[0]
    payload = Message.parse(b"\x40" + inside[:1] + b"\0\0" + inside[1:]).payload
    if inside[0] >= BAD_REQUEST or not payload:
        assert None not in reporter.dropped
        return
    try:
        etag, told = decode_answer(payload)
    except MalformedMessage:
        return
    assert None not in reporter.dropped
    assert (reporter._etag, reporter._policies, device.lifetime) == (etag, told.policies, told.lifetime)


def _check_sent(device: Any, scene: Scene, out: bytes | None) -> None:
    """What is sent is the open exchange: a request that this device can protect, or a REQUEST to register anew."""
    if out is None:
        return
    assert out == device._request
    message = Message.parse(out)
    assert (message.type, message.code) == (CON, POST)
    option = dict(message.options).get(OSCORE)
    if option is None:
        assert isinstance(decode_message(message.payload), RegistrationRequest)
        return
    client_id, number = oscore.read_option(option)
    assert client_id == CLIENT_ID
    assert number == scene.request.number if out == scene.request.sent.bytes else number > scene.request.number
    nonce = oscore.nonce(scene.keys.common_iv, CLIENT_ID, number)
    assert oscore.decrypt(scene.keys.client, nonce, oscore.additional_data(CLIENT_ID, number), message.payload)
