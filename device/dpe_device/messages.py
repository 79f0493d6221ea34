"""The four messages of DPE-1, as the DPE Client needs them: strict CBOR, the key schedule, the security tokens.

Pure functions of bytes. The encoding is deterministic (RFC 8949 section 4.2.1) and anything else is refused; labels
that a message does not define are ignored, but what they hold must still be one well-formed, deterministic item.
"""

from hashlib import sha256 as sha256

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Any, Fields, Version

_MAX_MESSAGE = const(256)
_MAX_NESTING = const(4)  # of arrays, maps and tags in the value of a label
_MAX_VERSION_PART = const(255)

# The major types of CBOR.
_TEXT = const(3)
_ARRAY = const(4)
_MAP = const(5)
_TAG = const(6)
_SIMPLE = const(7)

_LABEL_TYPE = const(0)
_LABEL_VERSION = const(2)
_LABEL_CLIENT_ID = const(3)
_LABEL_STATUS = const(4)
_LABEL_SEALED_HANDLE = const(5)
_LABEL_X25519_KEY = const(6)
_LABEL_SERVER_URI = const(8)
_LABEL_LIFETIME = const(9)
_LABEL_RETRY_AFTER = const(10)
_LABEL_SECURITY_TOKEN = const(23)

_TYPE_RESPONSE = const(2)
_TYPE_CONFIRM = const(4)

_STATUS_REDIRECT = const(6)

_MAX_FIRMWARE = const(32)
_SIZE_SEALED_HANDLE = const(17)
_SIZE_LONG_TOKEN = const(32)
_SIZE_MAC = const(16)

# Labels as bits: what every message for a client must have, what a RESPONSE must, by its status, and what each may.
_MUST = const(1 << _LABEL_TYPE | 1 << _LABEL_STATUS | 1 << _LABEL_SECURITY_TOKEN)
_MUST_RESPONSE = const(_MUST | 1 << _LABEL_VERSION)
_MUST_OK = const(_MUST_RESPONSE | 1 << _LABEL_CLIENT_ID | 1 << _LABEL_SEALED_HANDLE)
_MUST_REDIRECT = const(_MUST_RESPONSE | 1 << _LABEL_SERVER_URI)
_OPTIONAL = const(1 << _LABEL_X25519_KEY | 1 << _LABEL_LIFETIME | 1 << _LABEL_RETRY_AFTER)
_MAY_RESPONSE = const(_MUST_OK | _MUST_REDIRECT | 1 << _LABEL_X25519_KEY | 1 << _LABEL_RETRY_AFTER)
_MAY_CONFIRM = const(_MUST | 1 << _LABEL_LIFETIME)


def item(data: bytes, at: int, nesting: int) -> "tuple[Any, int]":
    """Return the CBOR item at `at` and where it ends; ValueError if it is not deterministic, or nested deeper.

    A number, bytes or text is itself, an array a tuple; any other item is None. Of a number that is cut short the
    end is past that of the data: whoever calls compares.
    """
    if at >= len(data):
        raise ValueError
    major = data[at] >> 5
    value: "Any" = data[at] & 31
    at += 1
    if value > 23:
        if value > 27:
            raise ValueError
        size = 1 << value - 24
        value = int.from_bytes(data[at : at + size], "big")
        at += size
        if major == _SIMPLE and size > 1:
            if size > 2 and shortens(value, size):
                raise ValueError
        elif value < (1 << 4 * size if size > 1 else 32 if major == _SIMPLE else 24):
            raise ValueError
    if not major:
        return value, at
    if major >> 1 == 1:  # bytes or text
        start = at
        at += value
        if at > len(data):
            raise ValueError
        value = data[start:at]
        return _text(value) if major == _TEXT else value, at
    if major < _ARRAY or major == _SIMPLE:
        return None, at
    if not nesting:
        raise ValueError
    parts: "tuple[Any, ...]" = ()
    last = b""
    for _ in range(1 if major == _TAG else value):
        if major == _MAP:
            start = at
            _, at = item(data, at, nesting - 1)
            key = data[start:at]
            if key <= last:
                raise ValueError
            last = key
        value, at = item(data, at, nesting - 1)
        parts += (value,)
    return parts if major == _ARRAY else None, at


def shortens(bits: int, size: int) -> bool:
    """Return whether a float of `size` bytes, 4 or 8, keeps its value, or a NaN its payload, in half of them."""
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
        bound = 0xA0 if last < 0xF0 else 0x90
        if (
            octet > 0xF4
            or octet >> 1 == 0x60
            or (last in b"\xe0\xf0" and octet < bound)  # overlong
            or (last in b"\xed\xf4" and octet >= bound)  # a surrogate, or above 10FFFF
        ):
            raise ValueError
        last = octet
    return data.decode()


def decode(data: bytes, kind: int) -> "Fields":
    """Return the fields of a RESPONSE or CONFIRM, as `kind` says, by label; ValueError if it is none.

    A version is a pair of numbers, a server URI is text.
    """
    # The head of a map is one byte; or two, if it has all 24 labels.
    end = 2 if data[:2] == b"\xb8\x18" else 1
    if not 0 < len(data) <= _MAX_MESSAGE or not 0xA0 <= data[0] < 0xB7 + end:
        raise ValueError
    # What a value must be: the major type, and the least and the most bytes with the head. After the two rules of the
    # security token they go by label; one beyond the last has none, and is refused until it gets its own.
    rules = (
        b"\2\x11\x11"  # security token of CONFIRM
        b"\2\x22\x22"  # security token of RESPONSE
        b"\0\x01\x01"  # type
        b"\0\0\0"
        b"\4\x03\x05"  # version
        b"\2\x08\x08"  # Client ID
        b"\0\x01\x02"  # status: up to 255
        b"\2\x12\x12"  # sealed handle
        b"\2\x22\x22"  # X25519 key
        b"\0\0\0"
        b"\3\x02\x82"  # server URI
        b"\0\x01\x05"  # lifetime: up to 2^32 - 1
        b"\0\x01\x05"  # retry after
    )
    may = _MAY_RESPONSE if kind == _TYPE_RESPONSE else _MAY_CONFIRM
    fields: "Fields" = {}
    has = 0
    for _ in range(data[0] & 31):
        at = end + 1
        value, end = item(data, at, _MAX_NESTING)
        label = data[at - 1]
        if label > _LABEL_SECURITY_TOKEN or has >> label:
            raise ValueError
        has |= 1 << label
        if may >> label & 1:
            fields[label] = value
            if label == _LABEL_SECURITY_TOKEN:
                label = kind // -2  # the rules before that of label 0
            major, least, most = rules[3 * label + 6 : 3 * label + 9]
            if data[at] >> 5 != major or not least <= end - at <= most:
                raise ValueError
    must = _MUST
    if kind == _TYPE_RESPONSE:
        status = fields.get(_LABEL_STATUS)
        must = _MUST_REDIRECT if status == _STATUS_REDIRECT else _MUST_RESPONSE if status else _MUST_OK
    if end != len(data) or has & may & ~_OPTIONAL != must or fields[_LABEL_TYPE] != kind:
        raise ValueError
    if kind == _TYPE_RESPONSE:
        major, minor = fields[_LABEL_VERSION]
        if not (isinstance(major, int) and isinstance(minor, int) and major | minor <= _MAX_VERSION_PART):
            raise ValueError
    return fields


_PADS = b"6" * 32, b"\\" * 32  # the inner and the outer, for half a block: the key, or the zeros after it


def hmac(key: bytes, prefix: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-256 (RFC 2104) of `prefix` and `data`, 32 bytes; the key has 32, too."""
    number = int.from_bytes(key, "big")  # in a loop each octet costs MicroPython 1,000 instructions
    for pad in _PADS:
        hashed = sha256((number ^ int.from_bytes(pad, "big")).to_bytes(32, "big"))
        hashed.update(pad)
        hashed.update(prefix)  # takes less memory and time than to join them
        hashed.update(data)
        prefix = b""
        data = hashed.digest()
    return data


def derive(key: bytes, data: bytes) -> bytes:
    """Return HMAC(key, "DPE-1/1 " || data); with a \\1 at the end that is HKDF-Expand (RFC 5869) to 32 bytes."""
    return hmac(key, b"DPE-1/1 ", data)


def sign(key: bytes, label: bytes, data: bytes) -> bytes:
    """Return `data` with its MAC (16 bytes), by the key that is derived with `label`."""
    return data + hmac(derive(key, label), b"", data)[:_SIZE_MAC]


def verify(key: bytes, label: bytes, data: bytes, prefix: bytes = b"") -> None:
    """Raise ValueError unless the MAC of `data` is right; it covers `prefix`, too."""
    mac = hmac(derive(key, label), prefix, data[:-_SIZE_MAC])[:_SIZE_MAC]
    # As numbers: the comparison does not end at the first octet that is wrong.
    if int.from_bytes(data[-_SIZE_MAC:], "big") ^ int.from_bytes(mac, "big"):
        raise ValueError


def _head(kind: int, value: int) -> bytes:
    return bytes((kind | value,) if value < 24 else (kind | 24, value))


def make_request(
    key: bytes,
    realm: str,
    identity: bytes,
    version: "Version",
    nonce: bytes,
    public: "bytes | None",
    firmware: "str | None",
) -> bytes:
    """Return REQUEST; `key` is the device key, `identity` the handle, `nonce` 16 bytes. ValueError if one is bad."""
    text = (firmware or "").encode()
    if len(text) > _MAX_FIRMWARE:
        raise ValueError("firmware: > 32 bytes")
    request = bytes((0xA4 + bool(public) + bool(text), 0, 1, 1, 0x40 | len(identity))) + identity
    request += b"\2\x82" + _head(0, version[0]) + _head(0, version[1])
    if public:
        request += b"\6\x58\x20" + public
    if text:
        request += b"\7" + _head(0x60, len(text)) + text
    return sign(key, b"m1" + sha256(realm.encode()).digest() + b"\1", request + b"\x17\x58\x20" + nonce)


def open_response(
    key: bytes, request: bytes, response: bytes, x25519: "Any", private: bytes
) -> "tuple[Fields, bytes, bytes]":
    """Return the fields of the RESPONSE to a REQUEST, PRK3 and TH2; ValueError if it is malformed or its MAC is bad.

    `key` is the device key, `private` the X25519 key of the REQUEST, if it had one, `x25519` the implementation. The
    sealed handle comes out opened: the next handle.
    """
    fields = decode(response, _TYPE_RESPONSE)
    dh = fields.get(_LABEL_X25519_KEY, b"")
    if (not dh) != (not private):
        raise ValueError
    if dh:
        dh += x25519.shared(private, dh)
    th = sha256(request).digest()
    prk = derive(key, b"prk2" + th + response[-_SIZE_LONG_TOKEN:-_SIZE_MAC] + dh)
    verify(prk, b"m2\1", response)
    th = sha256(th + response).digest()
    sealed = fields.get(_LABEL_SEALED_HANDLE)
    if sealed:
        seal = int.from_bytes(derive(prk, b"seal\1")[:_SIZE_SEALED_HANDLE], "big")
        fields[_LABEL_SEALED_HANDLE] = (int.from_bytes(sealed, "big") ^ seal).to_bytes(_SIZE_SEALED_HANDLE, "big")
    return fields, derive(prk, b"prk3" + th), th


def make_success(prk3: bytes, client_id: bytes, status: int) -> bytes:
    """Return SUCCESS, the same bytes each time."""
    return sign(prk3, b"m3\1", b"\xa4\0\3\3\x47" + client_id + b"\4" + _head(0, status) + b"\x17\x50")


def open_confirm(prk3: bytes, th3: bytes, confirm: bytes) -> "Fields":
    """Return the fields of the CONFIRM to a SUCCESS, TH3 being SHA-256(TH2 || SUCCESS); ValueError as above."""
    verify(prk3, b"m4\1", confirm, th3)
    return decode(confirm, _TYPE_CONFIRM)


def export(prk3: bytes, th3: bytes) -> "tuple[bytes, bytes]":
    """Return the session's OSCORE master secret (16 bytes) and master salt (8 bytes)."""
    secret = derive(derive(prk3, b"exp" + th3), b"oscore\1")
    return secret[:16], secret[16:24]
