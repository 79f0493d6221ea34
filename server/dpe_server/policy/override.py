"""The policies that an operator sets for one device, in place of those of its rule."""

from collections.abc import Mapping
from typing import Any

from dpe_coap.session_messages import encode_policies
from dpe_server.policy.conditions import read_report
from dpe_server.policy.reporting import policies_of
from dpe_server.policy.tables import Tables
from dpe_server.policy.vocabulary import Vocabulary


def read_override(text: str, vocabulary: Vocabulary, source: str = "override.toml") -> bytes:
    """Read the policies that an operator sets for one device, and return them encoded by themselves.

    ``text`` is TOML with one table, ``report``, as a rule has it. Here it may be empty: the device reports nothing
    unasked. ``source`` names the text in the PolicyError, which holds every fault that it has.
    """
    return _read(Tables(text, source), vocabulary)


def read_override_table(report: Mapping[str, Any], vocabulary: Vocabulary, source: str = "override") -> bytes:
    """Do as ``read_override`` with a table ``report`` that was read from JSON."""
    return _read(Tables.of({"report": report}, source), vocabulary)


def _read(tables: Tables, vocabulary: Vocabulary) -> bytes:
    tables.unknown((), tables.document, ("report",))
    if "report" not in tables.document:
        tables.fault(("report",), "is missing: expected a table [report], which may be empty")
    report = read_report(tables, ("report",), tables.document.get("report", {}), vocabulary)
    tables.check()
    return encode_policies(policies_of(report))
