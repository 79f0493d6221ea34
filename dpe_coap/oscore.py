"""The OSCORE context of a DPE session, as pure functions (RFC 8613; docs/session.md).

AES-CCM-16-64-128 with HKDF SHA-256, no ID Context. The Sender ID of the client is its Client ID, that of the server is
empty. The server sends no Partial IV: a response is under the nonce of its request (RFC 8613 section 5.2), so a nonce
belongs to one request and one response, each under a key of its own.
"""

from hashlib import sha256
from hmac import digest
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from dpe_coap.binding import Code
from dpe_coap.errors import RemoteError
from dpe_coap.numbers import SIZE_CLIENT_ID

SIZE_KEY = 16
"""Bytes of a sender key (RFC 8613 section 3.2.1 with AES-CCM-16-64-128)."""
SIZE_NONCE = 13
SIZE_TAG = 8
"""Bytes by which a ciphertext is longer than what was encrypted."""
MAX_ID = SIZE_NONCE - 6
"""Bytes of the longest Sender ID (RFC 8613 section 3.3): 7, as a Client ID has."""
SIZE_PARTIAL_IV = 5
"""Bytes of the longest Partial IV."""
MAX_NUMBER = (1 << 8 * SIZE_PARTIAL_IV) - 1
"""The largest sequence number (RFC 8613 section 7.2.1)."""

_ALGORITHM = 10
"""AES-CCM-16-64-128 (RFC 9053 section 4.2)."""
KID = 0x08
"""The flag of an OSCORE option with a kid."""
_KID_CONTEXT = 0x10
_RESERVED = 0xE0


class BadOption(RemoteError):
    """The OSCORE option has a wrong form (RFC 8613 section 8.2, step 2)."""

    code = Code.BAD_OPTION


class UnknownContext(RemoteError):
    """The OSCORE option names no context that a DPE session can have. ``str`` says why; the peer only hears 4.01."""

    code = Code.UNAUTHORIZED


class Keys(NamedTuple):
    """What both sides derive (RFC 8613 section 3.2)."""

    client: bytes
    """The client's sender key, 16 bytes."""
    server: bytes
    """The server's sender key, 16 bytes."""
    common_iv: bytes
    """13 bytes."""

    def __repr__(self) -> str:
        """Show no key."""
        return "Keys(...)"


def derive(master_secret: bytes, master_salt: bytes, client_id: bytes, server_id: bytes = b"") -> Keys:
    """Return the keys of a session (RFC 8613 section 3.2.1). A DPE server has the empty Sender ID."""
    pseudorandom = digest(master_salt, master_secret, sha256)  # HKDF-Extract (RFC 5869 section 2.2)
    return Keys(
        _expand(pseudorandom, client_id, b"\x63Key", SIZE_KEY),
        _expand(pseudorandom, server_id, b"\x63Key", SIZE_KEY),
        _expand(pseudorandom, b"", b"\x62IV", SIZE_NONCE),
    )


def _expand(pseudorandom: bytes, sender_id: bytes, kind: bytes, size: int) -> bytes:
    """HKDF-Expand with ``info``: an array of ID, ID Context (null), algorithm, type and length."""
    info = b"\x85" + _BYTES[len(sender_id)] + sender_id + b"\xf6" + bytes([_ALGORITHM]) + kind + bytes([size])
    return digest(pseudorandom, info + b"\x01", sha256)[:size]


def partial_iv(number: int) -> bytes:
    """Return a sequence number of 0 to 2^40 - 1 as a Partial IV: without leading zeros (RFC 8613 section 6.1)."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def nonce(common_iv: bytes, sender_id: bytes, number: int) -> bytes:
    """Return the AEAD nonce, 13 bytes (RFC 8613 section 5.2): of a request, and of the response to it."""
    sender = len(sender_id) << 8 * MAX_ID | int.from_bytes(sender_id, "big")
    assembled = sender << 8 * SIZE_PARTIAL_IV | number
    return (assembled ^ int.from_bytes(common_iv, "big")).to_bytes(SIZE_NONCE, "big")


def numbered(nonce_of_zero: bytes, number: int) -> bytes:
    """Return the nonce of a sequence number, given that of number 0: the number stands at its end."""
    return (int.from_bytes(nonce_of_zero, "big") ^ number).to_bytes(SIZE_NONCE, "big")


_BYTES = [bytes([0x40 | size]) for size in range(24)]
"""The head of a short byte string, by its size."""
_BEFORE_ID = [
    [
        b"\x83\x68Encrypt0\x40"
        + _BYTES[7 + id_size + iv_size]
        + b"\x85\x01\x81"
        + bytes([_ALGORITHM])
        + _BYTES[id_size]
        for iv_size in range(SIZE_PARTIAL_IV + 1)
    ]
    for id_size in range(MAX_ID + 1)
]
"""What stands before the kid in the additional data, by the sizes of kid and Partial IV."""


def additional_data(sender_id: bytes, number: int) -> bytes:
    """Return what is authenticated beside the ciphertext, in a request and in its response (RFC 8613 section 5.4).

    The Encrypt0 structure of COSE around [version 1, [algorithm], request's kid, request's Partial IV, no options].
    """
    return additional_data_of(sender_id, partial_iv(number))


def additional_data_of(sender_id: bytes, iv: bytes) -> bytes:
    """Return the additional data of a request whose Partial IV is ``iv``, 1 to 5 bytes."""
    size = len(iv)
    return _BEFORE_ID[len(sender_id)][size] + sender_id + _BYTES[size] + iv + b"\x40"


def option(sender_id: bytes, number: int) -> bytes:
    """Return the value of the OSCORE option of a request (RFC 8613 section 6.1); that of a response is empty."""
    iv = partial_iv(number)
    return bytes([KID | len(iv)]) + iv + sender_id


def read_option(value: bytes) -> tuple[bytes, int]:
    """Return the Client ID and the sequence number in the OSCORE option of a request.

    Raises BadOption where the form is wrong, and UnknownContext where it is right but no Client ID is named.
    """
    flags = value[0] if value else 0
    size = flags & 7
    if flags & _RESERVED or not flags & KID or not 1 <= size <= SIZE_PARTIAL_IV or len(value) <= size:
        raise BadOption(
            "the OSCORE option of a request has 1 to 5 bytes of Partial IV and a kid (RFC 8613 section 6.1)"
        )
    if value[1] == 0 and size > 1:
        raise BadOption("the Partial IV begins with a zero")
    if flags & _KID_CONTEXT:
        raise UnknownContext("kid context present")
    sender_id = value[1 + size :]
    if len(sender_id) != SIZE_CLIENT_ID:
        raise UnknownContext(f"the kid is no Client ID, which has {SIZE_CLIENT_ID} bytes")
    return sender_id, int.from_bytes(value[1 : 1 + size], "big")


def encrypt(key: bytes, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
    """Return the ciphertext, 8 bytes longer than ``plaintext``. Never to be called twice with one key and nonce."""
    return AESCCM(key, SIZE_TAG).encrypt(nonce, plaintext, additional_data)


def decrypt(key: bytes, nonce: bytes, additional_data: bytes, ciphertext: bytes) -> bytes | None:
    """Return the plaintext, or None if the ciphertext was not made under this key, nonce and additional data."""
    try:
        return AESCCM(key, SIZE_TAG).decrypt(nonce, ciphertext, additional_data)
    except InvalidTag:
        return None


_NOBODYS = AESCCM(bytes(SIZE_KEY), SIZE_TAG)


def fail(nonce: bytes) -> None:
    """Fail to decrypt: a request that is refused although it was decrypted must take as long as one that was not."""
    try:
        _NOBODYS.decrypt(nonce, b"", None)
    except InvalidTag:
        return
