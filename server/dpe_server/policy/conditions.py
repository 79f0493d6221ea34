"""The ``report`` table of a policy file, read and checked: which properties a device reports, and when."""

from collections.abc import Mapping
from typing import Any

from dpe_coap.session_messages import MAX_PROPERTIES, Conditions, encode_policies
from dpe_server.files.shown import shown_value
from dpe_server.files.toml_lines import Path
from dpe_server.policy import fields
from dpe_server.policy.reporting import NAMES, Reporting, ReportingPolicy, policies_of
from dpe_server.policy.tables import Tables
from dpe_server.policy.vocabulary import NUMERIC, Entry, Number, Type, Vocabulary

LONGEST_POLICIES = 1_010
"""Bytes of policies in a message, so that an answer with etag and lifetime has at most 1,024."""

OLD_NAMES = {
    "every": "is no longer known: write pmax for the longest time between two reports; with the same pmin,"
    " the property is reported at this interval only",
    "on_change": "is no longer known: leave it out; without gt, lt, st and edge, every change is reported",
    "minimum_gap": "is no longer known: write pmin",
}
_COMPARING = ("gt", "lt", "st", "band")


def read_report(
    tables: Tables, path: Path, table: object, vocabulary: Vocabulary, faulty: frozenset[str] = frozenset()
) -> Reporting:
    """Read the ``report`` table at ``path``. ``faulty`` are names of properties whose own tables have faults."""
    if not isinstance(table, dict):
        tables.fault(path, f"expected a table of properties, such as battery = {{}}, found {shown_value(table)}")
        return ()
    faults, found = len(tables.faults), []
    for name, value in table.items():
        here = (*path, name)
        entry = vocabulary.named(name)
        if entry is not None:
            found.append(ReportingPolicy(entry, _read_conditions(tables, here, value, entry)))
        elif name not in faulty:
            tables.fault(here, vocabulary.unknown(name) + " (a property of your own needs a table [property.NAME])")
    if len(table) > MAX_PROPERTIES:
        tables.fault(path, f"expected at most {MAX_PROPERTIES} properties, found {len(table)}")
    elif len(tables.faults) == faults:
        size = len(encode_policies(policies_of(tuple(found))))
        if size > LONGEST_POLICIES:
            message = f"takes {size} bytes in a message, and there is room for {LONGEST_POLICIES}"
            tables.fault(path, message + ": report fewer properties, or declare them with numbers instead of texts")
    return tuple(found)


def _read_conditions(tables: Tables, path: Path, table: object, entry: Entry) -> Conditions:
    """Read the conditions of one property."""
    if not isinstance(table, dict):
        tables.fault(path, f"expected a table, such as {{ pmax = 3600 }}, or {{}}, found {shown_value(table)}")
        return {}
    faults = len(tables.faults)
    tables.unknown(path, table, tuple(NAMES), OLD_NAMES)
    given: dict[str, Any] = {
        "pmin": tables.get(path, table, "pmin", fields.seconds),
        "pmax": tables.get(path, table, "pmax", fields.seconds),
        "gt": tables.get(path, table, "gt", fields.number),
        "lt": tables.get(path, table, "lt", fields.number),
        "st": tables.get(path, table, "st", fields.number),
        "band": tables.get(path, table, "band", fields.only(True)),
        "edge": tables.get(path, table, "edge", fields.boolean),
        "roaming": tables.get(path, table, "roaming", fields.only(False)),
    }
    conditions = {name: setting for name, setting in given.items() if setting is not None}
    for name in (name for name in table if name in _COMPARING and entry.type not in NUMERIC):
        tables.fault((*path, name), f"has no effect on {entry.name}, which is {entry.type}: only on numbers")
    if "edge" in table and entry.type is not Type.BOOLEAN:
        tables.fault((*path, "edge"), f"has no effect on {entry.name}, which is {entry.type}: only on a boolean")
    if "band" in table and "gt" not in table and "lt" not in table:
        tables.fault((*path, "band"), "has no effect without gt or lt")
    if len(tables.faults) == faults:
        _check_numbers(tables, path, conditions, entry)
    return {NAMES[name]: setting for name, setting in conditions.items()}


def _check_numbers(tables: Tables, path: Path, conditions: Mapping[str, Number], entry: Entry) -> None:
    """Find conditions that contradict each other, or the limits of the property."""
    pmin, pmax, step = conditions.get("pmin"), conditions.get("pmax"), conditions.get("st")
    if pmin is not None and pmax is not None and pmax < pmin:
        tables.fault((*path, "pmax"), f"expected at least pmin, which is {pmin}, found {pmax}")
    for name in ("gt", "lt"):
        if name in conditions and entry.outside(conditions[name]):
            tables.fault((*path, name), f"expected {entry.expected()}, found {conditions[name]}")
    if step is None:
        return
    if step <= 0:
        tables.fault((*path, "st"), f"expected a number above 0, found {step}")
    elif entry.minimum is not None and entry.maximum is not None and step > entry.maximum - entry.minimum:
        tables.fault((*path, "st"), f"can never be reached: {entry.name} is {entry.expected()}")
