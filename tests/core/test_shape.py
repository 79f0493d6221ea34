"""The fast reader of messages: fields that the schema may get are read rightly, or the reader is not made."""

from dataclasses import dataclass
from typing import Any

import pytest

from dpe_coap import messages
from dpe_coap.messages import Response, Version
from dpe_coap.numbers import LABEL_IDENTITY, MessageType

MAC = bytes(range(16))


@dataclass(frozen=True, slots=True)
class Changed:
    """A REQUEST of another schema."""

    identity: bytes
    mac: bytes


def shape(*sizes: int) -> messages._Shape:
    """The reader of a message whose first field is of one of these sizes, in bytes."""
    kind: Any = Changed
    members = (messages._bytes(LABEL_IDENTITY, "identity", "identity", *sizes), messages._mac)
    return messages._Shape(MessageType.REQUEST, kind, members)


@pytest.mark.parametrize("sizes", [(17,), (17, 7), (32,), (32, 48), (24, 255)])
def test_bytes_are_read_without_their_head(sizes: tuple[int, ...]) -> None:
    """Of 24 bytes and more the head has two."""
    for size in sizes:
        value = bytes(255 - n for n in range(size))
        head = bytes([0x40 | size]) if size < 24 else bytes([0x58, size])
        assert shape(*sizes).values(b"\xa3\0\1\1" + head + value + b"\x17\x50" + MAC) == [value, MAC]


def test_sizes_whose_heads_differ_in_length_are_refused() -> None:
    with pytest.raises(ValueError, match="too many values"):
        shape(7, 32)


@pytest.mark.parametrize(
    "fields",
    [{"status": 0, "client_id": bytes(7), "sealed_handle": bytes(17)}, {"status": 6, "server_uri": "x"}, {"status": 2}],
    ids=str,
)
def test_a_response_whose_fields_go_with_its_status_is_read_the_fast_way(fields: dict[str, Any]) -> None:
    payload = messages.encode(Response(version=Version(1, 0), security_token=bytes(32), **fields))
    values = messages._SHAPES[payload[1:3]].values(payload)
    assert values is not None
    assert values[0] == Version(1, 0)
    assert set(fields.values()) < set(values)


def test_a_response_takes_keywords_alone() -> None:
    """Eight values in a row, most of them bytes or None, nobody can read."""
    with pytest.raises(TypeError, match="positional"):
        Response(Version(1, 0), 2, bytes(32))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        messages.Request(bytes(17), Version(1, 0), bytes(32), bytes(32))  # type: ignore[call-arg]
