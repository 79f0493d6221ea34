"""Piggybacked responses as bytes (RFC 7252 sections 3 and 5.2.1), for answers that are made by the thousand."""

from functools import lru_cache

from dpe_server.coap.options import Option
from dpe_server.handling.reply import Reply

_CONFIRMABLE = range(0x40, 0x49)
"""The first byte of a confirmable message, with a CoAP token of 0 to 8 bytes."""
_REQUESTS = range(1, 32)
_FIRST = [bytes([0x5E + length]) for length in range(11)]
"""The first byte of an acknowledgement, by the length of message ID and CoAP token together."""
_PROTECTED = bytes([Option.OSCORE << 4])
"""The OSCORE option of a response: without a value, and alone."""
_CODES = [bytes([code]) for code in range(256)]


def piggybacked(echo: bytes, reply: Reply) -> bytes:
    """Return the acknowledgement that carries ``reply``. ``echo``: the request's message ID and CoAP token."""
    options = _PROTECTED if reply.protected else _options(reply.content_format, reply.max_age)
    if reply.payload:
        return _FIRST[len(echo)] + _CODES[reply.code] + echo + options + b"\xff" + reply.payload
    return _FIRST[len(echo)] + _CODES[reply.code] + echo + options


def refusal(datagram: bytes, reply: Reply) -> bytes | None:
    """Return the acknowledgement of a datagram that carries ``reply``; None if it is not a confirmable request."""
    if len(datagram) < 4 or datagram[0] not in _CONFIRMABLE or datagram[1] not in _REQUESTS:
        return None
    end = 4 + (datagram[0] & 15)
    return piggybacked(datagram[2:end], reply) if end <= len(datagram) else None


@lru_cache(maxsize=64)
def _options(content_format: int | None, max_age: int | None) -> bytes:
    """Return the options of a response (section 3.1)."""
    encoded = b""
    before = 0
    for number, value in ((Option.CONTENT_FORMAT, content_format), (Option.MAX_AGE, max_age)):
        if value is not None:
            text = value.to_bytes(-(-value.bit_length() // 8), "big")
            delta = number - before
            encoded += bytes([delta << 4 | len(text)]) if delta < 13 else bytes([13 << 4 | len(text), delta - 13])
            encoded += text
            before = number
    return encoded
