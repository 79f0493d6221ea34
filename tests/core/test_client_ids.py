"""The forms of a Client ID."""

from typing import Any

import pytest

from dpe_coap.client_ids import client_id_bytes, client_id_of, client_id_text


@pytest.mark.parametrize(
    ("number", "wire"),
    [
        (0, bytes(7)),
        (1, bytes(6) + b"\1"),
        (0x10000000000000, b"\x10" + bytes(6)),
        (0x0123456789ABCD, bytes.fromhex("0123456789abcd")),
        (2**56 - 1, b"\xff" * 7),
    ],
)
def test_the_forms_are_one_client_id(number: int, wire: bytes) -> None:
    assert client_id_of(wire) == number
    assert client_id_bytes(number) == wire
    assert client_id_text(number) == wire.hex()


def test_those_of_the_vectors(vectors: dict[str, Any]) -> None:
    texts = [vector["client_id"] for vector in vectors["valid"] if "client_id" in vector]
    assert texts
    for text in texts:
        wire = bytes.fromhex(text)
        assert client_id_bytes(client_id_of(wire)) == wire
        assert client_id_text(client_id_of(wire)) == text


@pytest.mark.parametrize("number", [-1, 2**56])
def test_what_has_not_56_bits_has_no_bytes(number: int) -> None:
    with pytest.raises(OverflowError):
        client_id_bytes(number)
