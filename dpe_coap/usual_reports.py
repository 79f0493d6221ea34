"""Reads the report of nearly every device in a few steps, and leaves all others to ``session_messages``.

A pattern stands for the properties and values that are usual: numbers and names, small integers, booleans, short ASCII
text, short bytes, floats of 16 bits. It matches their one deterministic encoding and nothing else, so what it takes
needs no further check but for the order. A server reads thousands of reports a second.
"""

import re

from dpe_coap.session_messages import Report

_SIZES = range(24)
_TEXT = b"|".join(re.escape(bytes([0x60 | n])) + rb"[\x00-\x7f]{%d}" % n for n in _SIZES[1:])
_BYTES = b"|".join(re.escape(bytes([0x40 | n])) + rb"[\x00-\xff]{%d}" % n for n in _SIZES)
_INTEGER = rb"[\x18\x38][\x18-\xff]|[\x19\x39](?!\x00)[\x00-\xff]{2}|[\x1a\x3a](?!\x00\x00)[\x00-\xff]{4}"
_HALF = rb"\xf9[\x00-\x7b\x80-\xfb][\x00-\xff]"
"""A float of 16 bits, neither NaN nor infinite: its exponent has not all bits set."""
_PROPERTY = rb"[\x00-\x17]|\x18[\x18-\xff]|\x19(?!\x00)[\x00-\xff]{2}|" + _TEXT
_VALUE = rb"[\x00-\x17\x20-\x37\xf4-\xf6\x60]|" + b"|".join((_INTEGER, _HALF, _TEXT, _BYTES))

_REFRESH = 7
"""Bytes of a refresh with a policy etag."""

_single = re.compile(rb"(?:\xa1|\xa2\x00\x44([\x00-\xff]{4}))\x01\xa1(" + _PROPERTY + b")(" + _VALUE + b")").fullmatch
_head = re.compile(rb"(?:\xa1|\xa2\x00\x44([\x00-\xff]{4}))\x01([\xa1-\xb7])").match
_entries = re.compile(b"(" + _PROPERTY + b")(" + _VALUE + b")").findall


def read(payload: bytes) -> Report | None:
    """Return the report in ``payload`` as ``session_messages.decode_report`` does; None if it is not a usual one."""
    if len(payload) == _REFRESH and payload.startswith(b"\xa1\x00\x44"):
        return Report(payload[3:])
    single = _single(payload)
    if single is not None:  # the most usual of all
        etag, property_, value = single.groups()
        return Report(etag, {property_: value})
    head = _head(payload)
    if head is None:
        return None
    etag, count = head.groups()
    found = _entries(payload, head.end())
    items: dict[bytes, bytes] = dict(found)
    properties = list(items)
    if (
        len(items) != len(found)
        or len(found) != count[0] - 0xA0
        or len(b"".join([*properties, *items.values()])) != len(payload) - head.end()
        or sorted(properties) != properties
    ):
        return None
    return Report(etag, items)
