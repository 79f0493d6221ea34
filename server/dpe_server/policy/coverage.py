"""Which requests the rules of a policy leave to the rules after them, at a cost that hardly grows with their number.

A tree of TAC prefixes has at each node the kinds of requests that are decided whatever digits follow. A kind is a range
of versions between which no rule distinguishes, without or with an X25519 key; a set of kinds is an integer with the
bits 2k and 2k+1 for the range k. Kinds do not depend on each other: a node has one if a rule says so, or if all of its
ten children have it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import accumulate
from operator import and_, or_
from typing import Any

from dpe_coap.messages import Version
from dpe_server.policy.rules import ANY_VERSION, Rule

DIGITS = "0123456789"


def members(rules: int) -> Iterator[int]:
    """Yield the positions in a set (bit i for rule i), lowest first."""
    while rules:
        lowest = rules & -rules
        yield lowest.bit_length() - 1
        rules ^= lowest


def version_starts(rules: Iterable[Rule]) -> list[Version]:
    """Return versions, the lowest first: from one up to the next, the same rules match."""
    found = {ANY_VERSION.first}
    for rule in rules:
        found.add(rule.versions.first)
        if rule.versions.last < ANY_VERSION.last:
            found.add(_next(rule.versions.last))
    return sorted(found)


def _next(version: Version) -> Version:
    """Return the version after ``version``, which is not the last one."""
    return (
        Version(version.major + 1, 0)
        if version.minor == ANY_VERSION.last.minor
        else version._replace(minor=version.minor + 1)
    )


class Overlaps:
    """Which rules have a range that overlaps another one. ``ranges``: position of the rule, first, last (included)."""

    def __init__(self, ranges: Sequence[tuple[int, Any, Any]]) -> None:
        self._firsts, self._begun = _growing([(first, i) for i, first, _ in ranges])
        self._lasts, self._ended = _growing([(last, i) for i, _, last in ranges])

    def of(self, first: Any, last: Any) -> int:
        """Return the set of the rules whose range overlaps ``first`` to ``last``."""
        return self._begun[bisect_right(self._firsts, last)] & ~self._ended[bisect_left(self._lasts, first)]


def _growing(places: list[tuple[Any, int]]) -> tuple[list[Any], list[int]]:
    """Return the places in order, and the set of the rules at the first n of them, for each n."""
    places.sort()
    return [place for place, _ in places], list(accumulate((1 << i for _, i in places), or_, initial=0))


class _Node:
    """A TAC prefix: the kinds of requests that are decided for all TACs that begin with it."""

    __slots__ = ("children", "kinds")

    def __init__(self) -> None:
        self.kinds = 0
        self.children: dict[str, _Node] = {}

    def add(self, prefix: str, kinds: int) -> None:
        """Have ``kinds`` decided for all TACs that begin with ``prefix``."""
        way = [self]
        for digit in prefix:
            way.append(way[-1].children.setdefault(digit, _Node()))
        way.pop().kinds |= kinds
        while way and len(way[-1].children) == len(DIGITS):
            parent = way.pop()
            parent.kinds |= reduce(and_, (child.kinds for child in parent.children.values()))


_NOTHING = _Node()


def _left(nodes: Sequence[_Node], prefix: str, kinds: int) -> bool:
    """Say whether the trees together leave any of ``kinds`` of requests, for any TAC that begins with ``prefix``."""
    for digit in ("", *prefix):
        if digit:
            nodes = [node.children.get(digit, _NOTHING) for node in nodes]
        for node in nodes:
            kinds &= ~node.kinds
    if not kinds:
        return False
    # Where only one tree goes on, its node says all.
    if sum(bool(node.children) for node in nodes) < 2:
        return True
    return any(_left([node.children.get(digit, _NOTHING) for node in nodes], "", kinds) for digit in DIGITS)


class Coverage:
    """What the first rules decide. The others are added in order.

    Exact for versions, TACs and suites together; of firmware patterns it knows only that equal ones match alike, and
    that ``*`` matches all firmware. So it may miss that nothing is left, but if it says so, it is certain.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._starts = version_starts(rules)
        self._without_key = int("01" * len(self._starts), 2)
        self._plain = _Node()
        """Rules that ask for no firmware: they match requests with any, and without."""
        self._common = _Node()
        """These, and those that ask for the firmware ``*``."""
        self._own: dict[str, _Node] = {}
        """Those that ask for another pattern, by pattern."""
        self._candidates: _Candidates | None = None

    def add(self, i: int) -> None:
        """Add rule ``i``."""
        rule = self._rules[i]
        trees = [self._own.setdefault(rule.firmware, _Node())] if rule.firmware not in (None, "*") else [self._common]
        if rule.firmware is None:
            trees.append(self._plain)
        kinds = self._kinds(rule)
        for tree in trees:
            for prefix in rule.tacs or ("",):
                tree.add(prefix, kinds)

    def leaves(self, i: int) -> bool:
        """Say whether the rules so far leave anything to rule ``i``."""
        rule = self._rules[i]
        kinds = self._kinds(rule)
        trees = [self._plain] if rule.firmware is None else [self._common, self._own.get(rule.firmware, _NOTHING)]
        return any(_left(trees, prefix, kinds) for prefix in rule.tacs or ("",))

    def leaves_plainly(self, i: int, version: Version) -> bool:
        """Say whether rule ``i`` takes a request of ``version`` that names no firmware, and they leave one to it."""
        rule = self._rules[i]
        if rule.firmware is not None or not rule.versions.first <= version <= rule.versions.last:
            return False
        kinds = 0b11 << 2 * (bisect_right(self._starts, version) - 1) & self._kinds(rule)
        return any(_left([self._plain], prefix, kinds) for prefix in rule.tacs or ("",))

    def takers(self, i: int) -> list[int]:
        """Return the rules before rule ``i``, to which nothing is left, that take its requests."""
        if self._candidates is None:
            self._candidates = _Candidates(self._rules)
        rule, tree = self._rules[i], _Node()
        mine = self._kinds(rule)
        found = []
        for j in self._candidates.before(i):
            kinds = self._kinds(self._rules[j]) & mine
            prefixes = [p for p in _common(rule.tacs, self._rules[j].tacs) if _left([tree], p, kinds)]
            if prefixes:
                found.append(j)
                for prefix in prefixes:
                    tree.add(prefix, kinds)
                if not any(_left([tree], prefix, mine) for prefix in rule.tacs or ("",)):
                    break
        return found

    def _kinds(self, rule: Rule) -> int:
        first = bisect_left(self._starts, rule.versions.first)
        end = bisect_right(self._starts, rule.versions.last)
        kinds = (1 << 2 * end) - (1 << 2 * first)
        return kinds & self._without_key if rule.without_x25519_only else kinds


class _Candidates:
    """The earlier rules that may take requests of a rule: a few of many."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._versions = Overlaps([(i, rule.versions.first, rule.versions.last) for i, rule in enumerate(rules)])
        self._any_tac = 0
        self._at: dict[str, int] = {}
        """By prefix, the rules that have it."""
        self._below: dict[str, int] = {"": 0}
        """By prefix, the rules that have a longer one which begins with it."""
        self._firmwares: dict[str | None, int] = {}
        for i, rule in enumerate(rules):
            self._firmwares[rule.firmware] = self._firmwares.get(rule.firmware, 0) | 1 << i
            if not rule.tacs:
                self._any_tac |= 1 << i
            for prefix in rule.tacs:
                self._at[prefix] = self._at.get(prefix, 0) | 1 << i
                for n in range(len(prefix)):
                    self._below[prefix[:n]] = self._below.get(prefix[:n], 0) | 1 << i

    def before(self, i: int) -> Iterator[int]:
        rule = self._rules[i]
        found = self._any_tac
        for prefix in rule.tacs or ("",):
            found |= self._below.get(prefix, 0)
            for n in range(1, len(prefix) + 1):
                found |= self._at.get(prefix[:n], 0)
        firmwares = (None,) if rule.firmware is None else (None, "*", rule.firmware)
        found &= reduce(or_, (self._firmwares.get(firmware, 0) for firmware in firmwares))
        return members(found & self._versions.of(rule.versions.first, rule.versions.last) & (1 << i) - 1)


def _common(mine: tuple[str, ...], theirs: tuple[str, ...]) -> Iterable[str]:
    """Return prefixes of the TACs that two rules match."""
    if not mine or not theirs:
        return mine or theirs or ("",)
    ours, others = set(mine), set(theirs)
    longer = [p for p in theirs if any(p[:n] in ours for n in range(1, len(p) + 1))]
    return [*longer, *(p for p in mine if any(p[:n] in others for n in range(1, len(p))))]
