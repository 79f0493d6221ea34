"""Any bytes give a message, or one MalformedMessage that says where the fault is; what is accepted is the only encoding
of that message, and a general CBOR decoder and the CDDL agree."""

import contextlib
from pathlib import Path
from typing import Any

import cbor2
import pycddl

import dpe_coap
from dpe_coap import cbor
from dpe_coap.binding import MAX_PAYLOAD
from dpe_coap.errors import MalformedMessage
from dpe_coap.messages import decode, decode_strictly, encode
from tests.assurance.fuzz.vectors import messages

LONGEST = 300
WORDS = (
    b"\xb8\x18", b"\xbf", b"\x9f", b"\x5f", b"\xff", b"\x18\x17", b"\x19\x00\xff", b"\x1a\xff\xff\xff\xff",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x58\x20", b"\x58\x11", b"\x50", b"\x51", b"\x47", b"\x78\x80",
    b"\x82\x01\x00", b"\xc1\x00", b"\xc2\x41\x01", b"\xd9\xd9\xf7", b"\xf9\x7e\x00", b"\xfa\x7f\xc0\x00\x00",
    b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", b"\xf8\x20", b"\xf6", b"\x81\x81\x81\x81", b"\xa1\xa1\xa1\xa1",
    b"\x17\x58\x20", b"\x17\x50",
)  # fmt: skip
MAJOR_MAP = 5
LONGEST_ERROR = 120

_SCHEMA = pycddl.Schema((Path(dpe_coap.__file__).parent / "dpe1.cddl").read_text(encoding="utf-8"))
_OWN = {1: {0, 1, 2, 6, 7, 23}, 2: {0, 2, 3, 4, 5, 6, 8, 10, 23}, 3: {0, 3, 4, 23}, 4: {0, 4, 9, 23}}
"""The labels of each message type."""
_TYPES = {0: int, 1: bytes, 2: list, 3: bytes, 4: int, 5: bytes, 6: bytes, 7: str, 8: str, 9: int, 10: int, 23: bytes}


def seeds() -> list[bytes]:
    """All messages of the vectors, valid and malformed, and one with labels that no message has."""
    strange = b"\xa8\0\4\4\0\x0b\xfb\x40\x09\x21\xfb\x54\x44\x2d\x18\x0c\xa2\1\x61a\x20\x82\xf5\xf6\x0d\xc1\x1a\1\2\3\4"
    return [*messages(), strange + b"\x0e\x78\x18" + b"\xc3\xa9" * 12 + b"\x15\xf9\x7e\x01\x17\x50" + bytes(16)]


def check(data: bytes) -> None:
    """Compare the fast way, the strict way, cbor2 and the CDDL."""
    try:
        message = decode(data)
    except MalformedMessage as error:
        assert 0 <= error.offset <= min(len(data), MAX_PAYLOAD)
        assert error.key is None or 0 <= error.key <= 23
        assert len(str(error)) <= LONGEST_ERROR
        assert str(error).isprintable()
        assert not _is_valid(data)
        return
    assert decode_strictly(data) == message
    known = encode(message)
    found = cbor.fields(data)
    own = _OWN[known[2]]
    if found.keys() <= own:
        assert known == data
        assert cbor2.dumps(cbor2.loads(data)) == data
        return
    assert found.keys() - own <= set(range(24))
    kept = [data[start - 1 : end] for label, (start, end) in found.items() if label in own]
    assert bytes([0xA0 | len(kept)]) + b"".join(kept) == known


def _is_valid(data: bytes) -> bool:
    """Say whether a map is deterministic as cbor2 sees it, valid by the CDDL, and by the rules between fields."""
    if not data or data[0] >> 5 != MAJOR_MAP or len(data) > MAX_PAYLOAD:
        return False
    loaded: Any = None
    with contextlib.suppress(Exception):  # cbor2 raises many kinds
        loaded = cbor2.loads(data)
    if not isinstance(loaded, dict) or not all(type(label) is int for label in loaded):
        return False
    if list(loaded) != sorted(loaded) or cbor2.dumps(loaded) != data:
        return False
    try:
        _SCHEMA.validate_cbor(data)
    except pycddl.ValidationError:
        return False
    # pycddl minds the sizes of strings, but hardly their types.
    if not all(type(value) is _TYPES.get(label) for label, value in loaded.items()):
        return False
    if not all(type(number) is int for number in loaded.get(2, ())):
        return False
    if loaded[0] != 2:
        return True
    ok, redirect = loaded[4] == 0, loaded[4] == 6
    return (3 in loaded) is ok and (5 in loaded) is ok and (8 in loaded) is redirect
