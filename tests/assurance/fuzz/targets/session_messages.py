"""Any bytes give a report or one MalformedMessage that says where the fault is, and so for an answer; the pattern for
usual reports takes nothing that the strict reader refuses, and finds the same; what is accepted is the only encoding of
that message, and a general CBOR decoder and the rules of the CDDL agree."""

import contextlib
import json
from math import isfinite
from typing import Any

import cbor2

from dpe_coap import cbor, usual_reports
from dpe_coap.errors import MalformedMessage
from dpe_coap.session_messages import (
    MAX_PROPERTIES,
    MAX_SESSION_MESSAGE,
    decode_answer,
    decode_report,
    decoded,
)
from tests.assurance.fuzz.targets import message_decoder
from tests.assurance.fuzz.vectors import VECTORS

LONGEST = 400
WORDS = (
    *message_decoder.WORDS, b"\xa2\x00\x44abcd\x01\xa1\x00", b"\xa1\x01\xa1", b"\xa1\x01\xb8\x18",
    b"\x1a\x00\x01\x00\x00", b"\x3b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xf9\x7c\x00", b"\xf9\x00\x01",
    b"\xf9\x80\x00", b"\xfa\x3d\xcc\xcc\xcd", b"\x19\xff\xff", b"\x78\x18", b"\x78\x20", b"\x79\x01\x00",
    b"\x58\xff", b"\x59\x01\x00", b"\x59\x01\x01", b"\x63dpe", b"\xf4", b"\xf5", b"\xa0", b"\x02\x18\x3c",
    b"\x03\xa1\x00\xa1\x00\x01", b"\x62\xc3\xa9", b"\x38\xff", b"\x39\x01\x00",
)  # fmt: skip
LONGEST_ERROR = 160
_INT64 = range(-(1 << 63), 1 << 63)


def seeds() -> list[bytes]:
    """All messages of the vectors; a report of every type of value, four with a wrong value, and an unknown label."""
    vectors: list[dict[str, str]] = json.loads((VECTORS.parent / "session-vectors.json").read_text(encoding="utf-8"))
    texts = [vector[side] for vector in vectors for side in ("request_plaintext", "response_plaintext")]
    messages = [bytes.fromhex(text).partition(b"\xff")[2] for text in dict.fromkeys(texts)]
    of_all_types: dict[Any, Any] = {
        0: 86, 1: "4.2", 2: True, 3: 1 << 20, 5: -1, 6: 20.0, 7: 0.1, 8: 1e300, 24: b"", 300: None,
        "a": b"x" * 30, "door": "",
    }  # fmt: skip
    items = sorted((cbor2.dumps(key), cbor2.dumps(value, canonical=True)) for key, value in of_all_types.items())
    report = b"\xa2\x00\x44etag\x01" + bytes([0xA0 | len(items)]) + b"".join(key + value for key, value in items)
    strange = [b"\xa1\x01\xa1\x00" + value for value in (b"\xf9\x7c\x00", b"\xf9\x7e\x01", b"\x18\x17", b"\xf8\x20")]
    return [
        *filter(None, dict.fromkeys(messages)),
        report,
        b"\xa1\x00\x44etag",
        b"\xa0",
        *strange,
        b"\xa1\x18\x20\x81\xf6",
    ]


def check(data: bytes) -> None:
    """Compare the pattern, the strict reader, cbor2 and the rules, for both kinds of message."""
    loaded = _loaded(data)
    report = _read(decode_report, data)
    usual = usual_reports.read(data)
    if usual is not None:
        assert report == usual
        assert report is not None
        assert list(usual.properties or ()) == list(report.properties or ())
    if report is None:
        assert not _is_report(loaded)
    elif cbor.fields(data, longest=MAX_SESSION_MESSAGE, last_label=(1 << 64) - 1).keys() <= {0, 1}:
        assert _is_report(loaded)
        assert report.policy_etag == loaded.get(0)
        assert _exact(None if report.properties is None else decoded(report.properties)) == _exact(loaded.get(1))
    told = _read(decode_answer, data)
    if told is None:
        assert not _is_answer(loaded)
    elif cbor.fields(data, longest=MAX_SESSION_MESSAGE, last_label=(1 << 64) - 1).keys() <= {0, 2, 3}:
        assert _is_answer(loaded)
        etag, answer = told
        assert (etag, answer.lifetime) == (loaded[0], loaded.get(2))
        assert _exact(answer.policies) == _exact(loaded[3])
        assert answer.encode()[7:] == data[7:]  # all but the etag, which a device does not compute


def _read(read: Any, data: bytes) -> Any:
    """Return the message; None if it is malformed."""
    try:
        return read(data)
    except MalformedMessage as error:
        assert 0 <= error.offset <= min(len(data), MAX_SESSION_MESSAGE)
        assert len(str(error)) <= LONGEST_ERROR
        assert str(error).isprintable()
        return None


def _loaded(data: bytes) -> Any:
    """Return what cbor2 reads, if the data are its only encoding; else None."""
    if len(data) > MAX_SESSION_MESSAGE:
        return None
    with contextlib.suppress(Exception):  # cbor2 raises many kinds
        loaded = cbor2.loads(data)
        if _exact(loaded) == data:
            return loaded
    return None


def _exact(value: Any, seen: set[int] | None = None) -> bytes:
    """Return the deterministic encoding, maps in the order of the encoded keys (RFC 8949 section 4.2.1).

    ValueError for what no message of a session has: arrays, tags, and maps that tags 28 and 29 put in several places,
    whose encoding might have no end. ``seen`` has the maps met so far, by ``id``.
    """
    if isinstance(value, dict):
        seen = set() if seen is None else seen
        if id(value) in seen:
            raise ValueError("a map in two places")
        seen.add(id(value))
        items = sorted((_exact(key, seen), _exact(item, seen)) for key, item in value.items())
        head = cbor2.dumps(len(items))
        return bytes([head[0] | 0xA0]) + head[1:] + b"".join(key + item for key, item in items)
    if not isinstance(value, int | float | str | bytes | None):
        raise ValueError("not of a session's message")
    return cbor2.dumps(value, canonical=True)


def _has(loaded: Any, labels: set[int]) -> bool:
    return isinstance(loaded, dict) and all(type(label) is int for label in loaded) and loaded.keys() <= labels


def _is_report(loaded: Any) -> bool:
    if not _has(loaded, {0, 1}) or (0 in loaded and not _is_etag(loaded[0])):
        return False
    if 1 not in loaded:
        return True
    properties = loaded[1]
    if not isinstance(properties, dict) or not 1 <= len(properties) <= MAX_PROPERTIES:
        return False
    return all(_is_property(name) and _is_value(value) for name, value in properties.items())


def _is_answer(loaded: Any) -> bool:
    if not _has(loaded, {0, 2, 3}) or not _is_etag(loaded.get(0)) or not isinstance(loaded.get(3), dict):
        return False
    if 2 in loaded and not (type(loaded[2]) is int and 60 <= loaded[2] < 1 << 32):
        return False
    return len(loaded[3]) <= MAX_PROPERTIES and all(
        _is_property(name)
        and isinstance(how, dict)
        and all(type(attribute) is int and 0 <= attribute <= 0xFFFF for attribute in how)
        and all(_is_number(setting) for setting in how.values())
        for name, how in loaded[3].items()
    )


def _is_etag(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) == 4


def _is_property(name: Any) -> bool:
    if isinstance(name, str):
        return 1 <= len(name.encode()) <= 32
    return type(name) is int and 0 <= name <= 0xFFFF


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.encode()) <= 256
    return value is None or (isinstance(value, bytes) and len(value) <= 256) or _is_number(value)


def _is_number(value: Any) -> bool:
    """Return whether it is a number or a boolean."""
    if isinstance(value, float):
        return isfinite(value)
    return type(value) is bool or (type(value) is int and value in _INT64)
