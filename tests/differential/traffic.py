"""Generated datagrams, nearly all of them almost right, for a server whose devices are known. A seed repeats them."""

import random
from collections import deque
from collections.abc import Callable

from dpe_coap import keys as schedule
from dpe_coap.imei import Imei
from dpe_coap.keys import RequestStep
from dpe_coap.messages import Request, Response, Success, Version, decode, encode
from dpe_coap.numbers import Status
from dpe_server.keys.ring import KeyRing
from tests.coap import (
    ACCEPT,
    BLOCK1,
    BLOCK2,
    CON,
    CONTENT_FORMAT,
    DISCOVERY,
    GET,
    IF_MATCH,
    NON,
    OBSERVE,
    POST,
    PROXY_URI,
    REGISTER,
    SIZE1,
    URI_HOST,
    URI_PATH,
    URI_PORT,
    URI_QUERY,
    Message,
)  # fmt: skip

REALM = "test realm"
DEVICES = 60
REPEATED = 15
"""A datagram is repeated within so many others, so that its device has not begun another registration meanwhile."""

_HOSTS = [b"server.example", b"h", b"127.0.0.1"]
OSCORE, FETCH = 9, 5
_EXTRA = [
    (URI_HOST, b"server.example"), (URI_HOST, b"\xff"), (URI_HOST, b""), (URI_HOST, bytes(256)), (URI_PORT, b""),
    (URI_PORT, b"\x16\x33"), (URI_PORT, b"\0\x16\x33"), (URI_PORT, b"\xff\xff"), (ACCEPT, b"\x3c"),
    (ACCEPT, b"\0\x3c"), (ACCEPT, b""), (ACCEPT, b"\x32"), (CONTENT_FORMAT, b"\x3c"), (CONTENT_FORMAT, b"\0\x3c"),
    (CONTENT_FORMAT, b""), (URI_PATH, b"dpe"), (URI_PATH, b"register"), (URI_PATH, b""), (URI_QUERY, b"a=b"),
    (IF_MATCH, b""), (OBSERVE, b""), (2, b"elective"), (2, bytes(300)), (9, b"critical"), (65_000, b""),
    (65_001, b""), (PROXY_URI, b"coap://other"), (SIZE1, b"\x04"), (SIZE1, b"\xff\xff\xff"), (292, b"tag"),
    (BLOCK1, b"\x08"), (BLOCK1, b"\x06"), (BLOCK1, b"\x07"), (BLOCK1, b""), (BLOCK2, b""), (BLOCK2, b"\x05"),
    (BLOCK2, b"\x10"), (258, b""), (13, b"\xff"), (URI_HOST, b"a\xff\xa5\x00\x01b"), (2, b"\xff\xa4\x00\x03"),
]  # fmt: skip


class _Device:
    def __init__(self, number: int, keys: KeyRing, source: random.Random) -> None:
        self._source = source
        imei = Imei.parse(f"35209900{number:06d}")
        key = keys.device_key(1, imei)
        assert key is not None
        self._handle = keys.seal_handle(1, imei, 0, source.randbytes)
        self._step = RequestStep.of(key, REALM)
        self._private = source.randbytes(32)
        self.request = b""

    def make_request(self) -> bytes:
        source = self._source
        public = schedule.ephemeral(self._private) if source.random() < 0.05 else None
        version = source.choice(
            [Version(1, 0)] * 6
            + [Version(1, 3), Version(2, 0), Version(3, 0), Version(4, 0), Version(5, 0), Version(9, 0)]
        )
        firmware = source.choice([None, None, "1.0", "x" * 32])
        token = source.randbytes(16) + bytes(16)
        message = Request(self._handle, version, token, x25519_key=public, firmware=firmware)
        self.request = self._step.sign(encode(message))
        return self.request

    def make_success(self, payload: bytes) -> bytes | None:
        """Answer the RESPONSE to the last REQUEST."""
        response = decode(payload)
        assert isinstance(response, Response)
        if response.client_id is None:
            return None
        dh = b""
        if response.x25519_key is not None:
            dh = response.x25519_key + schedule.agree(self._private, response.x25519_key)
        step = self._step.respond(self.request, response.security_token[:16], dh)
        assert step.verify(payload)
        status = self._source.choice([Status.OK, Status.OK, Status.DECLINED])
        return step.next(payload).sign(encode(Success(response.client_id, status, bytes(16))))


class Traffic:
    """Generates one datagram after the other. ``answered`` takes the server's answer to the last one."""

    def __init__(self, seed: int, keys: KeyRing) -> None:
        self._source = source = random.Random(seed)
        self._devices = deque(_Device(number, keys, source) for number in range(DEVICES))
        self._recent: deque[bytes] = deque(maxlen=REPEATED)
        self._payloads: deque[bytes] = deque([b"\0"], maxlen=REPEATED)
        self._asking: tuple[_Device, bytes] | None = None
        self._message_id = 0

    def next(self) -> bytes:
        """Return the next datagram."""
        source = self._source
        self._asking = None
        if self._recent and source.random() < 0.1:
            return source.choice(self._recent)
        kinds = [self._plain, self._near, self._other, self._protected]
        datagram = source.choices(kinds, [40, 50, 10, 20])[0]()
        self._recent.append(datagram)
        return datagram

    def answered(self, datagram: bytes) -> None:
        """Keep the SUCCESS that belongs to an answer, if a fresh REQUEST was answered."""
        if self._asking is None or datagram[0] >> 4 != 6:
            return
        device, request = self._asking
        answer = Message.parse(datagram)
        if answer.payload and answer.uint(CONTENT_FORMAT) == 60 and device.request == request:
            success = device.make_success(answer.payload)
            if success is not None:
                self._payloads.append(success)

    def _plain(self) -> bytes:
        """A request as clients send it."""
        options = list(REGISTER)
        if self._source.random() < 0.3:
            options += [(URI_HOST, self._source.choice(_HOSTS)), (URI_PORT, b"\x16\x33")]
        if self._source.random() < 0.3:
            options.append((ACCEPT, b"\x3c"))
        return self._message(options=options, payload=self._payload())

    def _near(self) -> bytes:
        """A request with a fault, or with something added."""
        source = self._source
        options = list(REGISTER)
        payload = self._payload()
        for _ in range(source.choice([1, 1, 1, 2, 3])):
            change = source.randrange(10)
            if change < 4:
                options.append(source.choice(_EXTRA))
            elif change == 4:
                options.pop(source.randrange(len(options))) if options else None
            elif change == 5:
                payload = bytearray(payload)  # type: ignore[assignment]
                if payload:
                    payload[source.randrange(len(payload))] = source.randrange(256)  # type: ignore[index]
                payload = bytes(payload)
            elif change == 6:
                payload = payload[: source.randrange(len(payload) + 1)]
            elif change == 7:
                payload = payload + source.randbytes(source.randrange(300))
            elif change == 8:
                size = source.choice([0, 1, 255, 256, 257, 300, source.randrange(300)])
                payload = (source.choice([b"", b"\xa5\x00\x01"]) + source.randbytes(300))[:size]
            else:
                number, value = source.choice(_EXTRA)
                options.append((source.choice([number, source.randrange(400)]), value[:40]))
        datagram = self._message(options=options, payload=payload, kind=source.choice([CON] * 5 + [NON]))
        return self._damage(datagram) if source.random() < 0.3 else datagram

    def _protected(self) -> bytes:
        """A request under OSCORE in its plain form, or nearly so."""
        source = self._source
        partial_iv = source.choice([b"\1", b"\0", b"\xff\xff", b"\0\1", bytes(range(1, 1 + source.randrange(8)))])
        flags = source.choice([8] * 12 + [0, 0x18, 0x28, 0x88]) | len(partial_iv)
        value = bytes([flags]) + partial_iv + source.randbytes(source.choice([7] * 12 + [0, 6, 8]))
        options = [(OSCORE, value)]
        while source.random() < 0.2:
            options.append(source.choice(_EXTRA))
        size = source.choice([source.randrange(80)] * 12 + [0, 1_099, 1_100, 1_101])
        kind, code = source.choice([(CON, POST)] * 12 + [(NON, POST), (CON, FETCH), (CON, GET), (NON, GET)])
        datagram = self._message(options=options, payload=source.randbytes(size), kind=kind, code=code)
        return self._damage(datagram) if source.random() < 0.1 else datagram

    def _other(self) -> bytes:
        """Another CoAP message, or no message at all."""
        source = self._source
        make: Callable[[], bytes] = source.choice(
            [
                lambda: self._message(code=GET, options=[*DISCOVERY, *source.sample(_EXTRA, 1)]),
                lambda: self._message(code=source.randrange(1, 32), options=REGISTER),
                lambda: self._message(code=source.randrange(256), kind=source.randrange(4), payload=b"x"),
                lambda: bytes([source.choice([0x40, 0x60, 0x70]), 0]) + self._next_message_id(),
                lambda: source.randbytes(2) + self._next_message_id() + source.randbytes(source.randrange(60)),
                lambda: source.randbytes(source.randrange(4)),
            ]
        )
        return make()

    def _payload(self) -> bytes:
        """A fresh REQUEST, or a message that is repeated or due."""
        source = self._source
        if source.random() < 0.5:
            payload = source.choice(self._payloads)
            self._asking = None
            return payload
        self._devices.rotate()
        request = self._devices[0].make_request()
        self._asking = self._devices[0], request
        self._payloads.append(request)
        return request

    def _message(
        self, *, code: int = POST, options: list[tuple[int, bytes]] = REGISTER, payload: bytes = b"", kind: int = CON
    ) -> bytes:
        source = self._source
        message_id = int.from_bytes(self._next_message_id(), "big")
        coap_token = source.randbytes(source.choice([0, 1, 2, 4, 8]))
        return bytes(Message(kind, code, message_id, coap_token, options, payload))

    def _next_message_id(self) -> bytes:
        """Return a fresh one. Only the server without a lane would notice if it had been used before."""
        self._message_id = (self._message_id + 1) & 0xFFFF
        return self._message_id.to_bytes(2, "big")

    def _damage(self, datagram: bytes) -> bytes:
        source = self._source
        head, message_id, rest = bytearray(datagram[:2]), datagram[2:4], bytearray(datagram[4:])
        for _ in range(source.choice([1, 1, 2, 5])):
            damaged = source.choices([head, rest], [1, 4])[0] if rest else head
            at = source.randrange(min(len(damaged), 40))
            change = source.randrange(5 if damaged is rest else 2)
            if change == 0:
                damaged[at] = source.randrange(256)
            elif change == 1:
                damaged[at] ^= 1 << source.randrange(8)
            elif change == 2:
                damaged.insert(at, source.choice([0xFF, 0xF0, 0x0F, 0xD0, 0xE0, source.randrange(256)]))
            elif change == 3:
                del damaged[at]
            else:
                del damaged[source.randrange(len(damaged)) :]
        return bytes(head + message_id + rest)
