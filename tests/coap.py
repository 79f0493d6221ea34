"""CoAP datagrams for tests, by a second implementation (RFC 7252 section 3), and a socket to send them."""

import itertools
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

CON, NON, ACK, RST = range(4)
GET, POST, PUT, DELETE = 0x01, 0x02, 0x03, 0x04
IF_MATCH, URI_HOST, OBSERVE, URI_PORT, URI_PATH, CONTENT_FORMAT, MAX_AGE, URI_QUERY, ACCEPT = (
    1,
    3,
    6,
    7,
    11,
    12,
    14,
    15,
    17,
)
BLOCK2, BLOCK1, PROXY_URI, PROXY_SCHEME, SIZE1 = 23, 27, 35, 39, 60

REGISTER = [(URI_PATH, b"dpe"), (URI_PATH, b"register"), (CONTENT_FORMAT, b"\x3c")]
DISCOVERY = [(URI_PATH, b".well-known"), (URI_PATH, b"core")]

Options = Sequence[tuple[int, bytes]]


@dataclass(frozen=True)
class Message:
    type: int
    code: int
    message_id: int
    coap_token: bytes = b""
    options: Options = field(default=())
    payload: bytes = b""

    def __bytes__(self) -> bytes:
        parts = [
            bytes([0x40 | self.type << 4 | len(self.coap_token), self.code]),
            self.message_id.to_bytes(2, "big"),
            self.coap_token,
        ]
        previous = 0
        for number, value in sorted(self.options, key=lambda option: option[0]):
            delta, delta_more = _split(number - previous)
            length, length_more = _split(len(value))
            parts += [bytes([delta << 4 | length]), delta_more, length_more, value]
            previous = number
        if self.payload:
            parts += [b"\xff", self.payload]
        return b"".join(parts)

    @classmethod
    def parse(cls, datagram: bytes) -> "Message":
        assert datagram[0] >> 6 == 1
        message_type = datagram[0] >> 4 & 3
        rest = datagram[4:]
        length = datagram[0] & 15
        assert length <= 8
        token, rest = rest[:length], rest[length:]
        options: list[tuple[int, bytes]] = []
        number = 0
        payload = b""
        while rest:
            head, rest = rest[0], rest[1:]
            if head == 0xFF:
                assert rest, "an empty payload behind its marker"
                payload, rest = rest, b""
                break
            delta, rest = _join(head >> 4, rest)
            size, rest = _join(head & 15, rest)
            number += delta
            assert len(rest) >= size
            options.append((number, rest[:size]))
            rest = rest[size:]
        return cls(message_type, datagram[1], int.from_bytes(datagram[2:4], "big"), token, tuple(options), payload)

    def option(self, number: int) -> bytes | None:
        """The value of an option that occurs at most once."""
        values = [value for n, value in self.options if n == number]
        assert len(values) <= 1
        return values[0] if values else None

    def uint(self, number: int) -> int | None:
        value = self.option(number)
        return None if value is None else int.from_bytes(value, "big")

    @property
    def dotted(self) -> str:
        return f"{self.code >> 5}.{self.code & 31:02d}"


def _split(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes([value - 13])
    return 14, (value - 269).to_bytes(2, "big")


def _join(nibble: int, rest: bytes) -> tuple[int, bytes]:
    if nibble < 13:
        return nibble, rest
    assert nibble < 15
    if nibble == 13:
        return rest[0] + 13, rest[1:]
    return int.from_bytes(rest[:2], "big") + 269, rest[2:]


class Client:
    """A socket on loopback that sends datagrams to one server and waits for its answers."""

    _message_ids = itertools.count(1)

    def __init__(self, uri: str) -> None:
        host, _, port = uri.removeprefix("coap://").rpartition(":")
        self.server = host.strip("[]"), int(port)
        self.socket = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(self.server)
        self.socket.settimeout(10)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, datagram: bytes) -> None:
        self.socket.send(datagram)

    def receive(self, timeout: float = 10) -> Message | None:
        """The next message, or None if none comes in ``timeout`` seconds."""
        self.socket.settimeout(timeout)
        try:
            return Message.parse(self.socket.recv(65535))
        except TimeoutError:
            return None

    def request(
        self, code: int, options: Options, payload: bytes = b"", *, type: int = CON, message_id: int | None = None
    ) -> Message:
        """Send a request and return its response. A separate response is acknowledged."""
        if message_id is None:
            message_id = next(self._message_ids) & 0xFFFF
        token = message_id.to_bytes(2, "big")
        self.send(bytes(Message(type, code, message_id, token, options, payload)))
        response = self.receive()
        assert response is not None, "no response"
        if response.code == 0 and response.type == ACK:
            assert response.message_id == message_id
            response = self.receive()
            assert response is not None, "no separate response"
            if response.type == CON:
                self.send(bytes(Message(ACK, 0, response.message_id)))
        elif type == CON:
            assert response.message_id == message_id
        assert response.coap_token == token
        return response

    def post(self, payload: bytes, *, type: int = CON, message_id: int | None = None) -> Message:
        """POST to the register resource."""
        return self.request(POST, REGISTER, payload, type=type, message_id=message_id)

    def discover(self) -> Message:
        return self.request(GET, DISCOVERY)
