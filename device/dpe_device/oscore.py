"""The OSCORE context of a DPE session (RFC 8613): AES-CCM-16-64-128, HKDF SHA-256, no ID Context. No socket, no clock.

The client's Sender ID is its Client ID, the server's is empty. A response is under the nonce of its request.
"""

from .coap import parse
from .messages import hmac

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Aes, Encrypt, Response

_SIZE_BLOCK = const(16)
_SIZE_TAG = const(8)


class Context:
    """What protects one session's messages. `oscore` is `Registration.oscore`: master secret (16 bytes) and salt (8).

    `aes(key)` returns an object whose `encrypt(block)` is AES-128 of 16 bytes: `lambda key: cryptolib.aes(key, 1)`
    where the firmware has it, else `aes.AES`. A number is 1 to 2^40 - 1, and is never protected twice.
    """

    def __init__(self, client_id: bytes, oscore: "tuple[bytes, bytes]", aes: "Aes") -> None:
        self._client_id = client_id
        secret, salt = oscore
        prk = hmac(salt + bytes(32 - len(salt)), b"", secret)
        # HKDF-Expand (RFC 5869) of section 3.2.1's arrays
        self._request = aes(hmac(prk, b"\x85\x47" + client_id, b"\xf6\x0a\x63Key\x10\1")[:_SIZE_BLOCK]).encrypt
        self._response = aes(hmac(prk, b"\x85\x40", b"\xf6\x0a\x63Key\x10\1")[:_SIZE_BLOCK]).encrypt
        # The nonce of number 0 (section 5.2): the IV, XOR the size of the ID, the ID and five bytes of the number.
        self._nonce = _xor(b"\7" + client_id + bytes(5), hmac(prk, b"\x85\x40", b"\xf6\x0a\x62IV\x0d\1"))

    def protect(self, number: int, code: int, rest: bytes) -> bytes:
        """Return what follows the CoAP token of a request to /dpe: OSCORE option (section 6.1), FF and ciphertext.

        `code` is that of its method; `rest` is further options, FF and the payload, or empty.
        """
        text = bytes((code,)) + b"\xb3dpe" + rest
        iv = number.to_bytes(5, "big")
        self._counter = _xor(self._nonce, bytes(8) + iv)
        iv = iv.lstrip(b"\0")
        size = len(iv)
        option = bytes((8 | size,)) + iv + self._client_id
        # Section 5.4: the Encrypt0 structure around [1, [10], kid, Partial IV, no options].
        aad = b"\x83\x68Encrypt0\x40" + bytes((0x4E + size, 0x85, 1, 0x81, 10, 0x47)) + self._client_id
        self._aad = bytes((0, 26 + size)) + aad + bytes((0x40 + size,)) + iv + b"\x40"
        header = b"\x9d\0" if size > 4 else bytes((0x98 + size,))
        return header + option + b"\xff" + self._count(self._request, text, 1) + self._tag(self._request, text)

    def unprotect(self, ciphertext: bytes) -> "Response":
        """Return code, options and payload of the response to the last request.

        ValueError if the server did not make it, or as it has a critical option.
        """
        text = self._count(self._response, ciphertext[:-_SIZE_TAG], 1)
        tag = self._tag(self._response, text)
        response = parse(b"\0" + text[:1] + bytes(6) + text[1:])
        # As numbers: the comparison does not end at the first octet that is wrong.
        if not response or int.from_bytes(ciphertext[-_SIZE_TAG:], "big") ^ int.from_bytes(tag, "big"):
            raise ValueError
        return response

    def _block(self, flags: int, last: int) -> bytes:
        # A counter block of AES-CCM with L = 2 (RFC 3610), or the first of its CBC-MAC.
        return bytes((flags,)) + self._counter + last.to_bytes(2, "big")

    def _count(self, encrypt: "Encrypt", text: bytes, first: int) -> bytes:
        # Counter mode.
        out = b""
        for at in range(0, len(text), _SIZE_BLOCK):
            out += _xor(text[at : at + _SIZE_BLOCK], encrypt(self._block(1, first)))
            first += 1
        return out

    def _tag(self, encrypt: "Encrypt", text: bytes) -> bytes:
        mac = encrypt(self._block(0x59, len(text)))
        for part in (self._aad, text):
            for at in range(0, len(part), _SIZE_BLOCK):
                mac = encrypt(_xor(part[at : at + _SIZE_BLOCK] + bytes(15), mac))
        return self._count(encrypt, mac[:_SIZE_TAG], 0)


def _xor(a: bytes, b: bytes) -> bytes:
    # As long as the shorter of the two.
    return bytes(x ^ y for x, y in zip(a, b))  # noqa: B905  # MicroPython's zip has no `strict`
