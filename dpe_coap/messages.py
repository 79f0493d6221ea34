"""The four messages of DPE-1: strict decoding, deterministic encoding.

What dpe1.cddl cannot say is checked here: a RESPONSE has a Client ID and a sealed handle exactly when its status is ok,
and a server URI exactly when its status is redirect. Labels that a message does not define are ignored; the MAC covers
them, too.
"""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import cbor2

from dpe_coap import cbor
from dpe_coap.errors import LocalError, MalformedMessage
from dpe_coap.numbers import (
    LABEL_CLIENT_ID,
    LABEL_FIRMWARE,
    LABEL_IDENTITY,
    LABEL_LIFETIME,
    LABEL_RETRY_AFTER,
    LABEL_SEALED_HANDLE,
    LABEL_SECURITY_TOKEN,
    LABEL_SERVER_URI,
    LABEL_STATUS,
    LABEL_TYPE,
    LABEL_VERSION,
    LABEL_X25519_KEY,
    MAX_FIRMWARE,
    MAX_SECONDS,
    MAX_SERVER_URI,
    MAX_STATUS,
    MAX_VERSION_PART,
    SIZE_CLEAR_IMEI,
    SIZE_CLIENT_ID,
    SIZE_LONG_TOKEN,
    SIZE_MAC,
    SIZE_SEALED_HANDLE,
    SIZE_SEALED_IMEI,
    SIZE_X25519_KEY,
    MessageType,
    Status,
)

SIZE_NONCE = SIZE_LONG_TOKEN - SIZE_MAC


class Version(NamedTuple):
    """A DPE version; each part is 0 to 255."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read ``major.minor``. Raises LocalError, which says what was expected."""
        major, dot, minor = text.partition(".")
        parts = [int(part) for part in (major, minor) if part.isascii() and part.isdecimal() and len(part) <= 3]
        if not dot or len(parts) != 2 or max(parts) > MAX_VERSION_PART:
            raise LocalError(f"not a DPE version: {text[:16]!r}", hint="write major.minor, each 0 to 255, as in 1.0")
        return cls(*parts)

    def __str__(self) -> str:
        """Write it as in ``1.0``."""
        return f"{self.major}.{self.minor}"


@dataclass(slots=True)
class Request:
    """DPE_REGISTER_REQUEST: the device asks for a Client ID."""

    identity: bytes = field(repr=False)
    """The handle (17 bytes), or the IMEI in clear (7 bytes)."""
    version: Version
    security_token: bytes = field(repr=False)
    """Nonce (16 bytes) and MAC (16 bytes)."""
    _: KW_ONLY
    x25519_key: bytes | None = field(default=None, repr=False)
    """The client's ephemeral public key, 32 bytes. Its presence selects the X25519 suite."""
    firmware: str | None = None
    """1 to 32 bytes of UTF-8."""


@dataclass(slots=True, kw_only=True)
class Response:
    """DPE_REGISTER_RESPONSE: the ID Manager's answer."""

    version: Version
    """The version that the server selected or, with version-not-supported, the highest one that it supports."""
    status: int
    security_token: bytes = field(repr=False)
    client_id: bytes | None = None
    sealed_handle: bytes | None = field(default=None, repr=False)
    """The next handle, encrypted (17 bytes)."""
    x25519_key: bytes | None = field(default=None, repr=False)
    server_uri: str | None = None
    """1 to 128 bytes of UTF-8."""
    retry_after: int | None = None
    """Seconds."""


@dataclass(slots=True)
class Success:
    """DPE_REGISTER_SUCCESS: the client confirms (status ok) or declines (any other status)."""

    client_id: bytes
    status: int
    mac: bytes = field(repr=False)


@dataclass(slots=True)
class Confirm:
    """The answer to SUCCESS: the session is durable (ok), declined (released), or lost to a newer one (superseded)."""

    status: int
    mac: bytes = field(repr=False)
    lifetime: int | None = None
    """How many seconds the session lives; None means without end."""


Message = Request | Response | Success | Confirm


class _Field(NamedTuple):
    """One label of a message: the attribute it fills, and what its value must be."""

    label: int
    attribute: str
    name: str
    kind: int
    """The major type."""
    allowed: range | tuple[int, ...]
    """The values of a number, the sizes of a string in bytes, or the values of both parts of a version."""
    expected: str
    """``allowed``, in words."""
    required: bool = True

    def fault(self, what: str, offset: int) -> MalformedMessage:
        return MalformedMessage(f"{self.name} {what}", offset=offset, key=self.label)

    def read(self, data: bytes, start: int, end: int) -> object:
        """Return the value of the item at ``start``, whose encoding was checked, or raise MalformedMessage."""
        if data[start] >> 5 != self.kind:
            raise self.fault(f"is of a wrong type, not {_KINDS[self.kind]}", start)
        argument, content = cbor.head(data, start)
        if self.kind == cbor.ARRAY:
            return self._version(data, argument, content)
        if argument not in self.allowed:
            measure = "is" if self.kind == cbor.UNSIGNED else "length is"
            raise self.fault(f"{measure} {argument}, not {self.expected}", start)
        if self.kind == cbor.UNSIGNED:
            return argument
        value = data[content:end]
        return value if self.kind == cbor.BYTES else value.decode()

    def item(self, value: object) -> bytes:
        """Return the label and ``value``, encoded, or raise MalformedMessage; without a value, nothing."""
        if value is None and not self.required:
            return b""
        data = cbor2.dumps(value)
        self.read(data, 0, len(data))
        return bytes([self.label]) + data

    @property
    def pattern(self) -> bytes:
        """A regular expression with one group, which every correct item matches."""
        if self.kind == cbor.BYTES:
            heads = [re.escape(cbor2.dumps(bytes(size))[:-size]) for size in self.allowed]
            if len(heads) == 1:
                return heads[0] + b"(.{%d})" % self.allowed[0]
            return b"(" + b"|".join(b"%b.{%d}" % item for item in zip(heads, self.allowed, strict=True)) + b")"
        return b"(" + _PATTERNS[self.kind] + b")"

    def of_item(self, item: bytes) -> object:
        """Return the value of an item that ``pattern`` captured, or raise MalformedMessage or UnicodeDecodeError."""
        argument, content = cbor.head(item, 0)
        if self.kind == cbor.TEXT and content + argument != len(item):
            raise self.fault("has another length", 0)
        return self.read(item, 0, len(item))

    def _version(self, data: bytes, parts: int, position: int) -> Version:
        values = []
        for _ in range(min(parts, 2)):
            value, after = cbor.head(data, position)
            if data[position] >> 5 != cbor.UNSIGNED or value not in self.allowed:
                break
            values.append(value)
            position = after
        if parts != 2 or len(values) != 2:
            raise self.fault(f"is not {self.expected}", position)
        return Version(*values)


_BYTE = rb"(?:[\x00-\x17]|\x18[\x18-\xff])"
_PATTERNS = {
    cbor.UNSIGNED: _BYTE + rb"|\x19[\x01-\xff].|\x1a(?!\0\0).{4}",
    cbor.TEXT: rb"[\x61-\x77].{1,23}|\x78[\x18-\xff].{24,255}",
    cbor.ARRAY: rb"\x82" + _BYTE * 2,
}
_KINDS = {cbor.UNSIGNED: "an unsigned number", cbor.BYTES: "a byte string", cbor.TEXT: "text", cbor.ARRAY: "an array"}


def _number(label: int, attribute: str, name: str, largest: int, *, required: bool = True) -> _Field:
    return _Field(label, attribute, name, cbor.UNSIGNED, range(largest + 1), f"0 to {largest}", required)


def _bytes(label: int, attribute: str, name: str, *sizes: int, required: bool = True) -> _Field:
    return _Field(label, attribute, name, cbor.BYTES, sizes, f"{' or '.join(map(str, sizes))} bytes", required)


def _text(label: int, attribute: str, name: str, longest: int) -> _Field:
    return _Field(label, attribute, name, cbor.TEXT, range(1, longest + 1), f"1 to {longest} bytes", False)


_version = _Field(
    LABEL_VERSION,
    "version",
    "version",
    cbor.ARRAY,
    range(MAX_VERSION_PART + 1),
    f"two numbers of 0 to {MAX_VERSION_PART}",
)
_status = _number(LABEL_STATUS, "status", "status", MAX_STATUS)
_x25519_key = _bytes(LABEL_X25519_KEY, "x25519_key", "X25519 key", SIZE_X25519_KEY, required=False)
_long_token = _bytes(LABEL_SECURITY_TOKEN, "security_token", "security token", SIZE_LONG_TOKEN)
_mac = _bytes(LABEL_SECURITY_TOKEN, "mac", "security token", SIZE_MAC)

# The fields after label 0, in ascending order of their labels.
_MESSAGES: dict[int, tuple[type[Message], tuple[_Field, ...]]] = {
    MessageType.REQUEST: (
        Request,
        (
            _bytes(LABEL_IDENTITY, "identity", "identity", SIZE_SEALED_IMEI, SIZE_CLEAR_IMEI),
            _version,
            _x25519_key,
            _text(LABEL_FIRMWARE, "firmware", "firmware", MAX_FIRMWARE),
            _long_token,
        ),
    ),
    MessageType.RESPONSE: (
        Response,
        (
            _version,
            _bytes(LABEL_CLIENT_ID, "client_id", "Client ID", SIZE_CLIENT_ID, required=False),
            _status,
            _bytes(LABEL_SEALED_HANDLE, "sealed_handle", "sealed handle", SIZE_SEALED_HANDLE, required=False),
            _x25519_key,
            _text(LABEL_SERVER_URI, "server_uri", "server URI", MAX_SERVER_URI),
            _number(LABEL_RETRY_AFTER, "retry_after", "retry after", MAX_SECONDS, required=False),
            _long_token,
        ),
    ),
    MessageType.SUCCESS: (
        Success,
        (_bytes(LABEL_CLIENT_ID, "client_id", "Client ID", SIZE_CLIENT_ID), _status, _mac),
    ),
    MessageType.CONFIRM: (
        Confirm,
        (_status, _number(LABEL_LIFETIME, "lifetime", "lifetime", MAX_SECONDS, required=False), _mac),
    ),
}
_ONLY_WITH = {"client_id": Status.OK, "sealed_handle": Status.OK, "server_uri": Status.REDIRECT}

_type = _number(LABEL_TYPE, "", "message type", max(_MESSAGES))

REMEMBERED = 1_024
"""How many encodings of versions, numbers and texts have their values remembered, for each field."""


class _Shape:
    """The usual form of a message, with no label but its own, matched as a whole by one regular expression.

    This is four times as fast as the strict reader, which decides about everything that does not match (decision 10). A
    message is written item by item, most of which are remembered or copied.
    """

    def __init__(self, number: int, kind: type[Message], members: tuple[_Field, ...]) -> None:
        self.kind = kind
        pattern = b"[\xa0-\xb7]" + re.escape(bytes([LABEL_TYPE, number]))
        for member in members:
            pattern += b"(?:%b%b)%b" % (re.escape(bytes([member.label])), member.pattern, b"?" * (not member.required))
        self._match = re.compile(pattern, re.DOTALL).fullmatch
        self._readers = [(n, read) for n, read in enumerate(map(self._reader, members)) if read is not None]
        self._writers = list(map(self._writer, members))
        self._start = bytes([LABEL_TYPE, number])
        self._get = attrgetter(*(member.attribute for member in members))
        self.fill = [getattr(kind, member.attribute).__set__ for member in members]
        places = {member.attribute: n for n, member in enumerate(members)}
        self._status = places.get("status", 0)
        self._only_with = [(places[name], status) for name, status in _ONLY_WITH.items() if kind is Response]

    @staticmethod
    def _reader(member: _Field) -> Callable[[bytes], object] | None:
        """Return the function that makes the value of a captured item, or None if the capture is the value."""
        if member.kind == cbor.BYTES:
            if len(member.allowed) == 1:
                return None
            (head,) = {len(cbor2.dumps(bytes(size))) - size for size in member.allowed}  # all heads are of one length
            return itemgetter(slice(head, None))
        return lru_cache(REMEMBERED)(member.of_item)

    @staticmethod
    def _writer(member: _Field) -> Callable[[Any], bytes]:
        """Return the function that makes the item of a value; it does or raises what ``member.item`` would."""
        if member.kind != cbor.BYTES:
            return lru_cache(REMEMBERED, typed=True)(member.item)
        if len(member.allowed) > 1:
            return member.item
        (size,) = member.allowed
        head = bytes([member.label]) + cbor2.dumps(bytes(size))[:-size]

        def write(value: bytes | None) -> bytes:
            return head + value if type(value) is bytes and len(value) == size else member.item(value)

        return write

    def payload(self, message: Message) -> bytes:
        """Return the encoding of ``message``, or raise MalformedMessage or CBOREncodeError."""
        values = self._get(message)
        items = [write(value) for write, value in zip(self._writers, values)]  # noqa: B905  # as many; as in ``decode``
        payload = b"%c%b%b" % (0xA1 + len(items) - items.count(b""), self._start, b"".join(items))
        for n, status in self._only_with:
            if (values[n] is None) == (values[self._status] == status):
                decode_strictly(payload)  # which says what is wrong
        return payload

    def values(self, payload: bytes) -> list[Any] | None:
        """Return the values of the message's fields in the order of their labels, or None if this is not its shape."""
        found = self._match(payload)
        if found is None:
            return None
        values: list[Any] = list(found.groups())
        if payload[0] != 0xA1 + len(values) - values.count(None):
            return None
        try:
            for n, read in self._readers:
                if values[n] is not None:
                    values[n] = read(values[n])
        except (MalformedMessage, UnicodeDecodeError):
            return None
        for n, status in self._only_with:
            if (values[n] is None) == (values[self._status] == status):
                return None
        return values


_blank = object.__new__
_SHAPES = {bytes([LABEL_TYPE, number]): _Shape(number, *message) for number, message in _MESSAGES.items()}
_SHAPE_OF = {shape.kind: shape for shape in _SHAPES.values()}


def decode(payload: bytes) -> Message:
    """Return the message in ``payload``, or raise MalformedMessage. Whatever the bytes, nothing else is raised."""
    shape = _SHAPES.get(payload[1:3])
    values = None if shape is None else shape.values(payload)
    if shape is None or values is None:
        return decode_strictly(payload)
    message = _blank(shape.kind)  # filled slot by slot, which takes less time than a constructor
    for fill, value in zip(shape.fill, values):  # noqa: B905  # they are as many, and to ask takes as long as to fill
        fill(message, value)
    return message


def decode_strictly(payload: bytes) -> Message:
    """Do the same as ``decode``, in the slower way that accepts unknown labels and names the fault."""
    found = cbor.fields(payload)
    if LABEL_TYPE not in found:
        raise _type.fault("missing", 0)
    if payload[found[LABEL_TYPE][0]] >> 5 == cbor.UNSIGNED and payload[found[LABEL_TYPE][0]] not in _MESSAGES:
        raise MalformedMessage("unknown message type", offset=found[LABEL_TYPE][0], key=LABEL_TYPE)
    kind, members = _MESSAGES[_type.read(payload, *found[LABEL_TYPE])]  # type: ignore[index]  # a number it is
    values: dict[str, object] = {}
    for field_ in members:
        place = found.get(field_.label)
        if place is not None:
            values[field_.attribute] = field_.read(payload, *place)
        elif field_.required:
            raise field_.fault("missing", len(payload))
    if kind is Response:
        for field_ in members:
            status = _ONLY_WITH.get(field_.attribute)
            present = field_.label in found
            if status is not None and present != (values["status"] == status):
                offset = found[field_.label][0] if present else len(payload)
                raise field_.fault(f"is there exactly when the status is {status}", offset)
    return kind(**values)  # type: ignore[arg-type]  # each field reads its attribute's type


def encode(message: Message) -> bytes:
    """Return the deterministic encoding of ``message``. Its last 16 bytes are the MAC.

    Raises LocalError if a field is out of range or does not go with the status, so what is sent would be accepted.
    """
    try:
        return _SHAPE_OF[type(message)].payload(message)
    except (MalformedMessage, cbor2.CBOREncodeError) as error:
        raise LocalError(f"cannot encode this {type(message).__name__}: {error}") from error
