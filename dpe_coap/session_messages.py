"""The messages of the DPE session: strict reading, deterministic encoding (dpe1.cddl; RFC 8949 section 4.2.1).

A device reports properties, and gets the policies that say what to report and when. Of a report the encoded items are
kept as they are: 20 and 20.0 have different encodings, and a server that only stores them need not decode any.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from typing import Any, NamedTuple

import cbor2

from dpe_coap import cbor
from dpe_coap.errors import LocalError, MalformedMessage, TooLarge
from dpe_coap.numbers import (
    MAX_ATTRIBUTE,
    MAX_BYTES_VALUE,
    MAX_INT64,
    MAX_LIFETIME,
    MAX_PROPERTY_NAME,
    MAX_PROPERTY_NUMBER,
    MIN_LIFETIME,
    SESSION_LABEL_LIFETIME,
    SESSION_LABEL_POLICIES,
    SESSION_LABEL_POLICY_ETAG,
    SESSION_LABEL_PROPERTIES,
    SIZE_POLICY_ETAG,
)

_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6

MAX_SESSION_MESSAGE = 1_024
"""Bytes of the longest message of a session."""
MAX_PROPERTIES = 64
"""The most properties in a report, in the record of a device, and with policies."""
MAX_RECORD = 4_096
"""The most bytes of encoded properties and values that a server keeps of a device."""
_LAST_LABEL = (1 << 64) - 1

Value = bool | int | float | str | bytes | None
"""What a property has: an integer of 64 bits, text and bytes of at most 256 bytes; None: it is not there any more."""
Property = int | str
"""A number of 0 to 65535, or a name of 1 to 32 bytes of UTF-8."""
Conditions = Mapping[int, bool | int | float]
"""When a property is reported, by ``Attribute``; without any: at every change."""
Policies = Mapping[Property, Conditions]
"""The conditions of each property to be reported; without any: report nothing unasked."""
Items = dict[bytes, bytes]
"""Encoded properties with their encoded values, in the order of their encodings."""


class Report(NamedTuple):
    """What a device says of itself: dpe-report."""

    policy_etag: bytes | None = None
    """Of the policies that it has, 4 bytes; None: it has none yet."""
    properties: Items | None = None
    """What has a new value; None: nothing, the report is a refresh."""

    def __repr__(self) -> str:
        """Show nothing of the device."""
        return f"Report(policy_etag={self.policy_etag!r})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device is to report: dpe-answer."""

    policies: Policies
    lifetime: int | None = None
    """Seconds from now, 60 to 2^32 - 1; None: without end."""

    @property
    def policy_etag(self) -> bytes:
        """A name of what is told, 4 bytes: the first of the SHA-256 of the answer without its etag."""
        return sha256(_map(self._told())).digest()[:SIZE_POLICY_ETAG]

    def encode(self) -> bytes:
        """Return the encoding; LocalError names what no device would accept, or says that it is above 1,024 bytes."""
        told = self._told()
        etag = sha256(_map(told)).digest()[:SIZE_POLICY_ETAG]
        payload = _map([(SESSION_LABEL_POLICY_ETAG, cbor2.dumps(etag)), *told])
        try:
            decode_answer(payload)
        except MalformedMessage as error:
            raise LocalError(f"cannot tell a device this: {error}") from error
        return payload

    def _told(self) -> list[tuple[int, bytes]]:
        told = [] if self.lifetime is None else [(SESSION_LABEL_LIFETIME, cbor2.dumps(self.lifetime))]
        return [*told, (SESSION_LABEL_POLICIES, encode_policies(self.policies))]


def encode_policies(policies: Policies) -> bytes:
    """Return the encoding of policies by themselves, unchecked but for LocalError: a float is NaN or infinite."""
    return _map((property_, _map((n, _value(v)) for n, v in how.items())) for property_, how in policies.items())


def decode_policies(encoded: bytes) -> Policies:
    """Return policies that were encoded by themselves, or raise MalformedMessage, as ``decode_answer`` does."""
    before = bytes([0xA2, SESSION_LABEL_POLICY_ETAG, 0x40 | SIZE_POLICY_ETAG]) + bytes(SIZE_POLICY_ETAG)
    return decode_answer(before + bytes([SESSION_LABEL_POLICIES]) + encoded)[1].policies


def decode_report(payload: bytes) -> Report:
    """Return the report in ``payload``, or raise MalformedMessage (4.00) or TooLarge (4.13), nothing else."""
    found = _fields(payload)
    place = found.get(SESSION_LABEL_PROPERTIES)
    etag = _etag(payload, found)
    return Report(etag, None if place is None else _items(payload, *place))


def encode_report(properties: Mapping[Property, Value] | None, policy_etag: bytes | None = None) -> bytes:
    """Return the encoding of a report; LocalError names what no server would accept."""
    items = [] if policy_etag is None else [(SESSION_LABEL_POLICY_ETAG, cbor2.dumps(policy_etag))]
    if properties is not None:
        values = _map((property_, _value(value)) for property_, value in properties.items())
        items.append((SESSION_LABEL_PROPERTIES, values))
    payload = _map(items)
    try:
        decode_report(payload)
    except MalformedMessage as error:
        raise LocalError(f"cannot report this: {error}") from error
    return payload


def decode_answer(payload: bytes) -> tuple[bytes, Answer]:
    """Return the etag and the answer in ``payload``, or raise MalformedMessage, nothing else."""
    found = _fields(payload)
    etag = _etag(payload, found)
    if etag is None:
        raise MalformedMessage("policy etag missing", offset=len(payload), key=SESSION_LABEL_POLICY_ETAG)
    lifetime = None
    if place := found.get(SESSION_LABEL_LIFETIME):
        lifetime = _number(payload, place[0], MIN_LIFETIME, MAX_LIFETIME, SESSION_LABEL_LIFETIME, "lifetime")
    if SESSION_LABEL_POLICIES not in found:
        raise MalformedMessage("policies missing", offset=len(payload), key=SESSION_LABEL_POLICIES)
    start, _ = found[SESSION_LABEL_POLICIES]
    policies: dict[Property, dict[int, Any]] = {}
    count, at = _map_head(payload, start, SESSION_LABEL_POLICIES, "policies")
    if count > MAX_PROPERTIES:
        raise TooLarge(f"more than {MAX_PROPERTIES} properties", offset=start, key=SESSION_LABEL_POLICIES)
    for _ in range(count):
        property_end = _property(payload, at, SESSION_LABEL_POLICIES)
        conditions_count, inner = _map_head(payload, property_end, SESSION_LABEL_POLICIES, "conditions")
        conditions: dict[int, Any] = {}
        for _ in range(conditions_count):
            attribute = _number(payload, inner, 0, MAX_ATTRIBUTE, SESSION_LABEL_POLICIES, "an attribute")
            _, setting = cbor.head(payload, inner)
            inner = _setting(payload, setting)
            conditions[attribute] = cbor2.loads(payload[setting:inner])
        policies[cbor2.loads(payload[at:property_end])] = conditions
        at = inner
    return etag, Answer(policies, lifetime)


def decoded(items: Items) -> dict[Property, Value]:
    """Return the properties and values of a report that was read."""
    return {cbor2.loads(property_): cbor2.loads(value) for property_, value in items.items()}


def _fields(payload: bytes) -> dict[int, tuple[int, int]]:
    return cbor.fields(payload, longest=MAX_SESSION_MESSAGE, last_label=_LAST_LABEL)


def _etag(payload: bytes, found: Mapping[int, tuple[int, int]]) -> bytes | None:
    place = found.get(SESSION_LABEL_POLICY_ETAG)
    if place is None:
        return None
    start, end = place
    if payload[start] != 0x40 | SIZE_POLICY_ETAG:
        fault = f"policy etag is no byte string of {SIZE_POLICY_ETAG} bytes"
        raise MalformedMessage(fault, offset=start, key=SESSION_LABEL_POLICY_ETAG)
    return payload[start + 1 : end]


def _items(payload: bytes, start: int, end: int) -> Items:
    """Read the properties of a report, whose encoding was checked."""
    count, at = _map_head(payload, start, SESSION_LABEL_PROPERTIES, "properties")
    if not count:
        raise MalformedMessage("no property: a refresh leaves label 1 out", offset=start, key=SESSION_LABEL_PROPERTIES)
    if count > MAX_PROPERTIES:
        raise TooLarge(f"more than {MAX_PROPERTIES} properties", offset=start, key=SESSION_LABEL_PROPERTIES)
    items: Items = {}
    for _ in range(count):
        value = _property(payload, at, SESSION_LABEL_PROPERTIES)
        after = _read_value(payload, value)
        items[payload[at:value]] = payload[value:after]
        at = after
    return items


def _map_head(payload: bytes, start: int, label: int, name: str) -> tuple[int, int]:
    """Return the number of entries and the offset of the first one."""
    if payload[start] >> 5 != cbor.MAP:
        raise MalformedMessage(f"{name}: not a map", offset=start, key=label)
    return cbor.head(payload, start)


def _number(payload: bytes, start: int, smallest: int, largest: int, label: int, name: str) -> int:
    value, _ = cbor.head(payload, start)
    if payload[start] >> 5 != cbor.UNSIGNED or not smallest <= value <= largest:
        raise MalformedMessage(f"{name} is not a number of {smallest} to {largest}", offset=start, key=label)
    return value


def _property(payload: bytes, start: int, label: int) -> int:
    """Check the property at ``start``, and return the offset behind it."""
    argument, at = cbor.head(payload, start)
    major = payload[start] >> 5
    if major == cbor.UNSIGNED and argument <= MAX_PROPERTY_NUMBER:
        return at
    if major == cbor.TEXT and 1 <= argument <= MAX_PROPERTY_NAME:
        return at + argument
    fault = f"a property is neither a number up to {MAX_PROPERTY_NUMBER} nor text of 1 to {MAX_PROPERTY_NAME} bytes"
    raise MalformedMessage(fault, offset=start, key=label)


def _read_value(payload: bytes, start: int) -> int:
    """Check the value at ``start``, and return the offset behind it."""
    argument, at = cbor.head(payload, start)
    major = payload[start] >> 5
    if major in (cbor.BYTES, cbor.TEXT):
        if argument > MAX_BYTES_VALUE:
            fault = f"a value is longer than {MAX_BYTES_VALUE} bytes"
            raise TooLarge(fault, offset=start, key=SESSION_LABEL_PROPERTIES)
        return at + argument
    if payload[start] == _NULL:
        return at
    return _scalar(payload, start, SESSION_LABEL_PROPERTIES)


def _setting(payload: bytes, start: int) -> int:
    """Check the setting of a condition at ``start``, and return the offset behind it."""
    return _scalar(payload, start, SESSION_LABEL_POLICIES)


_EXPONENTS = {0xF9: 0x1F << 10, 0xFA: 0xFF << 23, 0xFB: 0x7FF << 52}
"""The bits of a float's exponent, by its head. All are set in NaN and in infinity."""


def _scalar(payload: bytes, start: int, label: int) -> int:
    """Check the number or boolean at ``start``, and return the offset behind it."""
    argument, at = cbor.head(payload, start)
    octet = payload[start]
    if octet >> 5 in (cbor.UNSIGNED, cbor.NEGATIVE):
        if argument > MAX_INT64:
            raise MalformedMessage("an integer of more than 64 bits", offset=start, key=label)
    elif octet in _EXPONENTS:
        if argument & _EXPONENTS[octet] == _EXPONENTS[octet]:
            raise MalformedMessage("a float is NaN or infinite", offset=start, key=label)
    elif octet not in (_FALSE, _TRUE):
        raise MalformedMessage("a value is of a wrong type", offset=start, key=label)
    return at


def _map(items: Iterable[tuple[Any, bytes]]) -> bytes:
    """Return the encoding of a map from keys to encoded values, its keys in the order of their encodings."""
    encoded = sorted((cbor2.dumps(key), value) for key, value in items)
    head = _head_of_map(len(encoded))
    return head + b"".join(key + value for key, value in encoded)


def _head_of_map(count: int) -> bytes:
    return bytes([0xA0 | count]) if count < 24 else bytes([0xB8, count])


def _value(value: Value) -> bytes:
    """Return the deterministic encoding of one value: floats as short as they are exact."""
    if isinstance(value, float) and not isfinite(value):
        raise LocalError("a float is NaN or infinite")
    return cbor2.dumps(value, canonical=True)
