"""The OSCORE context of a session, by the vectors of an independent implementation."""

import json
from binascii import unhexlify

from dpe_device.aes import AES
from dpe_device.oscore import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

with open(__file__.rsplit("/", 2)[0] + "/vectors/session-vectors.json") as file:  # noqa: PTH123  # MicroPython has no pathlib
    VECTORS = json.load(file)


def of(vector: "dict[str, Any]", key: str) -> bytes:
    return unhexlify(vector[key])


def context(vector: "dict[str, Any]") -> Context:
    return Context(of(vector, "client_id"), (of(vector, "master_secret"), of(vector, "master_salt")), AES)


def ciphertext(vector: "dict[str, Any]") -> bytes:
    """The ciphertext of a vector's response."""
    return of(vector, "response")[-len(of(vector, "response_plaintext")) - 8 :]


def refuses(context: Context, number: int, ciphertext: bytes) -> bool:
    try:
        context.unprotect(number, ciphertext)
    except ValueError:
        return True
    return False


def test_requests_are_protected_byte_for_byte() -> None:
    assert len(VECTORS) == 126
    for vector in VECTORS:
        number = vector["sequence_number"]
        session = context(vector)
        message = session.option(number) + b"\xff" + session.protect(number, of(vector, "request_plaintext"))
        assert of(vector, "request")[-len(message) :] == message


def test_responses_are_opened() -> None:
    for vector in VECTORS:
        opened = context(vector).unprotect(vector["sequence_number"], ciphertext(vector))
        assert opened == of(vector, "response_plaintext")


def test_what_the_server_did_not_make_is_refused() -> None:
    vector = VECTORS[0]
    session = context(vector)
    number = vector["sequence_number"]
    sealed = ciphertext(vector)
    assert not refuses(session, number, sealed)
    assert refuses(session, number + 1, sealed)
    for place in range(len(sealed)):
        assert refuses(session, number, sealed[:place] + bytes((sealed[place] ^ 1,)) + sealed[place + 1 :])
    for size in range(9):
        assert refuses(session, number, sealed[:size])
    # Nor is our own request taken for an answer.
    assert refuses(session, number, session.protect(number, of(vector, "request_plaintext")))


def test_the_text_may_have_any_length() -> None:
    """Around the length of a block, and above 255 bytes. The session opens what it has protected itself."""
    session = context(VECTORS[0])
    session._response = session._request
    for size in (1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1024):
        text = bytes(n & 0xFF for n in range(size))
        sealed = session.protect(77, text)
        assert len(sealed) == size + 8
        assert session.unprotect(77, sealed) == text


def test_numbers_have_up_to_five_bytes() -> None:
    session = context(VECTORS[0])
    for number, size in ((1, 1), (255, 1), (256, 2), (65_536, 3), (1 << 24, 4), ((1 << 40) - 1, 5)):
        option = session.option(number)
        assert option[0] == 8 | size
        assert int.from_bytes(option[1 : 1 + size], "big") == number
        assert option[1 + size :] == of(VECTORS[0], "client_id")
