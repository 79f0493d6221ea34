"""The key schedule of DPE-1: device keys, handles, security tokens and the exporter (docs/protocol.md, "Keys").

SHA-256, HMAC-SHA-256, HKDF-Expand (RFC 5869), AES-256 on one block, X25519 (RFC 7748). A registration is four steps, a
type each. A step is made from the one before and the bytes of the message between them, so no message can be skipped:

    RequestStep --respond--> ResponseStep --next(response)--> SuccessStep --next(success)--> ConfirmStep

Each step can ``sign`` the message it is named for and ``verify`` one that was received. Both sides walk the same steps.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest, digest

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from dpe_coap.errors import BadHandle, MalformedMessage
from dpe_coap.numbers import LABEL_X25519_KEY, SIZE_CLEAR_IMEI, SIZE_MAC, SIZE_SEALED_HANDLE

KEY_SIZE = 32
"""Bytes of every long-term key: master, handle and device key."""

HANDLE_RANDOM_SIZE = 8

_LABEL = b"DPE-1/1 "


def _hmac(key: bytes, data: bytes) -> bytes:
    return digest(key, data, "sha256")


def _expand(key: bytes, info: bytes, size: int = KEY_SIZE) -> bytes:
    """HKDF-Expand (RFC 5869 section 2.3) for at most 32 bytes: its first block."""
    return _hmac(key, _LABEL + info + b"\x01")[:size]


def xor(a: bytes, b: bytes) -> bytes:
    """Return the bytewise exclusive or of two strings of one length."""
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")


def master_secret(master_key: bytes) -> bytes:
    """Return the secret (32 bytes) from which ``device_key`` derives; computed once for each master key (32 bytes)."""
    return _hmac(b"DPE-1 master", master_key)


def device_key(secret: bytes, epoch: int, imei: bytes) -> bytes:
    """Return K_dev (32 bytes) of the device with this packed IMEI (7 bytes) in key generation ``epoch`` (0 to 255)."""
    return _expand(secret, b"dev" + bytes([epoch]) + imei)


def seal_handle(key: bytes, hkid: int, epoch: int, imei: bytes, random: bytes) -> bytes:
    """Return a handle (17 bytes): the handle key's id, then epoch, packed IMEI and 8 random bytes under AES-256."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  # one block, randomised by 8 bytes
    return bytes([hkid]) + encryptor.update(bytes([epoch]) + imei + random)


def open_handle(key: bytes, handle: bytes) -> tuple[int, bytes]:
    """Return the epoch and the packed IMEI in ``handle``; BadHandle when they cannot be from ``seal_handle``."""
    block = Cipher(algorithms.AES(key), modes.ECB()).decryptor().update(handle[1:])  # noqa: S305
    imei = block[1 : 1 + SIZE_CLEAR_IMEI]
    if not imei.hex().isdecimal():
        raise BadHandle("the handle was not made with this handle key")
    return block[0], imei


def ephemeral(private: bytes) -> bytes:
    """Return the X25519 public key of 32 random bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, peer: bytes) -> bytes:
    """Return the X25519 shared secret (32 bytes).

    Raises MalformedMessage when it is all zero (RFC 7748 section 6.1): the peer's key is of low order.
    """
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:
        raise MalformedMessage("X25519 key is of low order", offset=0, key=LABEL_X25519_KEY) from None


@dataclass(frozen=True, slots=True)
class _Step:
    """A MAC key and what precedes the payload under it."""

    mac_key: bytes = field(repr=False)
    mac_prefix: bytes = field(default=b"", repr=False, kw_only=True)

    def _mac(self, payload: bytes) -> bytes:
        return _hmac(self.mac_key, self.mac_prefix + payload[:-SIZE_MAC])[:SIZE_MAC]

    def sign(self, payload: bytes) -> bytes:
        """Return ``payload`` with its last 16 bytes replaced by its MAC."""
        return payload[:-SIZE_MAC] + self._mac(payload)

    def verify(self, payload: bytes) -> bool:
        """Say in constant time whether the last 16 bytes of the received ``payload`` are its MAC."""
        return compare_digest(self._mac(payload), payload[-SIZE_MAC:])


@dataclass(frozen=True, slots=True)
class ConfirmStep(_Step):
    """After SUCCESS: CONFIRM under K4, and the session's keys."""

    th3: bytes = field(repr=False)
    """SHA-256 over everything both sides have said up to SUCCESS."""
    prk3: bytes = field(repr=False)

    def export(self) -> tuple[bytes, bytes]:
        """Return the OSCORE master secret (16 bytes) and master salt (8 bytes) of the session (RFC 8613)."""
        keys = _expand(_hmac(self.prk3, _LABEL + b"exp" + self.th3), b"oscore", 24)
        return keys[:16], keys[16:]


@dataclass(frozen=True, slots=True)
class SuccessStep(_Step):
    """After RESPONSE: SUCCESS under K3."""

    th2: bytes = field(repr=False)
    prk3: bytes = field(repr=False)

    def next(self, success: bytes) -> ConfirmStep:
        """Go on with the bytes of SUCCESS as they were sent."""
        th3 = sha256(self.th2 + success).digest()
        return ConfirmStep(_expand(self.prk3, b"m4"), mac_prefix=th3, th3=th3, prk3=self.prk3)


@dataclass(frozen=True, slots=True)
class ResponseStep(_Step):
    """After REQUEST and the server's nonce: RESPONSE under K2."""

    th1: bytes = field(repr=False)
    prk2: bytes = field(repr=False)

    def mask(self, handle: bytes) -> bytes:
        """Return the next handle (17 bytes) as ``sealed-handle``, or the other way round."""
        return xor(handle, _expand(self.prk2, b"seal", SIZE_SEALED_HANDLE))

    def next(self, response: bytes) -> SuccessStep:
        """Go on with the bytes of RESPONSE as they were sent."""
        th2 = sha256(self.th1 + response).digest()
        prk3 = _hmac(self.prk2, _LABEL + b"prk3" + th2)
        return SuccessStep(_expand(prk3, b"m3"), th2=th2, prk3=prk3)


@dataclass(frozen=True, slots=True)
class RequestStep(_Step):
    """The start: REQUEST under K1, the device's key for one realm."""

    device_key: bytes = field(repr=False)

    @classmethod
    def of(cls, device_key: bytes, realm: str) -> "RequestStep":
        """Start with K_dev (32 bytes) in ``realm``: a security token made for one realm is worthless in another."""
        return cls(_expand(device_key, b"m1" + sha256(realm.encode()).digest()), device_key=device_key)

    def respond(self, request: bytes, nonce: bytes, dh: bytes = b"") -> ResponseStep:
        """Go on with the bytes of REQUEST, the server's nonce (16 bytes) and, in the X25519 suite, ``dh``.

        ``dh`` is the server's ephemeral public key and the shared secret, 64 bytes.
        """
        th1 = sha256(request).digest()
        prk2 = _hmac(self.device_key, _LABEL + b"prk2" + th1 + nonce + dh)
        return ResponseStep(_expand(prk2, b"m2"), th1=th1, prk2=prk2)
