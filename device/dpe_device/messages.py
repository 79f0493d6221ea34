"""The four messages of DPE-1, as the DPE Client needs them: strict CBOR, the key schedule, the security tokens.

Pure functions of bytes. The encoding is deterministic (RFC 8949 section 4.2.1) and anything else is refused; labels
that a message does not define are ignored, but what they hold must still be one well-formed, deterministic item.
"""

import hashlib

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Any, Fields, Version

_MAX_MESSAGE = const(256)
_MAX_NESTING = const(4)  # of arrays, maps and tags in the value of a label
_MAX_VERSION_PART = const(255)

# The major types of CBOR.
_NEGATIVE = const(1)
_TEXT = const(3)
_ARRAY = const(4)
_MAP = const(5)
_TAG = const(6)
_SIMPLE = const(7)

_LABEL_TYPE = const(0)
_LABEL_IDENTITY = const(1)
_LABEL_VERSION = const(2)
_LABEL_CLIENT_ID = const(3)
_LABEL_STATUS = const(4)
_LABEL_SEALED_HANDLE = const(5)
_LABEL_X25519_KEY = const(6)
_LABEL_SERVER_URI = const(8)
_LABEL_RETRY_AFTER = const(10)
_LABEL_SECURITY_TOKEN = const(23)

_TYPE_REQUEST = const(1)
_TYPE_RESPONSE = const(2)
_TYPE_CONFIRM = const(4)

_STATUS_OK = const(0)
_STATUS_REDIRECT = const(6)

_SIZE_CLEAR_IMEI = const(7)
_SIZE_SEALED_IMEI = const(17)
_SIZE_SEALED_HANDLE = const(17)
_SIZE_LONG_TOKEN = const(32)
_SIZE_MAC = const(16)
_SIZE_BLOCK = const(64)  # of SHA-256

# For each label: which messages must have it (the high half byte) and may have it (the low one; bits 0 REQUEST,
# 1 RESPONSE, 2 SUCCESS, 3 CONFIRM), its major type, and the least and the most bytes of its value with the head.
_RULES = (
    b"\xff\x00\x01\x01"  # type
    b"\x11\x02\x08\x12"  # identity: 7 or 17 bytes
    b"\x33\x04\x03\x05"  # version
    b"\x46\x02\x08\x08"  # Client ID
    b"\xee\x00\x01\x02"  # status: up to 255
    b"\x02\x02\x12\x12"  # sealed handle
    b"\x03\x02\x22\x22"  # X25519 key
    b"\x01\x03\x02\x22"  # firmware
    b"\x02\x03\x02\x82"  # server URI
    b"\x08\x00\x01\x05"  # lifetime: up to 2^32 - 1
    b"\x02\x00\x01\x05"  # retry after
    b"\xff\x02\x22\x22"  # security token of REQUEST and RESPONSE
    b"\xff\x02\x11\x11"  # security token of SUCCESS and CONFIRM
)
_RULE_LONG_TOKEN = const(44)
_RULE_MAC = const(48)


def _need(value: object) -> None:
    if not value:
        raise ValueError("bad message")


def item(data: bytes, at: int, nesting: int) -> "tuple[Any, int]":
    """Return the CBOR item at `at` and where it ends; ValueError if it is not deterministic, or nested deeper.

    A number, bytes or text is itself, an array a tuple, a map a list of tuples: key, where its value begins, the value,
    where that ends. Any other item is None.
    """
    _need(at < len(data))
    major = data[at] >> 5
    value: "Any" = data[at] & 31
    at += 1
    if value > 23:
        _need(value < 28)
        size = 1 << value - 24
        value = int.from_bytes(data[at : at + size], "big")
        at += size
        if major == _SIMPLE and size > 1:
            _need(size == 2 or not _shortens(value, size))
        else:
            _need(value >= (1 << 4 * size if size > 1 else 32 if major == _SIMPLE else 24))
    start = at
    if major >> 1 == 1:  # bytes or text
        at += value
    _need(at <= len(data))
    if major >> 1 == 1:
        value = data[start:at]
    if major == _TEXT:
        value = _text(value)
    if major < _ARRAY and major != _NEGATIVE:
        return value, at
    if major > _TEXT and major < _SIMPLE:
        _need(nesting)
        parts: "list[Any]" = []
        key = last = b""
        for _ in range(1 if major == _TAG else value):
            if major == _MAP:
                start = at
                key, at = item(data, at, nesting - 1)
                _need(data[start:at] > last)
                last = data[start:at]
            start = at
            value, at = item(data, at, nesting - 1)
            parts.append(value if major == _ARRAY else (key, start, value, at))
        if major < _TAG:
            return (parts if major == _MAP else tuple(parts)), at
    return None, at


def _shortens(bits: int, size: int) -> bool:
    # Whether a float of 4 or 8 bytes keeps its value, or a NaN its payload, in half of them.
    double = size == 8
    fraction = 23 + 29 * double
    lost = 13 + 16 * double  # bits of the fraction
    bias = 127 + 896 * double
    bits &= (1 << 8 * size - 1) - 1
    power = (bits >> fraction) - bias
    if bits and power <= bias:  # finite and not zero: the leading one counts
        bits |= 1 << fraction
        lost += max(0, 1 - (bias >> 3) - power) if power <= bias >> 3 else 64
    return not bits & (1 << lost) - 1


def _text(data: bytes) -> str:
    # RFC 3629. MicroPython's decoder does not mind overlong forms, surrogates and points above 10FFFF.
    last = 0
    for octet in data:
        _need(octet < 0xF5 and octet >> 1 != 0x60)
        _need((last != 0xE0 or octet > 0x9F) and (last != 0xED or octet < 0xA0))
        _need((last != 0xF0 or octet > 0x8F) and (last != 0xF4 or octet < 0x90))
        last = octet
    return str(data, "utf-8")


def decode(data: bytes, kind: int) -> "Fields":
    """Return the fields of a message of this type by label; ValueError if it is none.

    A version is a pair of numbers, firmware and server URI are text.
    """
    parts, end = item(data, 0, _MAX_NESTING + 1)
    _need(end == len(data) <= _MAX_MESSAGE and isinstance(parts, list))
    missing = 4 - (kind == _TYPE_CONFIRM)  # fields that a message of this type must have
    fields: "Fields" = {}
    for label, at, value, end in parts:
        _need(isinstance(label, int) and label <= _LABEL_SECURITY_TOKEN)
        rule = 4 * label
        if label == _LABEL_SECURITY_TOKEN:
            rule = _RULE_LONG_TOKEN if kind <= _TYPE_RESPONSE else _RULE_MAC
        elif label > _LABEL_RETRY_AFTER:
            continue
        types, major, least, most = _RULES[rule : rule + 4]
        types >>= kind - 1
        if types & 1:
            missing -= types >> 4 & 1
            _need(data[at] >> 5 == major and least <= end - at <= most)
            fields[label] = value
            if label == _LABEL_VERSION:
                for part in value:
                    _need(isinstance(part, int) and part <= _MAX_VERSION_PART and len(value) == 2)
    _need(not missing and fields[_LABEL_TYPE] == kind)
    if kind == _TYPE_REQUEST:
        _need(len(fields[_LABEL_IDENTITY]) in (_SIZE_CLEAR_IMEI, _SIZE_SEALED_IMEI))
    if kind == _TYPE_RESPONSE:
        status = fields[_LABEL_STATUS]
        _need(
            (_LABEL_CLIENT_ID in fields, _LABEL_SEALED_HANDLE in fields, _LABEL_SERVER_URI in fields)
            == (status == _STATUS_OK, status == _STATUS_OK, status == _STATUS_REDIRECT)
        )
    return fields


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 digest, 32 bytes."""
    return hashlib.sha256(data).digest()


def xor(data: bytes, key: bytes) -> bytes:
    """Return the exclusive or of two byte strings; of the second, the beginning."""
    size = len(data)  # as numbers: in a loop each octet costs MicroPython 1,000 instructions
    return (int.from_bytes(data, "big") ^ int.from_bytes(key[:size], "big")).to_bytes(size, "big")


def hmac(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-256 (RFC 2104), 32 bytes; the key has at most 64."""
    for octet in (b"6", b"\\"):  # the inner and the outer pad
        pad = octet * _SIZE_BLOCK
        hashed = hashlib.sha256(xor(key, pad) + pad[len(key) :])
        hashed.update(data)
        data = hashed.digest()
    return data


def derive(key: bytes, data: bytes) -> bytes:
    """Return HMAC(key, "DPE-1/1 " || data); with a \\1 at the end that is HKDF-Expand (RFC 5869) to 32 bytes."""
    return hmac(key, b"DPE-1/1 " + data)


def sign(key: bytes, data: bytes, prefix: bytes = b"") -> bytes:
    """Return `data` with its MAC (16 bytes), which covers `prefix`, too."""
    return data + hmac(key, prefix + data)[:_SIZE_MAC]


def verify(key: bytes, data: bytes, prefix: bytes = b"") -> bool:
    """Tell, in constant time, whether `sign` made this."""
    return len(data) >= _SIZE_MAC and not sum(xor(data[-_SIZE_MAC:], hmac(key, prefix + data[:-_SIZE_MAC])))


def _head(kind: int, value: int) -> bytes:
    return bytes((kind | value,) if value < 24 else (kind | 24, value))


def make_request(
    key: bytes,
    realm: str,
    identity: bytes,
    version: "Version",
    nonce: bytes,
    x25519_key: "bytes | None" = None,
    firmware: "str | None" = None,
) -> bytes:
    """Return REQUEST; `key` is the device key, `identity` the handle, `nonce` 16 bytes. ValueError if one is bad."""
    count = 0xA4
    more = _head(0, version[0]) + _head(0, version[1])
    if x25519_key:
        count += 1
        more += b"\6\x58\x20" + x25519_key
    if firmware:
        count += 1
        text = firmware.encode()
        more += b"\7" + _head(0x60, len(text)) + text
    request = bytes((count, 0, 1, 1, 0x40 | len(identity))) + identity + b"\2\x82" + more + b"\x17\x58\x20" + nonce
    request = sign(derive(key, b"m1" + sha256(realm.encode()) + b"\1"), request)
    decode(request, _TYPE_REQUEST)
    return request


def open_response(
    key: bytes, request: bytes, response: bytes, x25519: "Any" = None, private: bytes = b""
) -> "tuple[Fields, bytes, bytes]":
    """Return the fields of the RESPONSE to a REQUEST, PRK3 and TH2; ValueError if it is malformed or its MAC is bad.

    `key` is the device key, `private` the X25519 key of the REQUEST, if it had one, `x25519` the implementation. The
    sealed handle comes out opened: the next handle.
    """
    fields = decode(response, _TYPE_RESPONSE)
    dh = fields.get(_LABEL_X25519_KEY, b"")
    _need((not dh) == (not private))
    if dh:
        dh += x25519.shared(private, dh)
    th = sha256(request)
    prk = derive(key, b"prk2" + th + response[-_SIZE_LONG_TOKEN:-_SIZE_MAC] + dh)
    _need(verify(derive(prk, b"m2\1"), response))
    th = sha256(th + response)
    fields[_LABEL_SEALED_HANDLE] = xor(fields.get(_LABEL_SEALED_HANDLE, b""), derive(prk, b"seal\1"))
    return fields, derive(prk, b"prk3" + th), th


def make_success(prk3: bytes, client_id: bytes, status: int) -> bytes:
    """Return SUCCESS, the same bytes each time."""
    success = b"\xa4\0\3\3\x47" + client_id + b"\4" + _head(0, status) + b"\x17\x50"
    return sign(derive(prk3, b"m3\1"), success)


def open_confirm(prk3: bytes, th3: bytes, confirm: bytes) -> "Fields":
    """Return the fields of the CONFIRM to a SUCCESS, TH3 being SHA-256(TH2 || SUCCESS); ValueError as above."""
    _need(verify(derive(prk3, b"m4\1"), confirm, th3))
    return decode(confirm, _TYPE_CONFIRM)


def export(prk3: bytes, th3: bytes) -> "tuple[bytes, bytes]":
    """Return the session's OSCORE master secret (16 bytes) and master salt (8 bytes)."""
    secret = derive(derive(prk3, b"exp" + th3), b"oscore\1")
    return secret[:16], secret[16:24]
