"""What is wrong with a message of the session, and where: each fault by its words, offset and label; and the bounds."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

import cbor2
import pytest

from dpe_coap import session_messages
from dpe_coap.errors import LocalError, MalformedMessage, TooLarge
from dpe_coap.session_messages import Answer, decode_answer, decode_report, decoded, encode_report

TOLD = b"\xa2\x00\x44etag\x03"
"""An answer up to its policies."""
MANY = b"\xb8\x41"
"""The head of a map with 65 entries."""
NAMES = [b"\x18" + bytes([24 + number]) for number in range(65)]
PROPERTY = "a property is neither a number up to 65535 nor text of 1 to 32 bytes"
LIFETIME = "lifetime is not a number of 60 to 4294967295"
ATTRIBUTE = "an attribute is not a number of 0 to 65535"
INTEGER, FLOAT, TYPE = "an integer of more than 64 bits", "a float is NaN or infinite", "a value is of a wrong type"
LONG, MOST = "a value is longer than 256 bytes", "more than 64 properties"

REPORTS = [
    (b"\xa1\x00\x43abc", MalformedMessage, "policy etag is no byte string of 4 bytes", 2, 0),
    (b"\xa1\x00\x64abcd", MalformedMessage, "policy etag is no byte string of 4 bytes", 2, 0),
    (b"\xa1\x01\x00", MalformedMessage, "properties: not a map", 2, 1),
    (b"\xa1\x01\xa0", MalformedMessage, "no property: a refresh leaves label 1 out", 2, 1),
    (b"\xa1\x01" + MANY + b"".join(name + b"\x00" for name in NAMES), TooLarge, MOST, 2, 1),
    (b"\xa1\x01\xa1\x20\x00", MalformedMessage, PROPERTY, 3, 1),
    (b"\xa1\x01\xa1\x1a\x00\x01\x00\x00\x00", MalformedMessage, PROPERTY, 3, 1),
    (b"\xa1\x01\xa1\x60\x00", MalformedMessage, PROPERTY, 3, 1),
    (b"\xa1\x01\xa1\x78\x21" + b"a" * 33 + b"\x00", MalformedMessage, PROPERTY, 3, 1),
    (b"\xa1\x01\xa1\x00\x59\x01\x01" + bytes(257), TooLarge, LONG, 4, 1),
    (b"\xa1\x01\xa1\x00\x79\x01\x01" + b"a" * 257, TooLarge, LONG, 4, 1),
    (b"\xa1\x01\xa1\x00\x1b\x80" + bytes(7), MalformedMessage, INTEGER, 4, 1),
    (b"\xa1\x01\xa1\x00\x3b\x80" + bytes(7), MalformedMessage, INTEGER, 4, 1),
    (b"\xa1\x01\xa1\x00\xf9\x7c\x00", MalformedMessage, FLOAT, 4, 1),
    (b"\xa1\x01\xa1\x00\xf9\xfc\x00", MalformedMessage, FLOAT, 4, 1),
    (b"\xa1\x01\xa1\x00\xf9\x7e\x01", MalformedMessage, FLOAT, 4, 1),
    (b"\xa1\x01\xa1\x00\xfa\x7f\xc0\x00\x01", MalformedMessage, FLOAT, 4, 1),
    (b"\xa1\x01\xa1\x00\xfb\x7f\xf8\x00\x00\x00\x00\x00\x01", MalformedMessage, FLOAT, 4, 1),
    (b"\xa1\x01\xa1\x00\x81\x00", MalformedMessage, TYPE, 4, 1),
    (b"\xa1\x01\xa1\x00\xa0", MalformedMessage, TYPE, 4, 1),
    (b"\xa1\x01\xa1\x00\xf7", MalformedMessage, TYPE, 4, 1),
]
ANSWERS = [
    (b"\xa0", MalformedMessage, "policy etag missing", 1, 0),
    (b"\xa1\x03\xa0", MalformedMessage, "policy etag missing", 3, 0),
    (b"\xa1\x00\x44etag", MalformedMessage, "policies missing", 7, 3),
    (b"\xa2\x00\x44etag\x02\x18\x3c", MalformedMessage, "policies missing", 10, 3),
    (b"\xa3\x00\x44etag\x02\x18\x3b\x03\xa0", MalformedMessage, LIFETIME, 8, 2),
    (b"\xa3\x00\x44etag\x02\x40\x03\xa0", MalformedMessage, LIFETIME, 8, 2),
    (b"\xa3\x00\x44etag\x02\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x03\xa0", MalformedMessage, LIFETIME, 8, 2),
    (TOLD + b"\x80", MalformedMessage, "policies: not a map", 8, 3),
    (TOLD + MANY + b"".join(name + b"\xa0" for name in NAMES), TooLarge, MOST, 8, 3),
    (TOLD + b"\xa1\x20\xa0", MalformedMessage, PROPERTY, 9, 3),
    (TOLD + b"\xa1\x00\x80", MalformedMessage, "conditions: not a map", 10, 3),
    (TOLD + b"\xa1\x00\xa1\x60\x00", MalformedMessage, ATTRIBUTE, 11, 3),
    (TOLD + b"\xa1\x00\xa1\x1a\x00\x01\x00\x00\x00", MalformedMessage, ATTRIBUTE, 11, 3),
    (TOLD + b"\xa1\x00\xa1\x00\x60", MalformedMessage, TYPE, 12, 3),
    (TOLD + b"\xa1\x00\xa1\x00\xf6", MalformedMessage, TYPE, 12, 3),
    (TOLD + b"\xa1\x00\xa1\x00\x1b\x80" + bytes(7), MalformedMessage, INTEGER, 12, 3),
    (TOLD + b"\xa1\x00\xa1\x00\xf9\x7c\x00", MalformedMessage, FLOAT, 12, 3),
]


@pytest.mark.parametrize(
    ("read", "payload", "kind", "fault", "offset", "key"),
    [(decode_report, *case) for case in REPORTS] + [(decode_answer, *case) for case in ANSWERS],
)
def test_a_fault_is_told_with_its_place(
    read: Callable[[bytes], Any], payload: bytes, kind: type, fault: str, offset: int, key: int
) -> None:
    with pytest.raises(MalformedMessage) as caught:
        read(payload)
    assert type(caught.value) is kind
    assert (caught.value.fault, caught.value.offset, caught.value.key) == (fault, offset, key)


def test_as_much_as_is_allowed_is_taken() -> None:
    many = decode_report(b"\xa1\x01\xb8\x40" + b"".join(name + b"\x00" for name in NAMES[:64])).properties
    assert many is not None
    assert len(many) == 64
    _, answer = decode_answer(TOLD + b"\xb8\x40" + b"".join(name + b"\xa0" for name in NAMES[:64]))
    assert len(answer.policies) == 64
    for value in (bytes(256), "a" * 256, "é" * 128):
        payload = encode_report({0: value})
        properties = decode_report(payload).properties
        assert properties is not None
        assert decoded(properties) == {0: value}
    label = (1 << 64) - 1
    assert decode_report(b"\xa1" + cbor2.dumps(label) + b"\xf6").properties is None
    assert (session_messages.MAX_PROPERTIES, session_messages.MAX_RECORD) == (64, 4_096)


@pytest.mark.parametrize("count", [1, 23, 24, 25, 64])
def test_the_head_of_a_map_is_the_shortest(count: int) -> None:
    values: dict[int | str, Any] = dict.fromkeys(range(count), True)
    expected = cbor2.dumps({1: values})
    assert encode_report(values) == expected
    told: dict[int | str, Any] = {key: {} for key in range(count)}
    encoded = Answer(told).encode()
    assert cbor2.loads(encoded)[3] == told
    assert encoded.endswith(cbor2.dumps(told))


def test_what_cannot_be_said_is_a_local_error_that_says_why() -> None:
    for value in (nan, inf, -inf):
        with pytest.raises(LocalError, match=r"^a float is NaN or infinite$"):
            encode_report({0: value})
        with pytest.raises(LocalError, match=r"^a float is NaN or infinite$"):
            Answer({0: {0: value}}).encode()
    with pytest.raises(LocalError, match=f"^cannot report this: {LONG}, key 1, offset 4$"):
        encode_report({0: bytes(257)})
    with pytest.raises(LocalError, match=f"^cannot tell a device this: {LIFETIME}, key 2, offset 8$"):
        Answer({}, 59).encode()
