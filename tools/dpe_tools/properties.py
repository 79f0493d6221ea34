"""Properties and their values, as people write them and as commands show them."""

import json
from collections.abc import Iterable, Mapping

import click

from dpe_coap.errors import LocalError
from dpe_coap.session_messages import Property, Value, encode_report
from dpe_server.files.shown import shown_key, shown_value
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.properties import shown
from dpe_server.policy import Policy, PolicyError, load
from dpe_server.policy.vocabulary import Vocabulary


def policy_of(opened: StateDir) -> Policy | None:
    """Return the policy of a state directory. If it has a fault, say so on standard error, and return None."""
    try:
        return load(opened.policy_path)
    except PolicyError as error:
        click.echo(f"dpe: warning: {error}", err=True)
        return None


def vocabulary_of(opened: StateDir) -> Vocabulary:
    """Return the properties that the policy of a state directory knows; if it has a fault, only those of the field."""
    policy = policy_of(opened)
    return Vocabulary() if policy is None else policy.vocabulary


def read(words: Iterable[str], vocabulary: Vocabulary) -> dict[Property, Value]:
    """Read ``NAME=VALUE`` words. BadParameter says which one is wrong, and what was expected.

    Of a property that the vocabulary knows, the value is what it says. Else it is JSON (``true``, ``12``, ``1.5``,
    ``"text"``), or ``h'…'`` for bytes. ``null`` takes a property away.
    """
    found: dict[Property, Value] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, such as battery=86, found {word!r}")
        try:
            wire = vocabulary.wire_of(name)
            entry = vocabulary.on_wire(wire)
            value = _json(shown_key(name), text) if entry is None else entry.read(text)
            encode_report({wire: value})
        except LocalError as error:
            raise click.BadParameter(f"{error} ({error.hint})" if error.hint else str(error)) from None
        if wire in found:
            raise click.BadParameter(f"{vocabulary.name_of(wire)} is there twice")
        found[wire] = value
    return found


def _json(name: str, text: str) -> Value:
    """Read the value of a property that nothing is known of."""
    try:
        if text.startswith("h'") and text.endswith("'"):
            return bytes.fromhex(text[2:-1])
        value = json.loads(text)
        if isinstance(value, str):
            value.encode()  # half of a surrogate pair has no UTF-8
        if isinstance(value, bool | int | float | str | None):
            return value
    except (ValueError, RecursionError):
        pass
    raise LocalError(
        f"{name}: not a value: {shown_value(text)}",
        hint="""write true, 12, 1.5, '"text"', "h'0102'" for bytes, or null""",
    )


def in_words(properties: Mapping[Property, Value], vocabulary: Vocabulary) -> str:
    """Return properties on one line: ``battery 86 %, firmware 4.2``."""
    return ", ".join(
        f"{vocabulary.name_of(wire)} {shown(wire, value, vocabulary)}" for wire, value in properties.items()
    )
