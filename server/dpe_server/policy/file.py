"""The policy file (TOML), read strictly: every fault is found, with its line, its key and what was expected."""

import codecs
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path as FilePath
from typing import Any

from dpe_coap.messages import Version
from dpe_server.files.toml_lines import Path
from dpe_server.policy import fields
from dpe_server.policy.conditions import read_report
from dpe_server.policy.coverage import Coverage, Overlaps, members
from dpe_server.policy.declared import read_vocabulary
from dpe_server.policy.override import read_override
from dpe_server.policy.policy import Policy
from dpe_server.policy.reporting import Reporting
from dpe_server.policy.rule_index import RuleIndex
from dpe_server.policy.rules import (
    ANY_VERSION,
    REQUESTED,
    Accept,
    Decision,
    Redirect,
    Refuse,
    RequireX25519,
    Rule,
    VersionNotSupported,
    VersionRange,
)
from dpe_server.policy.tables import Fault, PolicyError, Tables
from dpe_server.policy.vocabulary import Vocabulary

DEFAULT_POLICY = """\
# Which devices may register, and what they get. The first rule that matches decides; when none matches: refused.
# After a change: `dpe policy check`, then SIGHUP to the server.

[[rule]]
name = "DPE 1.x"
version = "1.*"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]  # one sixteenth of all Client IDs, 2^52 of them
lifetime = 604800  # 7 days, which begin anew whenever the device is heard

[rule.report]  # what such a device reports, and when; {} is at every change
battery = { st = 5, pmin = 60, pmax = 3600 }  # a change of 5 %, at most every minute; at least every hour
firmware = {}
free_memory = { pmin = 3600, pmax = 3600 }  # every hour
last_reboot = {}

[[rule]]
name = "other versions"
action = "version-not-supported"
highest = "1.0"
"""
"""What a new server starts with."""

TOP = ("allow_clear_imei", "property", "rule")
"""The keys at the top of the file."""
RULE = ("name", "version", "firmware", "tac", "action")
"""The keys of every rule."""
KEYS: Mapping[str, tuple[str, ...]] = {
    "accept": ("range", "client_id", "lifetime", "select", "report"),
    "refuse": (),
    "version-not-supported": ("highest",),
    "require-x25519": (),
    "redirect": ("server",),
}
"""By action: the keys that it takes besides ``RULE``, the first of which is required."""

_OLD_KEYS = {
    "properties": "is no longer known: name the properties to be reported in [rule.report], such as battery = {}",
    "reporting": "is no longer known: write [rule.report], with a line such as battery = { pmin = 60, pmax = 3600 } for"
    " each property; pmin is what minimum_gap was, pmax what every was",
}
_ANY_ACTION = tuple(key for keys in KEYS.values() for key in keys)


def load(path: FilePath) -> Policy:
    """Read the policy file at ``path``; PolicyError when it cannot be read or used."""
    return parse(_text_of(path), str(path))


def load_override(path: FilePath, vocabulary: Vocabulary) -> bytes:
    """Read the policies of one device from the file at ``path``, as ``read_override`` does."""
    return read_override(_text_of(path), vocabulary, str(path))


def _text_of(path: FilePath) -> str:
    """Return the text of the file at ``path``; PolicyError when it cannot be read."""
    try:
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8)  # some editors begin a text with this mark
        return text.decode()
    except OSError as error:
        fault = Fault(None, None, f"cannot be read: {error.strerror}")
        raise PolicyError(str(path), [fault], hint="check the path, and who owns it and may use it") from None
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise PolicyError(str(path), [Fault(line, None, "expected UTF-8")]) from None


def parse(text: str, source: str = "policy.toml") -> Policy:
    """Read a policy; ``source`` names it in the PolicyError, which holds every fault that the text has."""
    tables = Tables(text, source)
    reader = _Reader(tables)
    rules, allow_clear_imei = reader.read()
    tables.check()
    return Policy(rules, allow_clear_imei=allow_clear_imei, vocabulary=reader.vocabulary)


class _Reader:
    """Reads the tables of a policy, and notes there what is wrong."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._get, self._fault = tables.get, tables.fault
        self.vocabulary, self._faulty = read_vocabulary(tables)

    def read(self) -> tuple[list[Rule], bool]:
        """Return the rules and ``allow_clear_imei``, which mean nothing if there are faults."""
        document = self._tables.document
        self._tables.unknown((), document, TOP)
        allow_clear_imei = bool(self._get((), document, "allow_clear_imei", fields.boolean))
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._fault(("rule",), "expected tables that begin with [[rule]]")
            return [], False
        if not tables:
            self._fault(("rule",), "expected at least one [[rule]]; to refuse every device, write one that does")
        found = [self._rule(i, table) for i, table in enumerate(tables)]
        rules = [rule for rule in found if rule is not None]
        self._distinct_names(found)
        if not self._tables.faults:
            self._together(rules)
        return rules, allow_clear_imei

    def _rule(self, i: int, table: Mapping[str, Any]) -> Rule | None:
        """Read one rule by itself; None when it has a fault."""
        faults, path = len(self._tables.faults), ("rule", i)
        self._tables.unknown(path, table, (*RULE, *_ANY_ACTION), _OLD_KEYS)
        name = self._get(path, table, "name", fields.rule_name) or f"rule {i + 1}"
        versions = self._get(path, table, "version", fields.version_range) if "version" in table else ANY_VERSION
        firmware = self._get(path, table, "firmware", fields.firmware)
        tacs = self._get(path, table, "tac", fields.tacs) or ()
        action = self._get(path, table, "action", fields.one_of(*KEYS))
        if action is None:
            if "action" not in table:
                self._fault((*path, "action"), "is missing; expected one of " + ", ".join(KEYS))
            return None
        for key in KEYS[action][:1]:
            if key not in table:
                self._fault((*path, key), f'is missing: action "{action}" needs it')
        for key in (key for key in table if key in _ANY_ACTION and key not in KEYS[action]):
            taker = next(action for action, keys in KEYS.items() if key in keys)
            self._fault((*path, key), f'has no effect with action "{action}", only with "{taker}"')
        decision = self._decision(action, path, table, name, versions)
        if versions is None or len(self._tables.faults) > faults:
            return None
        return Rule(name, self._tables.lines[path], versions, firmware, tacs, decision)

    def _decision(
        self, action: str, path: Path, table: Mapping[str, Any], name: str, versions: VersionRange | None
    ) -> Decision:
        """Read the keys of ``action``; what is missing or faulty leaves a placeholder."""
        match action:
            case "refuse":
                return Refuse(name)
            case "require-x25519":
                return RequireX25519(name)
            case "version-not-supported":
                return VersionNotSupported(name, self._get(path, table, "highest", fields.version) or REQUESTED)
            case "redirect":
                return Redirect(name, self._get(path, table, "server", fields.server_uri) or "")
        first, last = self._get(path, table, "range", fields.client_ids) or (0, 0)
        stable = self._get(path, table, "client_id", fields.one_of("fresh", "stable")) == "stable"
        lifetime = self._get(path, table, "lifetime", fields.lifetime)
        selected = self._selected(path, table, versions) or REQUESTED
        return Accept(name, first, last, stable, lifetime, selected, self._report(path, table))

    def _selected(self, path: Path, table: Mapping[str, Any], versions: VersionRange | None) -> Version | None:
        """Read ``select``. A device that asks for a version is assumed to know the older ones too."""
        selected = self._get(path, table, "select", fields.version)
        if selected is None or versions is None:
            return selected
        if selected > versions.first:
            self._fault(
                (*path, "select"), f"expected a version not above {versions.first}, the lowest that the rule accepts"
            )
        elif versions.first == versions.last == selected:
            self._fault((*path, "select"), "has no effect: the rule accepts no other version")
        return selected

    def _report(self, path: Path, table: Mapping[str, Any]) -> Reporting:
        if "report" not in table:
            return ()
        path = (*path, "report")
        if table["report"] == {}:
            self._fault(path, "expected properties, such as battery = {}; without this table, nothing is reported")
            return ()
        return read_report(self._tables, path, table["report"], self.vocabulary, self._faulty)

    def _distinct_names(self, rules: Sequence[Rule | None]) -> None:
        holders: dict[str, Rule] = {}
        for i, rule in enumerate(rules):
            if rule is not None and (holder := holders.setdefault(rule.name, rule)) is not rule:
                self._fault(("rule", i, "name"), f"expected another name: the rule of line {holder.line} has it")

    def _together(self, rules: Sequence[Rule]) -> None:
        """Find what is wrong between rules that are right by themselves."""
        accepts = [(i, rule.decision) for i, rule in enumerate(rules) if isinstance(rule.decision, Accept)]
        self._ranges_apart(rules, accepts)
        accepting = reduce(or_, (1 << i for i, _ in accepts), 0)
        index, coverage = RuleIndex(rules), Coverage(rules)
        for i, rule in enumerate(rules):
            if isinstance(rule.decision, VersionNotSupported):
                highest = rule.decision.highest
                if not index.of_version(highest) & accepting:
                    self._fault(("rule", i, "highest"), f"expected a version that a rule accepts, found {highest}")
                elif coverage.leaves_plainly(i, highest):
                    message = f"expected a version that this rule does not turn away itself, found {highest}"
                    self._fault(("rule", i, "highest"), message)
            if not coverage.leaves(i):
                takers = _named([rules[j] for j in coverage.takers(i)])
                self._fault(("rule", i), f'rule "{rule.name}" can never decide: {takers} decides all it asks for')
            coverage.add(i)

    def _ranges_apart(self, rules: Sequence[Rule], accepts: Sequence[tuple[int, Accept]]) -> None:
        overlaps = Overlaps([(i, accept.first, accept.last) for i, accept in accepts])
        same: dict[tuple[int, int], int] = {}
        for i, accept in accepts:
            mine = (accept.first, accept.last)
            clash = next(members(overlaps.of(*mine) & (1 << i) - 1 & ~same.get(mine, 0)), None)
            same[mine] = same.get(mine, 0) | 1 << i
            if clash is not None:
                message = (
                    f"overlaps the range of {_named([rules[clash]])}: expected the very same, or one apart from it"
                )
                self._fault(("rule", i, "range"), message)


def _named(rules: Iterable[Rule]) -> str:
    """Name rules with their lines."""
    return " with ".join(f'rule "{rule.name}" (line {rule.line})' for rule in rules)
