"""Properties, their values and the policies in deterministic CBOR (RFC 8949 section 4.2.1), as a session has them."""

import struct

from .messages import item, shortens

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Any

_MAX_TEXT_VALUE = const(256)
_MAX_NESTING = const(4)

_NEGATIVE = const(1)
_MAP = const(5)
_TRUE = const(21)
_NO_NUMBER = const(31)  # the exponent of infinity and NaN, in 16 bits


def _head(kind: int, value: int) -> bytes:
    if value < 24:
        return bytes((kind | value,))
    size = 0
    while value >> (8 << size):
        size += 1
    return bytes((kind | 24 + size,)) + value.to_bytes(1 << size, "big")


def encode(value: "Any") -> "bytes":
    """Return the encoding of a value, or of a map of them; ValueError, TypeError or OverflowError if there is none.

    A value is a bool, an integer of 64 bits, a float, text or bytes of at most 256 bytes, or None.
    """
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return bytes((0xF4 + value,))
    if isinstance(value, int):
        kind = 0
        if value < 0:
            kind = 0x20
            value = ~value
        if value >> 63:
            raise ValueError
        return _head(kind, value)
    if isinstance(value, dict):
        entries = []
        for key in value:
            entries.append(encode(key) + encode(value[key]))  # a comprehension would be larger
        entries.sort()
        return _head(0xA0, len(entries)) + b"".join(entries)
    if isinstance(value, (str, bytes)):
        kind = 0x40
        text: "Any" = value
        if isinstance(value, str):
            kind = 0x60
            text = value.encode()
        if len(text) > _MAX_TEXT_VALUE:
            raise ValueError
        data: bytes = _head(kind, len(text)) + text
        return data
    size = abs(value)
    data = struct.pack(">d", value)
    if not shortens(int.from_bytes(data, "big"), 8):
        return b"\xfb" + data
    data = struct.pack(">f", value)
    if not shortens(int.from_bytes(data, "big"), 4):
        return b"\xfa" + data
    size = int(size * 0x1000000)  # in units of the least that 16 bits can say; fails for NaN and infinity
    power = data[0] >> 7 << 5
    while size >> 11:
        size >>= 1
        power += 1
    return b"\xf9" + ((power << 10) + size).to_bytes(2, "big")


def decode(data: bytes) -> "Any":
    """Return what is encoded in `data`; ValueError if that is not deterministic or not finite, TypeError for odd maps.

    A map is a dict; of arrays and tags in it nothing is told but that they are there.
    """
    value, end = _read(data, 0)
    if end != len(data):
        raise ValueError
    return value


def _read(data: bytes, at: int) -> "tuple[Any, int]":
    value, end = item(data, at, _MAX_NESTING)
    kind = data[at] >> 5
    count = data[at] & 31
    at += 1
    rest = data[at:end]
    if kind == _MAP:
        if count > 23:  # a byte for the number of entries, as messages are short
            count = data[at]
            at += 1
        value = {}
        for _ in range(count):
            key, at = _read(data, at)
            value[key], at = _read(data, at)
    elif value is None:
        if rest:
            count = int.from_bytes(rest, "big")
        if kind == _NEGATIVE:
            value = ~count
        elif len(rest) > 2:
            value = struct.unpack(">d" if len(rest) > 4 else ">f", rest)[0]
            if value != value:  # NaN
                raise ValueError
        elif rest:
            power = count >> 10 & 31
            if power == _NO_NUMBER:
                raise ValueError
            value = (count & 0x3FF | (power > 0) << 10) * 2 ** (max(power, 1) - 25)
            if count >> 15:
                value = -value
        else:
            value = count == _TRUE if count <= _TRUE else None
    return value, end
