"""Properties, their values and their conditions, by the names that a policy gives them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cbor2

from dpe_coap.session_messages import Policies, Property, Value
from dpe_server.policy.reporting import NAMES
from dpe_server.policy.vocabulary import Vocabulary
from dpe_server.policy.vocabulary import shown as plain
from dpe_server.store.record import entries

CONDITIONS = {number: name for name, number in NAMES.items()}
"""What a message calls a condition, and its name."""


def in_json(value: Value) -> Any:
    """Return a value for JSON, which has no bytes: they are ``{"bytes": HEX}``."""
    return {"bytes": value.hex()} if isinstance(value, bytes) else value


def named(properties: Mapping[Property, Value], vocabulary: Vocabulary) -> dict[str, Any]:
    """Return properties by name, for JSON."""
    return {vocabulary.name_of(wire): in_json(value) for wire, value in properties.items()}


def conditions(policies: Policies, vocabulary: Vocabulary) -> dict[str, dict[str, Any]]:
    """Return policies by the names of properties and conditions, for JSON; an unknown condition has its number."""
    return {
        vocabulary.name_of(wire): {CONDITIONS.get(number, str(number)): setting for number, setting in how.items()}
        for wire, how in policies.items()
    }


def reported(record: bytes, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the properties of a record by name, for JSON, with the Unix time of each."""
    return {
        vocabulary.name_of(decoded(entry.property)): {"value": in_json(decoded(entry.value)), "time": entry.at}
        for entry in entries(record)
    }


@lru_cache(1 << 16)  # most devices report the same
def decoded(item: bytes) -> Any:
    """Return what an encoded property or value means."""
    return cbor2.loads(item)


def shown(wire: Property, value: Value, vocabulary: Vocabulary) -> str:
    """Return a value as people read it, with its unit if the vocabulary knows one."""
    entry = vocabulary.on_wire(wire)
    return plain(value) if entry is None else entry.shown(value)
