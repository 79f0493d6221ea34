"""Which rule decides: the index against an oracle that reads the rules one by one, and the explanation against both."""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.messages import Version
from dpe_server.policy import Accept, Decision, Policy, PolicyError, Step, Traits, describe, parse

VERSIONS = ["0.0", "0.255", "1.0", "1.1", "1.255", "2.0", "255.255"]
TACS = ["0", "1", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "35209900", "352"]
PATTERNS = ["*", "4.*", "4.?", "[!4]*", "4.1"]

# Between them these meet every way in which rules from the lists above can differ.
EVERY_VERSION = [Version.parse(text) for text in [*VERSIONS, "0.1", "0.254", "1.2", "1.254", "2.1", "255.254"]]
EVERY_TAC = [*(f"1{d}345678" for d in range(10)), "00000000", "20000000", "35209900", "35209901", "35300000"]
EVERY_FIRMWARE = [None, "4.1", "4.23", "4.x", "5", "4"]


@st.composite
def rules(draw: st.DrawFn, *, patterns: bool = True) -> dict[str, Any]:
    """One rule as TOML would give it. Its name says nothing, so that none is there twice."""
    rule: dict[str, Any] = {"action": draw(st.sampled_from(["accept", "refuse", "require-x25519"]))}
    if draw(st.booleans()):
        first, last = sorted(draw(st.tuples(st.sampled_from(EVERY_VERSION), st.sampled_from(EVERY_VERSION))))
        rule["version"] = f"{first}-{last}"
    if draw(st.booleans()):
        found = draw(st.lists(st.sampled_from(TACS), min_size=1, max_size=11, unique=True))
        rule["tac"] = [tac for tac in found if not any(tac != other and tac.startswith(other) for other in found)]
    if patterns and draw(st.booleans()):
        rule["firmware"] = draw(st.sampled_from(PATTERNS))
    if rule["action"] == "accept":
        rule["range"] = ["00000000000000", "ffffffffffffff"]
    return rule


def render(rules: list[dict[str, Any]]) -> str:
    return "".join(
        "[[rule]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rule.items()) for rule in rules
    )


def matches(rule: dict[str, Any], version: Version, firmware: str | None, tac: str, x25519: bool) -> bool:
    """The oracle: read the page of the policy file, not the code."""
    first, last = rule.get("version", "0.0-255.255").split("-")
    return (
        [int(part) for part in first.split(".")] <= list(version) <= [int(part) for part in last.split(".")]
        and ("firmware" not in rule or (firmware is not None and fnmatchcase(firmware, rule["firmware"])))
        and ("tac" not in rule or any(tac[: len(prefix)] == prefix for prefix in rule["tac"]))
        and not (rule["action"] == "require-x25519" and x25519)
    )


def parse_reachable(rules: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Policy | None]:
    """Parse the rules without those that the parser finds unreachable."""
    try:
        return rules, parse(render(rules))
    except PolicyError as error:
        lines = [n for n, line in enumerate(render(rules).splitlines(), 1) if line == "[[rule]]"]
        assert all("can never decide" in message for _, _, message in error.faults)
        dead = {fault.line for fault in error.faults}
        left = [rule for rule, line in zip(rules, lines, strict=True) if line not in dead]
        return left, parse(render(left))


@given(
    st.lists(rules(), min_size=1, max_size=8),
    st.lists(
        st.tuples(
            st.sampled_from(EVERY_VERSION) | st.builds(Version, st.integers(0, 255), st.integers(0, 255)),
            st.sampled_from(EVERY_FIRMWARE) | st.text(min_size=1, max_size=32),
            st.sampled_from(EVERY_TAC) | st.text("0123456789", min_size=8, max_size=8),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_decides_and_explains_as_the_rules_read(
    given_rules: list[dict[str, Any]], requests: list[tuple[Version, str | None, str, bool]]
) -> None:
    left, policy = parse_reachable(given_rules)
    assert policy is not None
    for request in requests:
        found = next((i for i, rule in enumerate(left) if matches(rule, *request)), None)
        decision = policy.decide(Traits(*request))
        assert decision.rule == ("default" if found is None else f"rule {found + 1}")

        *before, last = policy.explain(Traits(*request))
        assert (last.rule, last.matched) == (decision.rule, True)
        assert last.why.endswith(describe(decision))
        assert [(step.rule, step.matched) for step in before] == [
            (f"rule {i + 1}", False) for i in range(len(left) if found is None else found)
        ]
        assert all(step.why for step in before)


def deciders(rules: list[dict[str, Any]], firmwares: list[str | None]) -> Iterator[int | None]:
    for request in product(EVERY_VERSION, firmwares, EVERY_TAC, [False, True]):
        yield next((i for i, rule in enumerate(rules) if matches(rule, *request)), None)


def unreachable(rules: list[dict[str, Any]]) -> set[int]:
    try:
        parse(render(rules))
    except PolicyError as error:
        headers = [n for n, line in enumerate(render(rules).splitlines(), 1) if line == "[[rule]]"]
        return {headers.index(fault.line) for fault in error.faults if fault.line is not None}
    return set()


@given(st.lists(rules(patterns=False), min_size=2, max_size=6))
def test_unreachable_rules_are_exactly_those_that_never_decide(given_rules: list[dict[str, Any]]) -> None:
    assert unreachable(given_rules) == set(range(len(given_rules))) - set(deciders(given_rules, [None]))


@given(st.lists(rules(), min_size=2, max_size=5))
def test_no_rule_that_decides_is_called_unreachable(given_rules: list[dict[str, Any]]) -> None:
    assert not unreachable(given_rules) & set(deciders(given_rules, EVERY_FIRMWARE))


POLICY = """\
[[rule]]
name = "old handsets"
version = "1.0"
firmware = "3.*"
tac = ["1", "2", "3", "4", "5", "6"]
action = "refuse"
[[rule]]
name = "strong suite"
tac = ["3520"]
action = "require-x25519"
[[rule]]
name = "handsets"
version = "1.0-1.3"
tac = ["3520", "99"]
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 60
[rule.report]
battery = { pmin = 60, pmax = 3600 }
display = {}
[[rule]]
version = "2.0"
action = "redirect"
server = "coap://two.example"
[[rule]]
version = "3.0-255.255"
action = "version-not-supported"
highest = "1.3"
"""


def explain(version: str, firmware: str | None, tac: str, x25519: bool = False) -> list[Step]:
    return parse(POLICY).explain(Traits(Version.parse(version), firmware, tac, x25519))


def test_why_a_rule_does_not_match() -> None:
    assert explain("1.1", "4.0", "99000000") == [
        Step(
            "old handsets",
            1,
            False,
            "version 1.1 is not 1.0; firmware '4.0' does not match \"3.*\"; "
            "TAC 99000000 does not begin with 1, 2, 3, 4 or 2 more",
        ),
        Step("strong suite", 7, False, "TAC 99000000 does not begin with 3520"),
        Step(
            "handsets",
            11,
            True,
            "matches version 1.0-1.3, TAC 3520, 99: accept, DPE version 1.1; fresh Client ID from 10000000000000 to "
            "1fffffffffffff; session of 60 s; reports of battery, display",
            (
                "battery (%): when it changes, at most every 60 s, at least every 3600 s",
                "display: when it changes",
            ),
        ),
    ]
    assert explain("1.0", None, "35200000", x25519=True)[:2] == [
        Step("old handsets", 1, False, 'the device sends no firmware, and the rule asks for "3.*"'),
        Step("strong suite", 7, False, "the request has the X25519 key that the rule demands"),
    ]


@pytest.mark.parametrize(
    ("version", "tac", "expected"),
    [
        (
            "1.0",
            "35200000",
            Step(
                "strong suite",
                7,
                True,
                "matches TAC 3520, no X25519 key: suite too weak: the device shall ask again with an X25519 key",
            ),
        ),
        ("2.0", "00000000", Step("rule 4", 21, True, "matches version 2.0: redirect to coap://two.example")),
        (
            "3.0",
            "00000000",
            Step("rule 5", 25, True, "matches version 3.0-255.255: version not supported; the highest is 1.3"),
        ),
        ("1.0", "00000000", Step("default", None, True, "no rule matches: refuse")),
    ],
)
def test_what_decides(version: str, tac: str, expected: Step) -> None:
    assert explain(version, None, tac)[-1] == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", "accept, DPE version as requested; fresh Client ID from 00000000000000 to 00000000000001; "),
        ('select = "0.0"\n', "accept, DPE version 0.0; fresh Client ID from 00000000000000 to 00000000000001; "),
        ('client_id = "stable"\n', "accept, DPE version as requested; stable Client ID from 00000000000000 to "),
    ],
)
def test_description_of_a_rule(keys: str, expected: str) -> None:
    policy = parse('[[rule]]\naction = "accept"\nrange = ["00000000000000", "00000000000001"]\n' + keys)
    assert describe(policy.rules[0].decision).startswith(expected)
    assert policy.explain(Traits(Version(1, 0), None, "00000000", False))[0].why.startswith(
        "matches every request: accept"
    )


def test_many_rules_and_many_versions_stay_right() -> None:
    """More decisions than are remembered, each with the version that was asked for."""
    text = "".join(
        f'[[rule]]\ntac = ["{n:02}"]\naction = "accept"\nrange = ["00000000000000", "00000000000001"]\n'
        for n in range(20)
    )
    policy = parse(text)
    for n, minor in product(range(20), range(256)):
        decision: Decision = policy.decide(Traits(Version(7, minor), f"{minor}", f"{n:02}000000", False))
        assert isinstance(decision, Accept)
        assert (decision.rule, decision.selected) == (f"rule {n + 1}", Version(7, minor))
