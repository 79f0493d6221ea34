"""The deterministic CBOR of the DPE-1 messages (RFC 8949 section 4.2.1): decoded strictly, encoded shortest.

A message is a map of unsigned labels in at most 256 bytes. Labels that its type does not define are ignored, but what
they hold must still be one well-formed, deterministic item. Whatever is not so is a ValueError.
"""

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Fields, Version

_MAX_MESSAGE = const(256)
_MAX_NESTING = const(4)  # of arrays, maps and tags in the value of a label
_MAX_VERSION_PART = const(255)
_MAX_SECONDS = const(4294967295)

_UNSIGNED = const(0)
_BYTES = const(2)
_TEXT = const(3)
_ARRAY = const(4)
_MAP = const(5)
_TAG = const(6)
_SIMPLE = const(7)

_LABEL_IDENTITY = const(1)
_LABEL_CLIENT_ID = const(3)
_LABEL_STATUS = const(4)
_LABEL_SEALED_HANDLE = const(5)
_LABEL_SERVER_URI = const(8)
_LABEL_SECURITY_TOKEN = const(23)

_TYPE_REQUEST = const(1)
_TYPE_RESPONSE = const(2)
_TYPE_SUCCESS = const(3)
_TYPE_CONFIRM = const(4)

_STATUS_OK = const(0)
_STATUS_REDIRECT = const(6)

_SIZE_CLEAR_IMEI = const(7)
_SIZE_SEALED_IMEI = const(17)
_SIZE_LONG_TOKEN = const(32)
_SIZE_MAC = const(16)

# For each label: which messages must have it (the high half byte) and may have it (the low one; bits 0 REQUEST,
# 1 RESPONSE, 2 SUCCESS, 3 CONFIRM), its major type, least and most of its value or length; 0 as the most is 2^32 - 1.
_RULES = (
    b"\xff\x00\x01\x04"  # type
    b"\x11\x02\x07\x11"  # identity
    b"\x33\x04\x02\x02"  # version
    b"\x46\x02\x07\x07"  # Client ID
    b"\xee\x00\x00\xff"  # status
    b"\x02\x02\x11\x11"  # sealed handle
    b"\x03\x02\x20\x20"  # X25519 key
    b"\x01\x03\x01\x20"  # firmware
    b"\x02\x03\x01\x80"  # server URI
    b"\x08\x00\x00\x00"  # lifetime
    b"\x02\x00\x00\x00"  # retry after
    b"\xff\x02\x10\x20"  # security token, label 23
)
_LAST_RULE = const(11)


def _need(truth: object) -> None:
    if not truth:
        raise ValueError("malformed")


def head(data: bytes, at: int) -> "tuple[int, int, int]":
    """Return the major type of the item at `at`, its argument, and where what follows this head begins."""
    if at >= len(data):  # no call to `_need` here: this function runs a hundred times in a registration
        _need(0)
    major = data[at] >> 5
    value = data[at] & 31
    at += 1
    if value > 23:
        size = 1 << value - 24
        end = at + size
        _need(value < 28 and end <= len(data))
        value = int.from_bytes(data[at:end], "big")
        at = end
        if major < _SIMPLE:
            _need(value >= (24 if size == 1 else 1 << 4 * size))
        else:
            _need(value > 31 if size == 1 else size == 2 or not _shortens(value, size))
    if _BYTES <= major <= _MAP and value > len(data) - at:
        _need(0)
    return major, value, at


def _shortens(bits: int, size: int) -> bool:
    # Whether a float of 4 or 8 bytes keeps its value, or a NaN its payload, in half of them.
    fraction = 23
    lost = 13  # bits of the fraction
    bias = 127
    if size == 8:
        fraction = 52
        lost = 29
        bias = 1023
    bits &= (1 << 8 * size - 1) - 1
    power = (bits >> fraction) - bias
    most = bias >> 3
    if bits and power <= bias:  # finite and not zero: the leading one counts
        bits |= 1 << fraction
        lost = 64 if power > most else max(lost, lost + 1 - most - power)
    return not bits & (1 << lost) - 1


def _check_text(text: bytes) -> None:
    # RFC 3629; MicroPython's own check lets overlong forms, surrogates and points above 10FFFF pass.
    more = point = bits = 0
    for octet in text:
        if more:
            more -= 1
            point = point << 6 | octet & 63
            _need(octet >> 6 == 2 and (more or (point >> bits and point < 0x110000 and point >> 11 != 27)))
        elif octet > 127:
            more = 1 if octet < 0xE0 else 2 if octet < 0xF0 else 3
            _need(0xBF < octet < 0xF8)
            point = octet & 63 >> more
            bits = 7 if more == 1 else 5 * more + 1  # more than fit into a shorter form
    _need(not more)


def skip(data: bytes, at: int, nesting: int = _MAX_NESTING) -> int:
    """Return where the item at `at` ends; `nesting` is how many levels it may have."""
    major, value, at = head(data, at)
    if _BYTES <= major <= _TEXT:
        end = at + value
        if major == _TEXT:
            _check_text(data[at:end])
        return end
    if _ARRAY <= major <= _TAG:
        _need(nesting)
        last = b""
        for _ in range(1 if major == _TAG else value):
            if major == _MAP:
                key = at
                at = skip(data, at, nesting - 1)
                _need(data[key:at] > last)
                last = data[key:at]
            at = skip(data, at, nesting - 1)
    return at


def decode(data: bytes) -> "Fields":
    """Return the fields of a message by label; a version is a pair of numbers, firmware and server URI are text."""
    major, count, at = head(data, 0)
    _need(major == _MAP and len(data) <= _MAX_MESSAGE and data[at : at + 1] == b"\0")
    kind = head(data, at + 1)[1]
    _need(_TYPE_REQUEST <= kind <= _TYPE_CONFIRM)
    missing = 3 if kind == _TYPE_CONFIRM else 4  # so many fields does each type need
    fields: "Fields" = {}
    last = -1
    for _ in range(count):
        major, label, at = head(data, at)
        _need(not major and last < label <= _LABEL_SECURITY_TOKEN)
        last = label
        end = skip(data, at)
        if label < _LAST_RULE or label == _LABEL_SECURITY_TOKEN:
            rule = _RULES[4 * min(label, _LAST_RULE)] >> kind - 1
            missing -= rule >> 4 & 1
            if rule & 1:
                fields[label] = _value(data, at, end, label, kind)
        at = end
    _need(at == len(data) and not missing)
    if kind == _TYPE_RESPONSE:
        status = fields[_LABEL_STATUS]
        _need((_LABEL_CLIENT_ID in fields) == (status == _STATUS_OK) == (_LABEL_SEALED_HANDLE in fields))
        _need((_LABEL_SERVER_URI in fields) == (status == _STATUS_REDIRECT))
    return fields


def _value(data: bytes, at: int, end: int, label: int, kind: int) -> "int | bytes | str | tuple[int, int]":
    # What a field of a message of this type holds.
    major, value, at = head(data, at)
    rule = 4 * min(label, _LAST_RULE)
    _need(major == _RULES[rule + 1] and _RULES[rule + 2] <= value <= (_RULES[rule + 3] or _MAX_SECONDS))
    if major == _UNSIGNED:
        return value
    if major == _ARRAY:
        return _version_part(data, at), _version_part(data, head(data, at)[2])
    if major == _TEXT:
        return str(data[at:end], "utf-8")
    if label == _LABEL_IDENTITY:
        _need(value in (_SIZE_CLEAR_IMEI, _SIZE_SEALED_IMEI))
    elif label == _LABEL_SECURITY_TOKEN:
        _need(value == (_SIZE_LONG_TOKEN if kind <= _TYPE_RESPONSE else _SIZE_MAC))
    return data[at:end]


def _version_part(data: bytes, at: int) -> int:
    major, value, at = head(data, at)
    _need(not major and value <= _MAX_VERSION_PART)
    return value


def encode(fields: "Fields") -> bytes:
    """Return the message of these fields, without those that are None."""
    data = b""
    count = 0xA0
    for label in sorted(fields):
        if fields[label] is not None:
            data += _item(label) + _item(fields[label])
            count += 1
    data = bytes((count,)) + data
    decode(data)
    return data


def _item(value: "int | bytes | str | Version") -> bytes:
    if isinstance(value, tuple):
        return b"\x82" + _item(value[0]) + _item(value[1])
    major = 0
    content = b""
    if isinstance(value, str):
        value = value.encode()
        major = 0x20
    if isinstance(value, bytes):
        content = value
        value = len(content)
        major += 0x40
    if value > 23:
        _need(value <= _MAX_SECONDS)
        size = (value > 0xFF) + (value > 0xFFFF)
        content = value.to_bytes(1 << size, "big") + content
        value = 24 + size
    return bytes((major | value,)) + content
