"""CoAP datagrams for people and simulated attackers: read, described in words, written (RFC 7252 section 3)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dpe_coap.errors import RemoteError

TYPES = ("CON", "NON", "ACK", "RST")
OSCORE = 9
URI_PATH = 11
_METHODS = {1: "GET", 2: "POST", 3: "PUT", 4: "DELETE"}
_REASONS = {
    0x41: "Created",
    0x42: "Deleted",
    0x44: "Changed",
    0x45: "Content",
    0x80: "Bad Request",
    0x81: "Unauthorized",
    0x82: "Bad Option",
    0x83: "Forbidden",
    0x84: "Not Found",
    0x85: "Method Not Allowed",
    0x86: "Not Acceptable",
    0x8C: "Precondition Failed",
    0x8D: "Request Entity Too Large",
    0x8F: "Unsupported Content-Format",
    0xA0: "Internal Server Error",
    0xA3: "Service Unavailable",
    0xA5: "Proxying Not Supported",
}


@dataclass(frozen=True, slots=True)
class Datagram:
    """One CoAP message."""

    type: str
    code: int
    message_id: int
    coap_token: bytes
    options: tuple[tuple[int, bytes], ...]
    payload: bytes

    @property
    def title(self) -> str:
        """The message in words: ``CON POST /dpe/register``, ``ACK 2.04 Changed``, or ``ACK`` for an empty one."""
        if self.code == 0:
            return f"{self.type} (empty)"
        if self.code < 32:
            path = "/".join(
                value.decode("ascii", "backslashreplace") for number, value in self.options if number == URI_PATH
            )
            return f"{self.type} {_METHODS.get(self.code, f'0.{self.code:02d}')} /{path}"
        return f"{self.type} {self.said}"

    @property
    def said(self) -> str:
        """The code of a response in words: ``2.04 Changed``."""
        return said_of(self.code)

    def option(self, wanted: int) -> bytes | None:
        """Return the value of an option, the first if there are several; None if there is none."""
        return next((value for number, value in self.options if number == wanted), None)

    def __bytes__(self) -> bytes:
        """Return the datagram. The options must be in ascending order."""
        first = 0x40 | TYPES.index(self.type) << 4 | len(self.coap_token)
        written = bytes([first, self.code]) + self.message_id.to_bytes(2, "big") + self.coap_token
        before = 0
        for number, value in self.options:
            (delta, more), (length, longer) = _extend(number - before), _extend(len(value))
            written += bytes([delta << 4 | length]) + more + longer + value
            before = number
        return written + b"\xff" + self.payload if self.payload else written


def said_of(code: int) -> str:
    """Return the code of a request or a response in words: ``0.02 POST``, ``2.04 Changed``."""
    return f"{code >> 5}.{code & 31:02d} {_REASONS.get(code) or _METHODS.get(code, '')}".rstrip()


def is_coap(data: bytes) -> bool:
    """Return whether these bytes start like a CoAP message of version 1. No DPE message does."""
    return len(data) >= 4 and data[0] >> 6 == 1


def parse(data: bytes) -> Datagram:
    """Read a datagram. Raises RemoteError if it is not CoAP."""
    if not is_coap(data):
        raise RemoteError("not a CoAP message: it does not start with version 1")
    try:
        start = 4 + (data[0] & 15)
        found = list(places(data, start))
    except IndexError:
        raise RemoteError("not a CoAP message: an option is cut short") from None
    end = found[-1].end if found else start
    return Datagram(
        type=TYPES[data[0] >> 4 & 3],
        code=data[1],
        message_id=int.from_bytes(data[2:4], "big"),
        coap_token=data[4:start],
        options=tuple((place.number, data[place.value : place.end]) for place in found),
        payload=data[end + 1 :],
    )


class Place(NamedTuple):
    """Where an option lies, by offsets: its head from ``start``, its value from ``value`` to ``end``."""

    number: int
    start: int
    value: int
    end: int


def places(data: bytes, at: int) -> Iterator[Place]:
    """Yield the options from offset ``at`` to the payload marker or the end. IndexError: one is cut short."""
    number = 0
    while at < len(data) and data[at] != 0xFF:
        delta, value = _extended(data, data[at] >> 4, at + 1)
        length, value = _extended(data, data[at] & 15, value)
        number += delta
        if value + length > len(data):
            raise IndexError
        yield Place(number, at, value, value + length)
        at = value + length


def _extended(data: bytes, nibble: int, position: int) -> tuple[int, int]:
    """Read an option's delta or length (section 3.1). Return it, and the offset behind it."""
    if nibble < 13:
        return nibble, position
    if nibble == 13:
        return data[position] + 13, position + 1
    if nibble == 14:
        return data[position] * 256 + data[position + 1] + 269, position + 2
    raise IndexError


def _extend(value: int) -> tuple[int, bytes]:
    """Invert ``_extended``: return the nibble, and the bytes that follow it."""
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes([value - 13])
    return 14, (value - 269).to_bytes(2, "big")
