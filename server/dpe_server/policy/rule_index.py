"""The first rule that matches a request, at a cost that hardly grows with the number of rules.

A set of rules is an integer with bit i for rule i. Which rules each TAC prefix, version, firmware pattern and suite
allows is worked out beforehand. The rules that all four allow are the ``&`` of the sets, and the first is its lowest
bit.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache, reduce
from operator import or_

from dpe_coap.messages import Version
from dpe_server.policy.coverage import Overlaps, members, version_starts
from dpe_server.policy.rules import Rule, Traits

FIRMWARES = 1_024
"""The most firmware texts whose matching patterns are remembered: more than a fleet runs at a time."""


class RuleIndex:
    """An index of ``rules``, which stay as they are."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._any_tac = _set(not rule.tacs for rule in rules)
        self._tacs: dict[str, int] = {}
        for i, rule in enumerate(rules):
            for prefix in rule.tacs:
                self._tacs[prefix] = self._tacs.get(prefix, 0) | 1 << i
        self._lengths = sorted({len(prefix) for prefix in self._tacs})

        # Between two neighbours of these versions the same rules match.
        self._starts = version_starts(rules)
        overlaps = Overlaps([(i, rule.versions.first, rule.versions.last) for i, rule in enumerate(rules)])
        self._versions = [overlaps.of(start, start) for start in self._starts]

        self._any_firmware = _set(rule.firmware is None for rule in rules)
        patterns: dict[str, int] = {}
        for i, rule in enumerate(rules):
            if rule.firmware is not None:
                patterns[rule.firmware] = patterns.get(rule.firmware, 0) | 1 << i
        self._patterns = [(re.compile(translate(pattern)).match, found) for pattern, found in patterns.items()]
        self._of_firmware = lru_cache(FIRMWARES)(self._match_firmware)
        self._any_suite = _set(True for _ in rules)
        self._with_x25519 = _set(not rule.without_x25519_only for rule in rules)

    def first(self, traits: Traits) -> int | None:
        """Return the position of the first rule that matches; None when none does."""
        version, firmware, tac, x25519 = traits
        found = (
            self._of_tac(tac)
            & self.of_version(version)
            & (self._any_firmware if firmware is None else self._of_firmware(firmware))
            & (self._with_x25519 if x25519 else self._any_suite)
        )
        return next(members(found), None)

    def of_version(self, version: Version) -> int:
        """Return the set of the rules that match a version."""
        return self._versions[bisect_right(self._starts, version) - 1]

    def _of_tac(self, tac: str) -> int:
        found = self._any_tac
        for length in self._lengths:
            found |= self._tacs.get(tac[:length], 0)
        return found

    def _match_firmware(self, firmware: str) -> int:
        return reduce(or_, (rules for match, rules in self._patterns if match(firmware)), self._any_firmware)


def _set(are_members: Iterable[bool]) -> int:
    """Return the set of the positions at which ``are_members`` is true."""
    return reduce(or_, (1 << i for i, is_member in enumerate(are_members) if is_member), 0)
