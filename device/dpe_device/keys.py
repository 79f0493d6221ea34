"""HMAC-SHA-256 (RFC 2104), HKDF-Expand (RFC 5869) and the MAC that ends every DPE-1 message."""

from hashlib import sha256 as _sha256

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it

_SIZE_MAC = const(16)

# A block of SHA-256 of 0x36, and one of 0x5C; written out, they take no RAM in a firmware.
_INNER = b"6666666666666666666666666666666666666666666666666666666666666666"
_OUTER = (
    b"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"
    b"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"
)


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 digest, 32 bytes."""
    return _sha256(data).digest()


def xor(data: bytes, mask: bytes) -> bytes:
    """Return the exclusive or of `data` and as much of `mask`."""
    size = len(data)  # as numbers: in Python's loop each octet costs MicroPython 1,000 instructions
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask[:size], "big")).to_bytes(size, "big")


def hmac(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-256, 32 bytes; the key has at most 64."""
    inner = _sha256(xor(key, _INNER) + _INNER[len(key) :])
    inner.update(data)
    outer = _sha256(xor(key, _OUTER) + _OUTER[len(key) :])
    outer.update(inner.digest())
    return outer.digest()


def extract(key: bytes, info: bytes) -> bytes:
    """Return HMAC(key, "DPE-1/1 " || info)."""
    return hmac(key, b"DPE-1/1 " + info)


def expand(key: bytes, info: bytes) -> bytes:
    """Return the 32 bytes of HKDF-Expand(key, "DPE-1/1 " || info); a shorter expansion is their beginning."""
    return extract(key, info + b"\1")


def sign(key: bytes, message: bytes, prefix: bytes = b"") -> bytes:
    """Return a message whose last 16 bytes are set to the MAC of `prefix` and of what stands before them."""
    message = message[:-_SIZE_MAC]
    return message + hmac(key, prefix + message)[:_SIZE_MAC]


def verify(key: bytes, message: bytes, prefix: bytes = b"") -> bool:
    """Tell, in constant time, whether `sign` made this message."""
    mac = sign(key, message, prefix)[-_SIZE_MAC:]
    return len(message) >= _SIZE_MAC and not any(xor(message[-_SIZE_MAC:], mac))
