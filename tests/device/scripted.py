"""A device whose clock, link, storage and entropy are the test's, and a scripted server. Runs on MicroPython, too."""

from hashlib import sha256

from dpe_device import messages
from dpe_device.registration import Registration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEVICE_KEY = bytes(range(32))
REALM = "lab"
HANDLE = bytes(range(100, 117))
HOME = "coap://192.0.2.1"
CREDENTIAL = {"server": HOME, "realm": REALM, "handle": HANDLE, "device_key": DEVICE_KEY, "epoch": 1}
CLIENT_ID = b"\x0a\x0b\x0c\x0d\x0e\x0f\x10"
NEXT_HANDLE = bytes(range(200, 217))
NONCE_S = bytes(range(50, 66))
PEER = ("192.0.2.1", 5683)

CON, NON, ACK, RST = range(4)
CHANGED, UNAUTHORIZED, FORBIDDEN, UNAVAILABLE = 0x44, 0x81, 0x83, 0xA3
CBOR = b"\x3c"


def encode(fields: "dict[int, Any]") -> bytes:
    """A message of these fields, without the ones that are None."""
    labels = [label for label in sorted(fields) if fields[label] is not None]
    return head(5, len(labels)) + b"".join([head(0, label) + encode_item(fields[label]) for label in labels])


def encode_item(value: "Any") -> bytes:
    """A number, bytes, text or tuple as CBOR."""
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join([encode_item(part) for part in value])


def head(major: int, value: int) -> bytes:
    """The shortest head of a CBOR item."""
    if value < 24:
        return bytes((major << 5 | value,))
    size = 0 if value < 1 << 8 else 1 if value < 1 << 16 else 2 if value < 1 << 32 else 3
    return bytes((major << 5 | 24 + size,)) + value.to_bytes(1 << size, "big")


class Memory:
    """Storage that remembers how often it was written, and can fail."""

    def __init__(self) -> None:
        self.record: bytes | None = None
        self.saves = 0
        self.broken = False

    def load(self) -> "bytes | None":
        return self.record

    def save(self, record: bytes) -> None:
        if self.broken:
            raise OSError(28)
        self.record = record
        self.saves += 1


class Chance:
    """Repeatable random bytes, or the same octet for ever."""

    def __init__(self, seed: int = 1, octet: "int | None" = None) -> None:
        self.state = seed
        self.octet = octet

    def __call__(self, size: int) -> bytes:
        if self.octet is not None:
            return bytes([self.octet]) * size
        drawn = b""
        while len(drawn) < size:
            self.state += 1
            drawn += sha256(str(self.state).encode()).digest()
        return drawn[:size]


class Sent:
    """A datagram of the device, taken apart."""

    def __init__(self, datagram: bytes) -> None:
        assert datagram[0] >> 6 == 1
        self.bytes = datagram
        self.type = datagram[0] >> 4 & 3
        self.code = datagram[1]
        self.mid = datagram[2:4]
        self.token = datagram[4 : 4 + (datagram[0] & 15)]
        marker = datagram.find(b"\xff", 4 + len(self.token))
        self.payload = datagram[marker + 1 :] if self.code else b""


class Server:
    """The keys of one transaction, as the server has them."""

    def response(self, request: bytes, **fields: "Any") -> bytes:
        """RESPONSE to a REQUEST; `fields` are by name, `x25519` is the shared secret."""
        status = fields.get("status", 0)
        dh = fields.get("x25519_key", b"")
        th1 = sha256(request).digest()
        prk2 = messages.derive(DEVICE_KEY, b"prk2" + th1 + NONCE_S + dh + fields.get("x25519", b""))
        message = {0: 2, 2: fields.get("version", (1, 0)), 4: status, 23: NONCE_S + bytes(16)}
        if status == 0:
            message[3] = CLIENT_ID
            seal = messages.derive(prk2, b"seal\1")
            message[5] = bytes([octet ^ seal[at] for at, octet in enumerate(NEXT_HANDLE)])
        message[6] = dh or None
        message[8] = fields.get("server_uri")
        message[10] = fields.get("retry_after")
        response = messages.sign(prk2, b"m2\1", encode(message)[:-16])
        self.th2 = sha256(th1 + response).digest()
        self.prk3 = messages.derive(prk2, b"prk3" + self.th2)
        return response

    def confirm(self, success: bytes, status: int = 0, lifetime: "int | None" = None) -> bytes:
        """CONFIRM to a SUCCESS, whose MAC is checked."""
        messages.verify(self.prk3, b"m3\1", success)
        self.th3 = th3 = sha256(self.th2 + success).digest()
        message = encode({0: 4, 4: status, 9: lifetime, 23: bytes(16)})[:-16]
        return message + messages.hmac(messages.derive(self.prk3, b"m4\1"), th3, message)[:16]


def sealed(body: bytes, credential: "dict[str, Any]" = CREDENTIAL, layout: bytes = b"state 2") -> bytes:
    """A record as the device saves it."""
    return body + sha256(layout + credential["device_key"] + credential["handle"] + body).digest()[:16]


def answer(
    request: Sent,
    payload: bytes = b"",
    code: int = CHANGED,
    kind: int = ACK,
    mid: "bytes | None" = None,
    token: "bytes | None" = None,
    options: "tuple[tuple[int, bytes], ...] | None" = None,
) -> bytes:
    """A response to a datagram of the device: piggybacked, with the CBOR Content-Format if there is a payload."""
    mid = request.mid if mid is None else mid
    token = request.token if token is None else token
    if options is None:
        options = ((12, CBOR),) if payload else ()
    datagram = bytes((0x40 | kind << 4 | len(token), code)) + mid + token
    last = 0
    for number, value in options:
        delta, more_delta = _extended(number - last)
        length, more_length = _extended(len(value))
        datagram += bytes((delta << 4 | length,)) + more_delta + more_length + value
        last = number
    return datagram + (b"\xff" + payload if payload else b"")


def _extended(value: int) -> "tuple[int, bytes]":
    if value < 13:
        return value, b""
    return (13, bytes((value - 13,))) if value < 269 else (14, (value - 269).to_bytes(2, "big"))


def empty(kind: int, mid: bytes) -> bytes:
    """An empty ACK or RST."""
    return bytes((0x40 | kind << 4, 0)) + mid


TRANSITIONS: set[tuple[str, str]] = set()
"""Every change of state that a Bench has seen."""


class Bench:
    """A device that the test drives: it steps, waits, boots again, and the states it enters are on record."""

    def __init__(self, chance: "Chance | None" = None, **options: "Any") -> None:
        self.chance = chance or Chance()
        self.options = options
        self.storage = Memory()
        self.server = Server()
        self.now = 1000
        self.boot()

    def boot(self) -> None:
        """Power on."""
        self.registration = Registration(dict(CREDENTIAL), self.storage, self.chance, **self.options)
        self.connections = 0  # how often it had to be told the server's address
        self.wake: int | None = self.now
        self.entered: list[str] = []

    @property
    def state(self) -> str:
        return self.registration.state

    def step(self, datagram: "bytes | None" = None, sender: object = PEER) -> "Sent | None":
        """Let the device take a datagram; what it sent."""
        before = self.state
        out, self.wake, state = self.registration.step(self.now, datagram, sender)
        if out is not None and self.registration.peer is None:
            self.registration.peer = PEER
            self.connections += 1
        assert state == self.state
        if state != before:
            self.entered.append(state)
            TRANSITIONS.add((before, state))
        return None if out is None else Sent(out)

    def send(self, datagram: "bytes | None" = None) -> Sent:
        """As `step`, for when the device must send."""
        sent = self.step(datagram)
        assert sent is not None
        return sent

    def wait(self) -> "Sent | None":
        """Advance the time to when the device wants to be stepped again."""
        assert self.wake is not None
        self.now = max(self.now, self.wake)
        return self.step()

    def wait_sent(self) -> Sent:
        """As `wait`, for when the device must send."""
        sent = self.wait()
        assert sent is not None
        return sent

    def start(self) -> None:
        """Call `start` of the registration."""
        before = self.state
        self.registration.start()
        if self.state != before:
            TRANSITIONS.add((before, self.state))
        self.wake = self.now

    def offered(self, **fields: "Any") -> Sent:
        """Register up to SUCCESS, which is returned."""
        request = self.wait_sent()
        return self.send(answer(request, self.server.response(request.payload, **fields)))

    def registered(self, lifetime: "int | None" = None) -> None:
        """Register."""
        success = self.offered()
        assert self.step(answer(success, self.server.confirm(success.payload, 0, lifetime))) is None
        assert self.state == "REGISTERED"

    def exhausted(self) -> None:
        """Let the open exchange fail."""
        for _ in range(4):
            self.wait_sent()
        assert self.wait() is None
