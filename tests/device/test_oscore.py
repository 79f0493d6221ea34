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


def protect(session: Context, vector: "dict[str, Any]", number: "int | None" = None) -> bytes:
    """What follows the CoAP token of a vector's request."""
    text = of(vector, "request_plaintext")
    assert text[1:5] == b"\xb3dpe"
    return session.protect(number or vector["sequence_number"], text[0], text[5:])


def ciphertext(vector: "dict[str, Any]") -> bytes:
    """The ciphertext of a vector's response."""
    return of(vector, "response")[-len(of(vector, "response_plaintext")) - 8 :]


def refuses(context: Context, ciphertext: bytes) -> bool:
    try:
        context.unprotect(ciphertext)
    except ValueError:
        return True
    return False


def test_requests_are_protected_byte_for_byte_and_responses_are_opened() -> None:
    assert len(VECTORS) == 126
    for vector in VECTORS:
        session = context(vector)
        assert protect(session, vector) == of(vector, "request")[8:]
        text = of(vector, "response_plaintext")
        code, options, payload = session.unprotect(ciphertext(vector))
        assert code == text[0]
        assert payload == (text.split(b"\xff", 1)[1] if len(text) > 1 else b"")
        if code < 0x80:
            assert options == ({12: 60} if payload else {})


def test_what_the_server_did_not_make_is_refused() -> None:
    vector = VECTORS[0]
    session = context(vector)
    number = vector["sequence_number"]
    sealed = ciphertext(vector)
    protect(session, vector, number + 1)
    assert refuses(session, sealed)
    sent = protect(session, vector)
    assert not refuses(session, sealed)
    for place in range(0, len(sealed), 3):
        assert refuses(session, sealed[:place] + bytes((sealed[place] ^ 1,)) + sealed[place + 1 :])
    for size in range(9):
        assert refuses(session, sealed[:size])
    # Nor is our own request taken for an answer.
    assert refuses(session, sent[sent.find(b"\xff") + 1 :])


def sealed(session: Context, text: bytes) -> bytes:
    """The ciphertext of a response to the last request."""
    return session._count(session._response, text, 1) + session._tag(session._response, text)


def test_a_response_with_a_critical_option_that_is_unknown_is_refused() -> None:
    session = context(VECTORS[0])
    protect(session, VECTORS[0])
    for options, taken in (
        (b"\xc1\x3c", True),
        (b"\xd1\x01\x3c", True),
        (b"\xb1\x3c", False),
        (b"\xd1\x02\x3c", False),
    ):
        assert refuses(session, sealed(session, b"\x44" + options + b"\xffx")) != taken


def test_a_response_may_have_any_length() -> None:
    """Around the length of a block, and above 255 bytes."""
    session = context(VECTORS[0])
    protect(session, VECTORS[0])
    assert session.unprotect(sealed(session, b"\x44")) == (0x44, {}, b"")
    assert refuses(session, sealed(session, b""))
    for size in (3, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1024):
        payload = bytes(n & 0xFF for n in range(size - 2))
        message = sealed(session, b"\x45\xff" + payload)
        assert len(message) == size + 8
        assert session.unprotect(message) == (0x45, {}, payload)


def test_numbers_have_up_to_five_bytes() -> None:
    session = context(VECTORS[0])
    for number, size in ((1, 1), (255, 1), (256, 2), (65_536, 3), (1 << 24, 4), ((1 << 40) - 1, 5)):
        head = b"\x9d\0" if size == 5 else bytes((0x98 + size,))
        option = bytes((8 | size,)) + number.to_bytes(size, "big") + of(VECTORS[0], "client_id")
        assert session.protect(number, 1, b"")[: len(head + option) + 1] == head + option + b"\xff"
