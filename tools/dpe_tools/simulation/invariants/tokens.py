"""The security tokens of the four messages, written down once more from docs/protocol.md: for the invariants alone.

The server has them from ``dpe_coap.keys`` and the client from ``dpe_device.messages``. A fault that both share would
not show when each is tested against the other.
"""

from functools import lru_cache
from hashlib import sha256
from hmac import digest

SIZE_MAC = 16
SIZE_NONCE = 16


def _hmac(key: bytes, *parts: bytes) -> bytes:
    return digest(key, b"".join(parts), "sha256")


def _expand(key: bytes, label: bytes) -> bytes:
    return _hmac(key, b"DPE-1/1 ", label, b"\x01")


def _is_mac(key: bytes, prefix: bytes, message: bytes) -> bool:
    return _hmac(key, prefix, message[:-SIZE_MAC])[:SIZE_MAC] == message[-SIZE_MAC:]


@lru_cache(256)
def _request_key(device_key: bytes, realm: str) -> bytes:
    return _expand(device_key, b"m1" + sha256(realm.encode()).digest())


def request_is_valid(device_key: bytes, realm: str, request: bytes) -> bool:
    """Say whether the MAC of a REQUEST is right."""
    return _is_mac(_request_key(device_key, realm), b"", request)


def response_is_valid(device_key: bytes, request: bytes, response: bytes, dh: bytes = b"") -> bool:
    """Say whether the MAC of a RESPONSE is right; ``dh`` is as in docs/protocol.md."""
    nonce = response[-SIZE_MAC - SIZE_NONCE : -SIZE_MAC]
    prk2 = _hmac(device_key, b"DPE-1/1 prk2", sha256(request).digest(), nonce, dh)
    return _is_mac(_expand(prk2, b"m2"), b"", response)


def success_is_valid(prk3: bytes, success: bytes) -> bool:
    """Say whether the MAC of a SUCCESS is right."""
    return _is_mac(_expand(prk3, b"m3"), b"", success)


def confirm_is_valid(prk3: bytes, th3: bytes, confirm: bytes) -> bool:
    """Say whether the MAC of a CONFIRM, which covers TH3, is right."""
    return _is_mac(_expand(prk3, b"m4"), th3, confirm)


def th3(request: bytes, response: bytes, success: bytes) -> bytes:
    """Return TH3, the hash of all messages up to SUCCESS."""
    th2 = sha256(sha256(request).digest() + response).digest()
    return sha256(th2 + success).digest()
