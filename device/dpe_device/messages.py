"""The four messages as the DPE Client makes and opens them. Pure functions of bytes: no state, no clock."""

from .cbor import decode, encode
from .keys import expand, extract, sha256, sign, verify, xor

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import X25519, Fields, Version

_LABEL_TYPE = const(0)
_LABEL_IDENTITY = const(1)
_LABEL_VERSION = const(2)
_LABEL_CLIENT_ID = const(3)
_LABEL_STATUS = const(4)
_LABEL_SEALED_HANDLE = const(5)
_LABEL_X25519_KEY = const(6)
_LABEL_FIRMWARE = const(7)
_LABEL_SECURITY_TOKEN = const(23)

_TYPE_REQUEST = const(1)
_TYPE_RESPONSE = const(2)
_TYPE_SUCCESS = const(3)
_TYPE_CONFIRM = const(4)

_SIZE_MAC = const(16)
_SIZE_LONG_TOKEN = const(32)


def make_request(
    device_key: bytes,
    realm: str,
    identity: bytes,
    version: "Version",
    nonce: bytes,
    x25519_key: "bytes | None" = None,
    firmware: "str | None" = None,
) -> bytes:
    """Return REQUEST; `identity` is the handle, `nonce` 16 bytes. ValueError if a field is out of range."""
    fields = {
        _LABEL_TYPE: _TYPE_REQUEST,
        _LABEL_IDENTITY: identity,
        _LABEL_VERSION: version,
        _LABEL_X25519_KEY: x25519_key,
        _LABEL_FIRMWARE: firmware,
        _LABEL_SECURITY_TOKEN: nonce + bytes(_SIZE_MAC),
    }
    return sign(expand(device_key, b"m1" + sha256(realm.encode())), encode(fields))


def open_response(
    device_key: bytes, request: bytes, response: bytes, x25519: "X25519 | None" = None, private: bytes = b""
) -> "tuple[Fields, bytes, bytes]":
    """Return the fields of the RESPONSE to a REQUEST, PRK3 and TH2; ValueError if it is malformed or its MAC is bad.

    `private` is the X25519 key of the REQUEST, if it had one. Of the fields, the sealed handle is opened: the next one.
    """
    fields = decode(response)
    dh = fields.get(_LABEL_X25519_KEY, b"")
    if fields[_LABEL_TYPE] == _TYPE_RESPONSE and bool(dh) == bool(private):
        if dh and x25519:
            dh += x25519.shared(private, dh)
        th = sha256(request)
        prk = extract(device_key, b"prk2" + th + response[-_SIZE_LONG_TOKEN:-_SIZE_MAC] + dh)
        if verify(expand(prk, b"m2"), response):
            th = sha256(th + response)
            fields[_LABEL_SEALED_HANDLE] = xor(fields.get(_LABEL_SEALED_HANDLE, b""), expand(prk, b"seal"))
            return fields, extract(prk, b"prk3" + th), th
    raise ValueError("not the RESPONSE to this REQUEST")


def make_success(prk3: bytes, client_id: bytes, status: int) -> bytes:
    """Return SUCCESS, the same bytes each time."""
    fields = {
        _LABEL_TYPE: _TYPE_SUCCESS,
        _LABEL_CLIENT_ID: client_id,
        _LABEL_STATUS: status,
        _LABEL_SECURITY_TOKEN: bytes(_SIZE_MAC),
    }
    return sign(expand(prk3, b"m3"), encode(fields))


def open_confirm(prk3: bytes, th3: bytes, confirm: bytes) -> "Fields":
    """Return the fields of the CONFIRM to a SUCCESS, TH3 being SHA-256(TH2 || SUCCESS); ValueError as above."""
    fields = decode(confirm)
    if fields[_LABEL_TYPE] == _TYPE_CONFIRM and verify(expand(prk3, b"m4"), confirm, th3):
        return fields
    raise ValueError("not the CONFIRM to this SUCCESS")


def export(prk3: bytes, th3: bytes) -> "tuple[bytes, bytes]":
    """Return the session's OSCORE master secret (16 bytes) and master salt (8 bytes)."""
    secret = expand(extract(prk3, b"exp" + th3), b"oscore")
    return secret[:16], secret[16:24]
