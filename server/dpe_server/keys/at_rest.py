"""What the database keeps of a device: a keyed hash of its IMEI, and its IMEI and session keys sealed.

Whoever has the database without the at-rest key learns no IMEI and no session key from it.
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from dpe_coap.client_ids import client_id_bytes
from dpe_coap.errors import DpeError
from dpe_coap.imei import Imei
from dpe_coap.keys import HmacKey

SIZE_DEVICE = 16
"""Bytes of the keyed hash that names a device."""

_SIZE_NONCE = 12


def device_text(device: bytes) -> str:
    """Return the name of a device in the audit log and in file names: half of its keyed hash, in hex."""
    return device.hex()[:16]


class AtRestError(DpeError):
    """A sealed value was made under another at-rest key or for another record, or was changed since."""


class AtRest:
    """Hashes and seals under keys derived from the one at-rest key (32 bytes).

    Every record is sealed under AES-256-GCM with a key of its own, so that random nonces stay unique however many
    records there are: one key for all would be used up after 2^32 (NIST SP 800-38D section 8.3). The key is bound to
    the record's name, so a value moved to another record does not open. ``random`` gives cryptographically strong bytes
    for the nonces.
    """

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._device_key, self._imei_key, self._session_key = (
            HmacKey(HKDFExpand(SHA256(), 32, b"DPE at rest: " + use).derive(key))
            for use in (b"device", b"IMEI", b"session")
        )

    def device_id(self, imei: Imei) -> bytes:
        """Return the 16 bytes that name the device in the store, in file names and on the revocation list."""
        return self._device_key.mac(imei.packed)[:SIZE_DEVICE]

    def seal_imei(self, imei: Imei, device: bytes) -> bytes:
        """Return the IMEI sealed for the record of ``device`` (16 bytes)."""
        return self._seal(self._imei_key, device, imei.packed)

    def open_imei(self, sealed: bytes, device: bytes) -> Imei:
        """The inverse of ``seal_imei``; AtRestError."""
        return Imei(_open(self._imei_key, device, sealed))

    def seal_keys(self, keys: bytes, client_id: int) -> bytes:
        """Return a session's keys sealed for the record of ``client_id`` (56 bits)."""
        return self._seal(self._session_key, client_id_bytes(client_id), keys)

    def open_keys(self, sealed: bytes, client_id: int) -> bytes:
        """The inverse of ``seal_keys``; AtRestError."""
        return _open(self._session_key, client_id_bytes(client_id), sealed)

    def _seal(self, key: HmacKey, record: bytes, plain: bytes) -> bytes:
        nonce = self._random(_SIZE_NONCE)
        return nonce + AESGCM(key.mac(record)).encrypt(nonce, plain, None)


def _open(key: HmacKey, record: bytes, sealed: bytes) -> bytes:
    try:
        return AESGCM(key.mac(record)).decrypt(sealed[:_SIZE_NONCE], sealed[_SIZE_NONCE:], None)
    except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
        raise AtRestError(
            "a sealed value of the store does not open",
            hint="was keys.json replaced? The store opens only with the at_rest key it was made with",
        ) from None
