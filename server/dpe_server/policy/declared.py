"""The properties that an operator declares in the policy file: ``[property.NAME]`` tables."""

import re
from collections.abc import Mapping
from typing import Any

from dpe_coap.numbers import MAX_BYTES_VALUE, MAX_PROPERTY_NAME, MAX_PROPERTY_NUMBER
from dpe_coap.numbers import Property as Field
from dpe_coap.session_messages import Property
from dpe_server.files.shown import shown_value
from dpe_server.files.toml_lines import Path
from dpe_server.policy import fields
from dpe_server.policy.fields import BadValue
from dpe_server.policy.tables import Tables
from dpe_server.policy.vocabulary import FIELD, NUMERIC, SIZED, Entry, Type, Vocabulary, right_on_wire

KEYS = ("wire", "type", "unit", "minimum", "maximum", "longest")
"""The keys of a property's table; ``type`` is required."""
MAX_UNIT = 16
"""Characters of a unit."""

_NAME = re.compile(f"[A-Za-z][A-Za-z0-9_.:-]{{0,{MAX_PROPERTY_NAME - 1}}}")
_FIELD = {entry.wire: entry.name for entry in FIELD}


def read_vocabulary(tables: Tables) -> tuple[Vocabulary, frozenset[str]]:
    """Read the ``property`` tables of a document: the vocabulary, and the names of those with faults."""
    declared = tables.document.get("property", {})
    if not isinstance(declared, dict) or ("property" in tables.document and not declared):
        tables.fault(("property",), "expected tables such as [property.temperature]")
        return Vocabulary(), frozenset()
    entries: list[Entry] = []
    taken: dict[Property, Path] = {}
    for name, table in declared.items():
        faults, path = len(tables.faults), ("property", name)
        entry = _entry(tables, path, name, table)
        # A text is a name, too: neither may be what another property is called.
        for called in () if entry is None else dict.fromkeys((entry.name, entry.wire)):
            if taken.setdefault(called, path) != path:
                holder = tables.lines[taken[called]]
                at = (*path, "wire") if called != name or "wire" in table else path
                tables.fault(at, f"expected another one than {shown_value(called)}: line {holder} has it")
        if entry is not None and len(tables.faults) == faults:
            entries.append(entry)
    right = {entry.name for entry in entries}
    return Vocabulary(entries), frozenset(name for name in declared if name not in right)


def _entry(tables: Tables, path: Path, name: str, table: object) -> Entry | None:
    """Read one table; None when it has a fault."""
    faults = len(tables.faults)
    if not _NAME.fullmatch(name):
        expected = f"expected a name: a letter, then at most {MAX_PROPERTY_NAME - 1} of A-Z a-z 0-9 _ . : -"
        tables.fault(path, expected)
    elif name in _FIELD.values():
        tables.fault(path, "expected another name: every policy knows this property")
    if not isinstance(table, dict):
        tables.fault(path, f'expected a table, such as {{ type = "number" }}, found {shown_value(table)}')
        return None
    tables.unknown(path, table, KEYS)
    wire = tables.get(path, table, "wire", _wire)
    word = tables.get(path, table, "type", fields.one_of(*Type))
    if "type" not in table:
        tables.fault((*path, "type"), "is missing; expected one of " + ", ".join(Type))
    unit = tables.get(path, table, "unit", _unit)
    limits = {} if word is None else _limits(tables, path, table, Type(word))
    if word is None or len(tables.faults) > faults:
        return None
    return Entry(name, name if wire is None else wire, Type(word), unit or "", **limits)


def _limits(tables: Tables, path: Path, table: Mapping[str, Any], type_: Type) -> dict[str, Any]:
    """Read the limits of a property whose type is known."""
    for keys, types in ((("minimum", "maximum"), NUMERIC), (("longest",), SIZED)):
        for key in (key for key in keys if key in table and type_ not in types):
            tables.fault((*path, key), f'has no effect with type "{type_}", only with ' + " and ".join(types))
    limits: dict[str, Any] = {}
    if type_ in NUMERIC:
        take = fields.integer if type_ is Type.INTEGER else fields.number
        limits = {key: tables.get(path, table, key, take) for key in ("minimum", "maximum")}
        least, most = limits["minimum"], limits["maximum"]
        if least is not None and most is not None and most < least:
            tables.fault((*path, "maximum"), f"expected at least minimum, which is {least}, found {most}")
    elif type_ in SIZED:
        limits = {"longest": tables.get(path, table, "longest", _longest)}
    return {key: limit for key, limit in limits.items() if limit is not None}


def _wire(value: object) -> Property:
    """Take what messages call a property."""
    if (
        not isinstance(value, int | str)
        or not right_on_wire(value)
        or (isinstance(value, str) and not value.isprintable())
    ):
        raise BadValue(
            f"expected a number from {max(Field) + 1} to {MAX_PROPERTY_NUMBER}, or text of 1 to"
            f" {MAX_PROPERTY_NAME} bytes, found {shown_value(value)}"
        )
    holder = value if value in _FIELD.values() else _FIELD.get(value)
    if holder is not None:
        raise BadValue(f"expected another one than {shown_value(value)}, by which every policy knows {holder}")
    return value


def _unit(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value) <= MAX_UNIT:
        raise BadValue(f'expected 1 to {MAX_UNIT} printable characters, such as "°C", found {shown_value(value)}')
    return value


def _longest(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_BYTES_VALUE:
        raise BadValue(f"expected a number of bytes from 1 to {MAX_BYTES_VALUE}, found {shown_value(value)}")
    return value
