"""What properties there are: the names that people use, and what a value of each can be.

The field has eleven; an operator adds their own in the policy file. On the wire a property is a number or a text. A
device may report what is in no vocabulary: such a property has its number or text for a name.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from math import isfinite

from dpe_coap.errors import LocalError
from dpe_coap.numbers import MAX_BYTES_VALUE, MAX_INT64, MAX_PROPERTY_NAME, MAX_PROPERTY_NUMBER, MIN_INT64
from dpe_coap.numbers import Property as Field
from dpe_coap.session_messages import MAX_SESSION_MESSAGE, Property, Value

Number = int | float


class Type(StrEnum):
    """What a property's values are, as the policy file says it."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    """An integer or a float."""
    TEXT = "text"
    BYTES = "bytes"


NUMERIC = (Type.INTEGER, Type.NUMBER)
SIZED = (Type.TEXT, Type.BYTES)


@dataclass(frozen=True, slots=True)
class Entry:
    """One property of a vocabulary. Its limits are included."""

    name: str
    wire: Property
    """What it is called in a message."""
    type: Type
    unit: str = ""
    """The unit of its values, or their format; empty when they need none."""
    minimum: Number | None = None
    """The least value, and ``maximum`` the greatest, of ``NUMERIC`` types only; None is without limit."""
    maximum: Number | None = None
    longest: int = MAX_BYTES_VALUE
    """Bytes of the longest value, of ``SIZED`` types only; of text in UTF-8."""

    def __str__(self) -> str:
        """The name and the unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def fault(self, value: Value) -> str:
        """Say what is wrong with a value; empty when it is right. None, which ends a property, always is."""
        match self.type:
            case Type.BOOLEAN:
                right = isinstance(value, bool)
            case Type.INTEGER:
                right = type(value) is int
            case Type.NUMBER:
                right = type(value) in (int, float)
            case Type.TEXT:
                right = isinstance(value, str)
            case Type.BYTES:
                right = isinstance(value, bytes)
        if value is None or (right and self._within(value)):
            return ""
        return f"expected {self.expected()}"

    def expected(self) -> str:
        """Say what its values are, such as ``an integer from 0 to 100``."""
        match self.type:
            case Type.BOOLEAN:
                return "true or false"
            case Type.TEXT:
                return f"text of at most {self.longest} bytes"
            case Type.BYTES:
                return f"at most {self.longest} bytes"
        named = "an integer" if self.type is Type.INTEGER else "a number"
        if self.minimum is not None and self.maximum is not None:
            return f"{named} from {self.minimum} to {self.maximum}"
        if self.minimum is not None:
            return f"{named} not below {self.minimum}"
        return named if self.maximum is None else f"{named} not above {self.maximum}"

    def _within(self, value: Value) -> bool:
        """Say whether a value of the right type is within the limits, its own and those of a message."""
        match value:
            case str() | bytes():
                return (_octets(value) if isinstance(value, str) else len(value)) <= self.longest
            case bool() | None:
                return True
        carried = isfinite(value) if isinstance(value, float) else MIN_INT64 <= value <= MAX_INT64
        return carried and not self.outside(value)

    def outside(self, value: Number) -> bool:
        """Say whether a number is outside ``minimum`` to ``maximum``."""
        return (self.minimum is not None and value < self.minimum) or (
            self.maximum is not None and value > self.maximum
        )

    def read(self, text: str) -> Value:
        """Return the value that somebody typed as ``text``; LocalError says what was expected.

        ``true`` and ``false``, numbers, text as it is, bytes in hex; ``null`` is None, which ends a property.
        """
        if text == "null":
            return None
        value: Value = text
        try:
            if self.type is Type.BYTES:
                value = bytes.fromhex(text)
            elif self.type is not Type.TEXT:
                value = json.loads(text)
        except (ValueError, RecursionError):
            raise self._wrong() from None
        if self.fault(value):
            raise self._wrong()
        return value

    def _wrong(self) -> LocalError:
        hint = "bytes are written in hex" if self.type is Type.BYTES else "null takes the property away"
        return LocalError(f"{self}: expected {self.expected()}", hint=hint)

    def shown(self, value: Value) -> str:
        """Return a value as people read it, with its unit; a value of another type as it is."""
        unit = f" {self.unit}" if self.unit and self.type in NUMERIC and type(value) in (int, float) else ""
        return shown(value) + unit


def shown(value: Value) -> str:
    """Return the value of any property as people read it: one line of printable text."""
    match value:
        case bytes():
            return value.hex()
        case str():
            return value if value.isprintable() else json.dumps(value)
    return json.dumps(value)


def _of_the_field(number: Field, type_: Type, unit: str = "", **limits: int) -> Entry:
    return Entry(number.name.lower(), int(number), type_, unit, **limits)


FIELD = (
    _of_the_field(Field.BATTERY, Type.NUMBER, "%", minimum=0, maximum=100),
    _of_the_field(Field.FIRMWARE, Type.TEXT),
    _of_the_field(Field.ROAMING, Type.BOOLEAN),
    _of_the_field(Field.FREE_MEMORY, Type.INTEGER, "bytes", minimum=0),
    _of_the_field(Field.LANGUAGE, Type.TEXT, "BCP 47"),
    _of_the_field(Field.LAST_REBOOT, Type.INTEGER, "Unix s", minimum=0),
    _of_the_field(Field.ORIENTATION, Type.TEXT),
    _of_the_field(Field.HEADSET, Type.BOOLEAN),
    _of_the_field(Field.BEARER, Type.TEXT),
    _of_the_field(Field.SIGNAL, Type.NUMBER, "dBm"),
    _of_the_field(Field.DISPLAY, Type.TEXT),
)
"""The properties that every vocabulary has."""


SHOWN = 16
"""The most names that an error lists."""


class Vocabulary:
    """The field's properties and an operator's ``own``, no two of which have the same name or the same key."""

    def __init__(self, own: Iterable[Entry] = ()) -> None:
        self._by_name = {entry.name: entry for entry in (*FIELD, *own)}
        self._by_wire = {entry.wire: entry for entry in self._by_name.values()}

    def __iter__(self) -> Iterator[Entry]:
        """Yield the field's properties, then the operator's."""
        return iter(self._by_name.values())

    def named(self, name: str) -> Entry | None:
        """Return the property with a name; None when there is none."""
        return self._by_name.get(name)

    def on_wire(self, wire: Property) -> Entry | None:
        """Return the property that a message calls ``wire``; None when there is none."""
        return self._by_wire.get(wire)

    def unknown(self, name: str) -> str:
        """Say of a name that no property has what else could be meant."""
        near = get_close_matches(name, self._by_name, n=1)
        if near:
            return f'unknown property; did you mean "{near[0]}"?'
        names = list(self._by_name)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return "unknown property; known are " + ", ".join(names[:SHOWN]) + more

    def name_of(self, wire: Property) -> str:
        """Return the name of what a message calls ``wire``; of what is not known its number, or its text."""
        if (entry := self.on_wire(wire)) is not None:
            return entry.name
        if isinstance(wire, int):
            return str(wire)
        # In quotes when it would be read as something else.
        plain = wire.isprintable() and not wire.isdecimal() and not wire.startswith('"') and wire not in self._by_name
        return wire if plain else json.dumps(wire)

    def wire_of(self, name: str) -> Property:
        """Return what a message calls a property: the inverse of ``name_of``. LocalError: no message can name it."""
        if (entry := self.named(name)) is not None:
            return entry.wire
        wire: Property = name
        if name.isdecimal() and name.isascii():
            wire = int(name)
        elif name.startswith('"'):
            try:
                wire = json.loads(name)
            except ValueError:
                wire = ""
        if not right_on_wire(wire):
            hint = f"it may also be a number up to {MAX_PROPERTY_NUMBER}, or text of 1 to {MAX_PROPERTY_NAME} bytes"
            raise LocalError(self.unknown(name), hint=hint)
        return wire


def right_on_wire(wire: object) -> bool:
    """Say whether a message can call a property so: a number of 0 to 65535, or text of 1 to 32 bytes."""
    if isinstance(wire, str):
        return 1 <= _octets(wire) <= MAX_PROPERTY_NAME
    return type(wire) is int and 0 <= wire <= MAX_PROPERTY_NUMBER


def _octets(text: str) -> int:
    """Return the bytes of a text in UTF-8; more than any message takes when it has no such form."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return MAX_SESSION_MESSAGE + 1
