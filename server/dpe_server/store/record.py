"""What a device has reported, as one byte string: its profile record, with the time of every value.

Properties and values stay as they were encoded (docs/session.md): a store neither decodes nor judges
them. Each entry is the length of the property (1 byte), that of the value (2 bytes), when it was reported (4 bytes,
Unix seconds), the property and the value. Entries are in the order of the properties' encodings.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from dpe_coap.session_messages import MAX_PROPERTIES, MAX_RECORD, Items

EMPTY = b""
NULL = b"\xf6"
"""The value of a property that is not there any more."""

_HEAD = Struct(">BHI")


class Entry(NamedTuple):
    """One property, as it was reported last."""

    property: bytes
    """Encoded."""
    value: bytes
    """Encoded."""
    at: int
    """Unix seconds."""


def entries(record: bytes) -> Iterator[Entry]:
    """Yield the properties of a record."""
    at, size = 0, _HEAD.size
    while at < len(record):
        property_size, value_size, reported_at = _HEAD.unpack_from(record, at)
        value = at + size + property_size
        yield Entry(record[at + size : value], record[value : value + value_size], reported_at)
        at = value + value_size


def count(record: bytes) -> int:
    """Return how many properties a record has."""
    return sum(1 for _ in entries(record))


def merge(record: bytes, items: Items, now: int) -> bytes | None:
    """Return a record with what was reported at ``now`` (Unix seconds); a property reported as null goes.

    None if there would be more than 64 properties, or more than 4,096 bytes of encoded properties and values.
    """
    if not items:
        return record
    merged: dict[bytes, bytes] = {}
    at, head = 0, _HEAD.size
    more = False
    while at < len(record):
        property_size, value_size, _ = _HEAD.unpack_from(record, at)
        end = at + head + property_size + value_size
        merged[record[at + head : at + head + property_size]] = record[at:end]
        at = end
    for property_, value in items.items():
        if value == NULL:
            merged.pop(property_, None)
        else:
            more = more or property_ not in merged
            merged[property_] = _HEAD.pack(len(property_), len(value), now) + property_ + value
    result = b"".join([merged[property_] for property_ in sorted(merged)] if more else merged.values())
    if len(merged) > MAX_PROPERTIES or len(result) - head * len(merged) > MAX_RECORD:
        return None
    return result
