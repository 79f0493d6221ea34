"""The first rule that matches a request, at a cost that hardly grows with the number of rules.

A set of rules is an integer with bit i for rule i. Which rules each TAC prefix, version, firmware pattern and suite
allows is worked out beforehand. The rules that all four allow are the ``&`` of the sets, and the first is its lowest
bit.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fnmatch import translate
from functools import lru_cache, reduce
from operator import or_

from dpe_coap.imei import TAC_DIGITS
from dpe_coap.messages import Version
from dpe_server.policy.rules import ANY_VERSION, Rule, Traits

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
        after = (_next(rule.versions.last) for rule in rules if rule.versions.last < ANY_VERSION.last)
        self._starts = sorted({ANY_VERSION.first, *(rule.versions.first for rule in rules), *after})
        self._versions = [
            _set(rule.versions.first <= start <= rule.versions.last for rule in rules) for start in self._starts
        ]

        self._any_firmware = _set(rule.firmware is None for rule in rules)
        patterns = {rule.firmware for rule in rules if rule.firmware is not None}
        self._patterns = [
            (re.compile(translate(pattern)).match, _set(rule.firmware == pattern for rule in rules))
            for pattern in sorted(patterns)
        ]
        self._of_firmware = lru_cache(FIRMWARES)(self._match_firmware)
        self._any_suite = _set(True for _ in rules)
        self._with_x25519 = _set(not rule.without_x25519_only for rule in rules)

    def first(self, traits: Traits) -> int | None:
        """Return the position of the first rule that matches; None when none does."""
        version, firmware, tac, x25519 = traits
        found = (
            self._of_tac(tac)
            & self._versions[bisect_right(self._starts, version) - 1]
            & (self._any_firmware if firmware is None else self._of_firmware(firmware))
            & (self._with_x25519 if x25519 else self._any_suite)
        )
        return next(_members(found), None)

    def _of_tac(self, tac: str) -> int:
        found = self._any_tac
        for length in self._lengths:
            found |= self._tacs.get(tac[:length], 0)
        return found

    def _match_firmware(self, firmware: str) -> int:
        return reduce(or_, (rules for match, rules in self._patterns if match(firmware)), self._any_firmware)

    def decides_plainly(self, i: int, version: Version) -> bool:
        """Whether rule ``i`` surely decides a request of ``version`` that names no firmware."""
        return any(
            self.first(Traits(version, None, tac, x25519)) == i
            for tac in self._every_kind_of_tac()
            for x25519 in (False, True)
        )

    def unreachable(self) -> Iterator[tuple[int, list[int]]]:
        """Yield each rule that can never decide, with the earlier rules that take all its requests.

        Exact for versions, TACs and suites together; of firmware patterns it knows only that equal ones match alike,
        and that ``*`` matches all firmware. So it may miss a rule, but what it names is certain.
        """
        tacs = {self._of_tac(tac) for tac in self._every_kind_of_tac()}
        kinds = {
            of_tac & of_version & of_suite
            for of_tac in tacs
            for of_version in self._versions
            for of_suite in (self._any_suite, self._with_x25519)
        }
        for i, rule in enumerate(self._rules):
            above = _set(
                earlier.firmware is None
                or earlier.firmware == rule.firmware
                or (earlier.firmware == "*" and rule.firmware is not None)
                for earlier in self._rules[:i]
            )
            mine = [kind & above for kind in kinds if kind >> i & 1]
            if all(mine):
                yield i, sorted({next(_members(kind)) for kind in mine})

    def _every_kind_of_tac(self) -> list[str]:
        """Return one TAC of each kind. Two TACs are of one kind if the same prefixes in the rules match both."""
        inner = {prefix[:n] for prefix in self._tacs for n in range(len(prefix))}

        def outside_longer(start: str) -> str | None:
            """Return a TAC that begins with ``start`` and with no longer prefix of a rule, if there is one."""
            if start not in inner:
                return start.ljust(TAC_DIGITS, "0")
            longer = (start + digit for digit in "0123456789" if start + digit not in self._tacs)
            return next(filter(None, map(outside_longer, longer)), None)

        return [tac for tac in map(outside_longer, sorted({"", *self._tacs})) if tac is not None]


def _set(members: Iterator[bool]) -> int:
    """Return the set of the positions at which ``members`` is true."""
    return sum(1 << i for i, member in enumerate(members) if member)


def _members(rules: int) -> Iterator[int]:
    """Yield the positions in a set, lowest first."""
    while rules:
        lowest = rules & -rules
        yield lowest.bit_length() - 1
        rules ^= lowest


def _next(version: Version) -> Version:
    """Return the version after ``version``, which is not the last one."""
    return (
        Version(version.major + 1, 0)
        if version.minor == ANY_VERSION.last.minor
        else version._replace(minor=version.minor + 1)
    )
