"""A DPE-1 message in annotated form: its bytes, their diagnostic notation, and the source document's field names."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dpe_coap import cbor, messages, numbers
from dpe_coap.errors import MalformedMessage
from dpe_coap.messages import SIZE_NONCE, Message, Request, Response, Success
from dpe_coap.numbers import MessageType, Status
from dpe_tools import diagnostic

ROW = 8
"""How many bytes of a string one row shows."""

TITLES = {
    MessageType.REQUEST: "DPE_REGISTER_REQUEST",
    MessageType.RESPONSE: "DPE_REGISTER_RESPONSE",
    MessageType.SUCCESS: "DPE_REGISTER_SUCCESS",
    MessageType.CONFIRM: "CONFIRM",
}

_NAMES = {
    numbers.LABEL_TYPE: "message",
    numbers.LABEL_IDENTITY: "IMEI",
    numbers.LABEL_VERSION: "DPE Version",
    numbers.LABEL_CLIENT_ID: "Client_ID",
    numbers.LABEL_STATUS: "Status",
    numbers.LABEL_SEALED_HANDLE: "next handle",
    numbers.LABEL_X25519_KEY: "X25519 key",
    numbers.LABEL_FIRMWARE: "firmware",
    numbers.LABEL_SERVER_URI: "server URI",
    numbers.LABEL_LIFETIME: "lifetime",
    numbers.LABEL_RETRY_AFTER: "retry after",
    numbers.LABEL_SECURITY_TOKEN: "Security Token",
}


def name_of(payload: bytes) -> str:
    """Return the name of the message in a payload, or an empty string if it is none."""
    try:
        return message_type(messages.decode(payload)).name
    except MalformedMessage:
        return ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the dump: bytes at an offset, their notation, and what they are."""

    offset: int
    data: bytes
    notation: str
    name: str = ""
    meaning: str = ""
    secret: bool = False
    """Whether the bytes are an IMEI in clear, which is not shown."""

    @property
    def hex(self) -> str:
        """The bytes in hex, or as many crosses."""
        return " ".join("xx" for _ in self.data) if self.secret else self.data.hex(" ")


def fields(shown: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows for JSON, those that have bytes."""
    return [
        {"offset": row.offset, "hex": row.hex, "notation": row.notation.strip(), "name": row.name, "value": row.meaning}
        for row in shown
        if row.data
    ]


def status_name(status: int) -> str:
    """Return a status as the protocol names it, such as ``version-not-supported``."""
    try:
        return Status(status).name.lower().replace("_", "-")
    except ValueError:
        return f"unknown ({status})"


def message_type(message: Message) -> MessageType:
    """Return which of the four messages this is."""
    return MessageType[type(message).__name__.upper()]


def rows(payload: bytes) -> Iterator[Row]:
    """Yield the dump of a whole message, with every byte in exactly one row. Raises MalformedMessage if it is none."""
    message = messages.decode(payload)
    found = cbor.fields(payload)
    yield Row(0, payload[:1], "{", "", f"map of {len(found)}")
    position = 1
    for label, (start, end) in found.items():
        name, meaning = describe(message, label)
        major = payload[start] >> 5
        comma = "" if end == len(payload) else ","
        if major == cbor.BYTES:
            yield from _string(payload, position, start, end, name, meaning, comma)
        else:
            notation, _ = diagnostic.item(payload, start)
            for at in range(position, end, ROW):
                first = at == position
                yield Row(
                    at,
                    payload[at : min(at + ROW, end)],
                    f"  {label}: {notation}{comma}" if first else "",
                    name if first else "",
                    meaning if first else "",
                )
        position = end
    yield Row(len(payload), b"", "}")


def _string(payload: bytes, key: int, start: int, end: int, name: str, meaning: str, comma: str) -> Iterator[Row]:
    """Yield the rows of a byte string: its key and head, then its content. A long token changes its name midway."""
    _, content = cbor.head(payload, start)
    label = payload[key]
    secret = label == numbers.LABEL_IDENTITY and end - content == numbers.SIZE_CLEAR_IMEI
    yield Row(key, payload[key:content], f"  {label}: h'", name, meaning)
    for at in range(content, end, ROW):
        part = payload[at : min(at + ROW, end)]
        close = f"'{comma}" if at + ROW >= end else ""
        what = ""
        if label == numbers.LABEL_SECURITY_TOKEN and at in (end - numbers.SIZE_MAC, content):
            what = "MAC" if at == end - numbers.SIZE_MAC else "nonce"
        yield Row(at, part, f"    {'x' * 14 if secret else part.hex()}{close}", "", what, secret)


def describe(message: Message, label: int) -> tuple[str, str]:
    """Return a field's name in the source document, or ours if it has none there, and its value in words."""
    name = _NAMES.get(label, f"key {label}")
    if label == numbers.LABEL_SECURITY_TOKEN and isinstance(message, Request):
        name = "Token"
    return name, _meaning(message, label)


def _meaning(message: Message, label: int) -> str:
    kind = message_type(message)
    match label:
        case numbers.LABEL_TYPE:
            return TITLES[kind]
        case numbers.LABEL_IDENTITY if isinstance(message, Request):
            if len(message.identity) == numbers.SIZE_CLEAR_IMEI:
                return "in clear, not shown"
            return f"sealed under handle key {message.identity[0]}"
        case numbers.LABEL_VERSION if isinstance(message, Request | Response):
            return str(message.version)
        case numbers.LABEL_CLIENT_ID if isinstance(message, Response | Success):
            return str(message.client_id and message.client_id.hex())
        case numbers.LABEL_STATUS if not isinstance(message, Request):
            return status_name(message.status)
        case numbers.LABEL_SEALED_HANDLE:
            return "encrypted"
        case numbers.LABEL_X25519_KEY:
            return "ephemeral, public"
        case numbers.LABEL_FIRMWARE if isinstance(message, Request):
            return diagnostic.text(message.firmware or "")
        case numbers.LABEL_SERVER_URI if isinstance(message, Response):
            return diagnostic.text(message.server_uri or "")
        case numbers.LABEL_LIFETIME if isinstance(message, messages.Confirm):
            return f"{message.lifetime} s"
        case numbers.LABEL_RETRY_AFTER if isinstance(message, Response):
            return f"{message.retry_after} s"
        case numbers.LABEL_SECURITY_TOKEN:
            long = isinstance(message, Request | Response)
            return f"{SIZE_NONCE}-byte nonce, {numbers.SIZE_MAC}-byte MAC" if long else f"{numbers.SIZE_MAC}-byte MAC"
        case _:
            return "not of this message: ignored"


def summary(message: Message) -> Iterator[tuple[str, str]]:
    """Yield the fields of a message by name, with short values: the dump for a reader in a hurry."""
    for label, attribute in (
        (numbers.LABEL_CLIENT_ID, "client_id"),
        (numbers.LABEL_STATUS, "status"),
        (numbers.LABEL_IDENTITY, "identity"),
        (numbers.LABEL_VERSION, "version"),
        (numbers.LABEL_SEALED_HANDLE, "sealed_handle"),
        (numbers.LABEL_X25519_KEY, "x25519_key"),
        (numbers.LABEL_FIRMWARE, "firmware"),
        (numbers.LABEL_SERVER_URI, "server_uri"),
        (numbers.LABEL_LIFETIME, "lifetime"),
        (numbers.LABEL_RETRY_AFTER, "retry_after"),
    ):
        if getattr(message, attribute, None) is not None:
            yield describe(message, label)
    yield describe(message, numbers.LABEL_SECURITY_TOKEN)


def fault(error: MalformedMessage) -> dict[str, Any]:
    """Return a fault for JSON."""
    return {"fault": error.fault, "offset": error.offset, "key": error.key}


def fault_dump(payload: bytes, error: MalformedMessage) -> Iterator[str]:
    """Yield a plain hex dump around the offset of a fault, with a marker below the fault."""
    first = max(0, error.offset // 16 * 16 - 16)
    last = error.offset // 16 * 16 + 32
    if first:
        yield "      ..."
    for at in range(first, min(last, max(len(payload), error.offset + 1)), 16):
        yield f"{at:5d}  {payload[at : at + 16].hex(' ')}".rstrip()
        if at <= error.offset < at + 16:
            yield " " * (7 + 3 * (error.offset - at)) + f"^^ {error.fault}"
    if last < len(payload):
        yield "      ..."
