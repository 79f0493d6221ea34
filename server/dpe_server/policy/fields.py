"""The values of a policy file: each function takes what TOML gave and returns what it means, or raises BadValue."""

import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from dpe_coap.errors import LocalError
from dpe_coap.imei import DIGITS as IMEI_DIGITS
from dpe_coap.imei import TAC_DIGITS
from dpe_coap.messages import Version
from dpe_coap.numbers import (
    MAX_FIRMWARE,
    MAX_INT64,
    MAX_LIFETIME,
    MAX_SECONDS,
    MAX_VERSION_PART,
    MIN_INT64,
    MIN_LIFETIME,
    SIZE_CLIENT_ID,
)
from dpe_server.files.shown import shown_value
from dpe_server.files.uris import uri_fault
from dpe_server.policy.rules import VersionRange

MAX_NAME = 64
"""Characters of a rule's name."""

_CLIENT_ID = re.compile(f"[0-9A-Fa-f]{{{2 * SIZE_CLIENT_ID}}}")
_TAC = re.compile(f"[0-9]{{1,{TAC_DIGITS}}}")
_BRACKETS = re.compile(r"\[!?(\]?[^\]]*)(\]?)")


class BadValue(Exception):
    """A value is not what its key takes; ``within`` leads to the item at fault, inside a list."""

    def __init__(self, message: str, *within: int) -> None:
        super().__init__(message)
        self.within = within


def _wrong(expected: str, value: object, *within: int) -> BadValue:
    return BadValue(f"expected {expected}, found {shown_value(value)}", *within)


def boolean(value: object) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return value


def seconds(value: object) -> int:
    """Take whole seconds, from 1 to what a message can carry."""
    if type(value) is not int or not 1 <= value <= MAX_SECONDS:
        raise _wrong(f"a whole number of seconds from 1 to {MAX_SECONDS}", value)
    return value


def lifetime(value: object) -> int:
    """Take the seconds that a DPE session lives."""
    if type(value) is not int or not MIN_LIFETIME <= value <= MAX_LIFETIME:
        raise _wrong(f"a whole number of seconds from {MIN_LIFETIME} to {MAX_LIFETIME}", value)
    return value


def number(value: object) -> int | float:
    """Take a number that a message can carry."""
    if type(value) is float and isfinite(value):
        return value
    if type(value) is not int or not MIN_INT64 <= value <= MAX_INT64:
        raise _wrong("a number", value)
    return value


def integer(value: object) -> int:
    """Take an integer that a message can carry."""
    if type(value) is not int or not MIN_INT64 <= value <= MAX_INT64:
        raise _wrong("an integer", value)
    return value


def only(word: bool) -> Callable[[object], bool]:
    """Take ``word``: the other one would say the same as no key."""

    def take(value: object) -> bool:
        if value is not word:
            raise _wrong(f"{shown_value(word)}, or no such key", value)
        return word

    return take


def one_of(*words: str) -> Callable[[object], str]:
    """Take one of ``words``."""

    def take(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise _wrong("one of " + ", ".join(f'"{word}"' for word in words), value)
        return value

    return take


def rule_name(value: object) -> str:
    """Take the name of a rule. It stands in the audit log, so it must not be able to hold an IMEI."""
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value) <= MAX_NAME:
        raise BadValue(f"expected a name of 1 to {MAX_NAME} printable characters")
    if sum(character.isdigit() for character in value) >= IMEI_DIGITS:
        raise BadValue(f"expected fewer than {IMEI_DIGITS} digits: names are logged, and an IMEI must not be")
    if value == "default":
        raise BadValue('expected another name: "default" is what decides when no rule matches')
    return value


def version(value: object) -> Version:
    """Take ``"1.0"``."""
    try:
        return Version.parse(value if isinstance(value, str) else "")
    except LocalError:
        raise _wrong('a version, such as "1.0"', value) from None


def version_range(value: object) -> VersionRange:
    """Take ``"1.0"``, ``"1.*"`` or ``"1.0-1.3"``."""
    text = value if isinstance(value, str) else ""
    first, dash, last = text.partition("-")
    if not dash:
        major = text.removesuffix(".*")
        first, last = (text, text) if major == text else (f"{major}.0", f"{major}.{MAX_VERSION_PART}")
    try:
        found = VersionRange(Version.parse(first), Version.parse(last))
    except LocalError:
        raise _wrong('versions, as "1.0", "1.*" or "1.0-1.3"', value) from None
    if found.first > found.last:
        raise _wrong('the lower version first, as in "1.0-1.3"', value)
    return found


def firmware(value: object) -> str:
    """Take a shell pattern that some firmware of at most 32 bytes can match."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _wrong('a shell pattern, such as "4.*"', value)
    for body, closed in _BRACKETS.findall(value):
        if not closed:
            raise _wrong('a "]" for each "[" (the character itself is "[[]")', value)
        if any(low > high for low, high in re.findall("(.)-(.)", body)):
            raise _wrong('the lower character first in brackets, as in "[0-9]"', value)
    shortest = re.sub(r"\*+", "", _BRACKETS.sub("?", value))
    if len(shortest.encode()) > MAX_FIRMWARE:
        raise BadValue(f"expected a pattern that a firmware of at most {MAX_FIRMWARE} bytes can match")
    return value


def tacs(value: object) -> tuple[str, ...]:
    """Take prefixes of TACs, none of which begins another. What is not a TAC is not shown: it may be an IMEI."""
    found: dict[str, None] = {}
    for i, item in enumerate(_items(value, 'a list of TAC prefixes, such as ["35209900", "3520"]')):
        if not isinstance(item, str) or not _TAC.fullmatch(item):
            raise BadValue(f'expected 1 to {TAC_DIGITS} digits in quotes, such as "3520"', i)
        if item in found:
            raise BadValue(f"{item} is there twice", i)
        found[item] = None
    for i, item in enumerate(found):
        for n in range(1, len(item)):
            if item[:n] in found:
                raise BadValue(f"{item} has no effect: {item[:n]} covers it", i)
    return tuple(found)


def client_ids(value: object) -> tuple[int, int]:
    """Take the first and the last Client ID."""
    items = _items(value, f"the first and the last Client ID, {2 * SIZE_CLIENT_ID} hex digits each")
    if len(items) != 2:
        raise _wrong("two Client IDs, the first and the last", value)
    for i, item in enumerate(items):
        if not isinstance(item, str) or not _CLIENT_ID.fullmatch(item):
            raise _wrong(f"a Client ID of {2 * SIZE_CLIENT_ID} hex digits in quotes", item, i)
    first, last = (int(item, 16) for item in items)
    if first > last:
        raise BadValue("expected the lower Client ID first")
    return first, last


def server_uri(value: object) -> str:
    """Take the URI of another server."""
    if fault := uri_fault(value):
        raise BadValue(f"{fault}, found {shown_value(value)}")
    return str(value)


def _items(value: object, expected: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise BadValue(f"expected {expected}")
    if not value:
        raise BadValue(f"expected {expected}, found an empty list")
    return value
