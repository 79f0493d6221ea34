"""The CBOR inside a protected message in annotated form: a report, what a device is told, or what is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cbor2

from dpe_coap import cbor, numbers
from dpe_coap.binding import CONTENT_FORMAT_CBOR, CONTENT_FORMAT_PROBLEM, Code
from dpe_coap.errors import MalformedMessage
from dpe_coap.session_messages import Property, decode_answer, decode_report
from dpe_server.operators.properties import CONDITIONS, shown
from dpe_server.policy.reporting import describe
from dpe_server.policy.vocabulary import Vocabulary
from dpe_tools import diagnostic
from dpe_tools.annotate import ROW, Row

KNOWN = Vocabulary()
"""What is known without a server's policy file: the field's properties."""

Path = tuple[Any, ...]
"""The keys that lead to an item of nested maps."""


class Kind(Enum):
    """What a payload is, by its name in the schema or in RFC 9290."""

    REPORT = "dpe-report"
    ANSWER = "dpe-answer"
    PROBLEM = "concise problem details"


def kind_of(code: int, content_format: int | None) -> Kind | None:
    """Return what a payload is, by the code and the content format beside it; None: nothing of a session."""
    if content_format == CONTENT_FORMAT_PROBLEM and code >= Code.BAD_REQUEST:
        return Kind.PROBLEM
    if content_format != CONTENT_FORMAT_CBOR:
        return None
    if code == Code.POST:
        return Kind.REPORT
    return Kind.ANSWER if code in (Code.CHANGED, Code.CONTENT) else None


def check(payload: bytes, kind: Kind) -> None:
    """Raise MalformedMessage unless the payload is what it should be."""
    match kind:
        case Kind.REPORT:
            decode_report(payload)
        case Kind.ANSWER:
            decode_answer(payload)
        case Kind.PROBLEM:
            try:
                end = cbor.skip(payload, 0)
            except IndexError:
                raise MalformedMessage("truncated", offset=len(payload)) from None
            if payload[0] >> 5 != cbor.MAP or end != len(payload):
                raise MalformedMessage("not a map", offset=0)


def rows(payload: bytes, kind: Kind) -> Iterator[Row]:
    """Yield the dump of a payload, with every byte in exactly one row. Raises MalformedMessage as ``check`` does."""
    check(payload, kind)
    yield from _Dump(payload, kind).value(0, 0, "", (), "")


@dataclass(frozen=True, slots=True)
class _Dump:
    payload: bytes
    kind: Kind

    def value(self, start: int, at: int, lead: str, path: Path, comma: str) -> Iterator[Row]:
        """Yield the rows of the item at ``at``, whose key begins at ``start``, and is in ``lead``."""
        payload = self.payload
        name, meaning = self._words(path, at)
        indent = "  " * len(path)
        if payload[at] >> 5 != cbor.MAP:
            notation, end = diagnostic.item(payload, at)
            first = Row(
                start, payload[start : min(start + ROW, end)], f"{indent}{lead}{notation}{comma}", name, meaning
            )
            yield first
            for more in range(start + ROW, end, ROW):
                yield Row(more, payload[more : min(more + ROW, end)], "")
            return
        count, position = cbor.head(payload, at)
        yield Row(start, payload[start:position], f"{indent}{lead}{{", name, meaning)
        for left in range(count, 0, -1):
            key, value = diagnostic.item(payload, position)
            inner = (*path, cbor2.loads(payload[position:value]))
            yield from self.value(position, value, f"{key}: ", inner, "," if left > 1 else "")
            position = cbor.skip(payload, value)
        yield Row(position, b"", f"{indent}}}{comma}")

    def _words(self, path: Path, at: int) -> tuple[str, str]:
        """Return the name of an item, and its value in words."""
        value: Any = cbor2.loads(self.payload[at : cbor.skip(self.payload, at)])
        if not path:
            return self.kind.value, f"map of {len(value)} (RFC 8949 section 3.1)"
        match self.kind, path:
            case ((Kind.REPORT | Kind.ANSWER), (numbers.SESSION_LABEL_POLICY_ETAG,)):
                return (
                    "policy etag",
                    "of what the device was told" if self.kind is Kind.REPORT else "of what is told here",
                )
            case Kind.REPORT, (numbers.SESSION_LABEL_PROPERTIES,):
                return "properties", f"map of {len(value)}"
            case Kind.REPORT, (numbers.SESSION_LABEL_PROPERTIES, wire):
                return _name(wire), "not there any more" if value is None else shown(wire, value, KNOWN)
            case Kind.ANSWER, (numbers.SESSION_LABEL_LIFETIME,):
                return "lifetime", f"{value} s from now"
            case Kind.ANSWER, (numbers.SESSION_LABEL_POLICIES,):
                return "policies", f"map of {len(value)}"
            case Kind.ANSWER, (numbers.SESSION_LABEL_POLICIES, wire):
                return _name(wire), describe(value)
            case Kind.ANSWER, (numbers.SESSION_LABEL_POLICIES, _, attribute):
                known = CONDITIONS.get(attribute)
                return known or f"attribute {attribute}", "" if known else "unknown: ignored"
            case Kind.PROBLEM, (-1 | -2 as key,) if isinstance(value, str):
                return ("title" if key == -1 else "detail"), "RFC 9290 section 2"
        return (f"key {path[-1]}" if len(path) == 1 else ""), "unknown: ignored" if len(path) == 1 else ""


def _name(wire: Property) -> str:
    return KNOWN.name_of(wire)
