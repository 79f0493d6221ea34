"""The key schedule of DPE-1: device keys, handles, security tokens and the exporter (docs/protocol.md, "Keys").

SHA-256, HMAC-SHA-256, HKDF-Expand (RFC 5869), AES-256 on one block, X25519 (RFC 7748). A registration has four steps,
each a type of its own. A step is made from the previous step and the bytes of the message between them, so no message
can be skipped:

    RequestStep --respond--> ResponseStep --next(response)--> SuccessStep --next(success)--> ConfirmStep

Each step can ``sign`` the message that it is named after, and ``verify`` a received one. Both sides go through the same
steps.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from dpe_coap.errors import MalformedMessage
from dpe_coap.imei import Imei
from dpe_coap.numbers import LABEL_X25519_KEY, SIZE_CLEAR_IMEI, SIZE_MAC, SIZE_SEALED_HANDLE

KEY_SIZE = 32
"""The size of every long-term key in bytes: master, handle and device key."""

HANDLE_RANDOM_SIZE = 4

MAX_ISSUED = (1 << 32) - 1
"""When the last handle can be issued, in Unix time: in the year 2106."""

_ISSUED_SIZE = 4

_NOBODY = bytes(SIZE_CLEAR_IMEI)

_LABEL = b"DPE-1/1 "
_LAST = b"\x01"
"""Ends the input of HKDF-Expand's first block (RFC 5869 section 2.3). More than its 32 bytes are never needed."""
_PRK2, _PRK3, _EXP = (_LABEL + label for label in (b"prk2", b"prk3", b"exp"))
_M2, _M3, _M4, _SEAL, _OSCORE = (_LABEL + label + _LAST for label in (b"m2", b"m3", b"m4", b"seal", b"oscore"))

# HMAC's pads (RFC 2104), for a key of 32 bytes in SHA-256's block of 64
_INNER = bytes(octet ^ 0x36 for octet in range(256))
_OUTER = bytes(octet ^ 0x5C for octet in range(256))
_INNER_REST = b"\x36" * (64 - KEY_SIZE)
_OUTER_REST = b"\x5c" * (64 - KEY_SIZE)


def _hmac(key: bytes, data: bytes) -> bytes:
    """Return the HMAC-SHA-256 under a key of 32 bytes. For one or two uses, a third faster than ``hmac.digest``."""
    inner = sha256(key.translate(_INNER) + _INNER_REST + data).digest()
    return sha256(key.translate(_OUTER) + _OUTER_REST + inner).digest()


class HmacKey:
    """HMAC-SHA-256 under a key that is used many times: the key is prepared once, and each use copies that state."""

    def __init__(self, key: bytes) -> None:
        self._prepared = HMAC(key, SHA256())

    def mac(self, data: bytes) -> bytes:
        """Return the HMAC of ``data``, 32 bytes."""
        state = self._prepared.copy()
        state.update(data)
        return state.finalize()


def xor(a: bytes, b: bytes) -> bytes:
    """Return the bytewise exclusive or of two byte strings of equal length."""
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")


class MasterKey:
    """K_master of one epoch, from which device keys derive. ``key`` has 32 bytes."""

    def __init__(self, epoch: int, key: bytes) -> None:
        self._start = _LABEL + b"dev" + bytes([epoch])
        self._secret = HmacKey(HmacKey(b"DPE-1 master").mac(key))

    def device_key(self, imei: Imei) -> bytes:
        """Return the K_dev of a device, 32 bytes."""
        return self._secret.mac(self._start + imei.packed + _LAST)


class HandleKey:
    """K_handle with one ID: seals IMEIs as handles, and opens handles. ``key`` has 32 bytes.

    AES-256 works on single blocks here, so one context for each direction is enough.
    """

    def __init__(self, hkid: int, key: bytes) -> None:
        self._hkid = bytes([hkid])
        cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305  # one block, randomised by 4 bytes
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update

    def seal(self, epoch: int, imei: Imei, issued: int, random: bytes) -> bytes:
        """Return a handle, 17 bytes: this key's ID, then under AES-256 epoch, IMEI, ``issued`` and 4 random bytes.

        ``issued`` is a number from 0 to ``MAX_ISSUED``. It rises from each handle of a device to the next.
        """
        return self._hkid + self._encrypt(bytes([epoch]) + imei.packed + issued.to_bytes(_ISSUED_SIZE, "big") + random)

    def open(self, handle: bytes) -> tuple[int, Imei, int, bool]:
        """Return the epoch, the IMEI and ``issued`` in ``handle``, and whether this key can have sealed them.

        If not, the IMEI is one that belongs to nobody. Both cases take the same time. A handle made before there was an
        ``issued`` has random bytes in its place.
        """
        block = self._decrypt(handle[1:])
        packed = block[1 : 1 + SIZE_CLEAR_IMEI]
        opens = packed.hex().isdecimal()
        issued = int.from_bytes(block[-HANDLE_RANDOM_SIZE - _ISSUED_SIZE : -HANDLE_RANDOM_SIZE], "big")
        return block[0], Imei(packed if opens else _NOBODY), issued, opens


def ephemeral(private: bytes) -> bytes:
    """Return the X25519 public key (32 bytes) of a private key of 32 random bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, peer: bytes) -> bytes:
    """Return the X25519 shared secret (32 bytes).

    Raises MalformedMessage if it is all zero (RFC 7748 section 6.1), which means that the peer's key has low order.
    """
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:
        raise MalformedMessage("X25519 key is of low order", offset=0, key=LABEL_X25519_KEY) from None


class _Step:
    """A message that is said next, and the key that it is under."""

    __slots__ = ()

    @property
    def mac_key(self) -> bytes:
        """The MAC key of this step's message, 32 bytes, made on each use: a step signs or verifies one message."""
        raise NotImplementedError  # pragma: no cover  # every step has its own

    def _mac(self, payload: bytes) -> bytes:
        return _hmac(self.mac_key, payload[:-SIZE_MAC])[:SIZE_MAC]

    def sign(self, payload: bytes) -> bytes:
        """Return ``payload`` with its last 16 bytes replaced by its MAC."""
        return payload[:-SIZE_MAC] + self._mac(payload)

    def verify(self, payload: bytes) -> bool:
        """Return whether the last 16 bytes of the received ``payload`` are its MAC, compared in constant time."""
        return compare_digest(self._mac(payload), payload[-SIZE_MAC:])


@dataclass(slots=True)
class ConfirmStep(_Step):
    """After SUCCESS: CONFIRM under K4, and the session's keys."""

    th3: bytes = field(repr=False)
    """SHA-256 over everything that both sides have sent, up to SUCCESS."""
    prk3: bytes = field(repr=False)

    @property
    def mac_key(self) -> bytes:
        """K4."""
        return _hmac(self.prk3, _M4)

    def _mac(self, payload: bytes) -> bytes:
        return _hmac(self.mac_key, self.th3 + payload[:-SIZE_MAC])[:SIZE_MAC]

    def export(self) -> tuple[bytes, bytes]:
        """Return the OSCORE master secret (16 bytes) and master salt (8 bytes) of the session (RFC 8613)."""
        keys = _hmac(_hmac(self.prk3, _EXP + self.th3), _OSCORE)
        return keys[:16], keys[16:24]


@dataclass(slots=True)
class SuccessStep(_Step):
    """After RESPONSE: SUCCESS under K3."""

    th2: bytes = field(repr=False)
    prk3: bytes = field(repr=False)

    @classmethod
    def after(cls, th1: bytes, response: bytes, prk3: bytes) -> "SuccessStep":
        """Return the step after a RESPONSE that was sent earlier, from PRK3 (32 bytes), which had to be kept."""
        return cls(sha256(th1 + response).digest(), prk3)

    @property
    def mac_key(self) -> bytes:
        """K3."""
        return _hmac(self.prk3, _M3)

    def next(self, success: bytes) -> ConfirmStep:
        """Return the step after SUCCESS, given the bytes that were sent."""
        return ConfirmStep(sha256(self.th2 + success).digest(), self.prk3)


@dataclass(slots=True)
class ResponseStep(_Step):
    """After REQUEST and the server's nonce: RESPONSE under K2."""

    th1: bytes = field(repr=False)
    prk2: bytes = field(repr=False)

    @property
    def mac_key(self) -> bytes:
        """K2."""
        return _hmac(self.prk2, _M2)

    def mask(self, handle: bytes) -> bytes:
        """Turn the next handle (17 bytes) into ``sealed-handle``, or back."""
        return xor(handle, _hmac(self.prk2, _SEAL)[:SIZE_SEALED_HANDLE])

    def next(self, response: bytes) -> SuccessStep:
        """Return the step after RESPONSE, given the bytes that were sent."""
        th2 = sha256(self.th1 + response).digest()
        return SuccessStep(th2, _hmac(self.prk2, _PRK3 + th2))


@dataclass(slots=True)
class RequestStep(_Step):
    """The start: REQUEST under K1, the device's key for one realm."""

    device_key: bytes = field(repr=False)
    realm_label: bytes = field(repr=False)

    @classmethod
    def of(cls, device_key: bytes, realm: str) -> "RequestStep":
        """Return the first step, for K_dev (32 bytes) in ``realm``. In another realm, its MACs are worthless."""
        return cls(device_key, _realm_label(realm))

    @property
    def mac_key(self) -> bytes:
        """K1."""
        return _hmac(self.device_key, self.realm_label)

    def respond(self, request: bytes, nonce: bytes, dh: bytes = b"") -> ResponseStep:
        """Return the step after REQUEST, given the bytes that were sent and the server's nonce (16 bytes).

        In the X25519 suite, ``dh`` is the server's ephemeral public key and the shared secret, 64 bytes.
        """
        th1 = sha256(request).digest()
        return ResponseStep(th1, _hmac(self.device_key, _PRK2 + th1 + nonce + dh))


@lru_cache(16)
def _realm_label(realm: str) -> bytes:
    return _LABEL + b"m1" + sha256(realm.encode()).digest() + _LAST
