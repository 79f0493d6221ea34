"""The policy file: what every key means, and the faults that lie between its rules."""

from pathlib import Path

import pytest

from dpe_coap.messages import Version
from dpe_server.policy import (
    DEFAULT_POLICY,
    Accept,
    PolicyError,
    Redirect,
    Refuse,
    RequireX25519,
    Traits,
    VersionNotSupported,
    load,
    parse,
)
from dpe_server.policy.reporting import ReportingPolicy
from dpe_server.policy.vocabulary import FIELD, Entry, Type
from tests.server.policy.faults import ACCEPT, faults

WHOLE = """\
allow_clear_imei = true
[property."prf:Display.Size"]
wire = 40
type = "integer"
[[rule]]
name = "withdrawn model"
tac = ["01234567"]
action = "refuse"
[[rule]]
firmware = "old-?.[0-3]*"
action = "require-x25519"
[[rule]]
name = "lab"
tac = ["001"]
version = "1.1"
action = "redirect"
server = "coap://[::1]:5684"
[[rule]]
name = "handsets"
version = "1.0-1.3"
action = "accept"
range = ["10000000000000", "1fffffffffffFF"]
client_id = "stable"
lifetime = 86400
select = "1.0"
[rule.report]
battery = { pmin = 60, pmax = 3600, gt = 80, lt = 20.5, st = 5, band = true, roaming = false }
"prf:Display.Size" = {}
roaming = { edge = true }
[[rule]]
version = "2.*"
action = "accept"
range = ["20000000000000", "20000000000000"]
[[rule]]
action = "version-not-supported"
highest = "2.0"
"""


def test_whole_file() -> None:
    policy = parse(WHOLE)
    assert policy.allow_clear_imei is True
    assert policy.decide(Traits(Version(1, 0), None, "01234567", False)) == Refuse("withdrawn model")
    assert policy.decide(Traits(Version(9, 9), "old-1.2.9", "35209900", False)) == RequireX25519("rule 2")
    assert policy.decide(Traits(Version(1, 1), None, "00123456", False)) == Redirect("lab", "coap://[::1]:5684")
    assert policy.decide(Traits(Version(1, 3), "old-1.2.9", "35209900", True)) == Accept(
        rule="handsets",
        first=0x10000000000000,
        last=0x1FFFFFFFFFFFFF,
        stable=True,
        lifetime=86400,
        selected=Version(1, 0),
        reporting=(
            ReportingPolicy(FIELD[0], {0: 60, 1: 3600, 2: 80, 3: 20.5, 4: 5, 5: True, 16: False}),
            ReportingPolicy(Entry("prf:Display.Size", 40, Type.INTEGER), {}),
            ReportingPolicy(FIELD[2], {6: True}),
        ),
    )
    assert policy.decide(Traits(Version(2, 7), "Old-1.2", "35209900", False)) == Accept(
        rule="rule 5",
        first=0x20000000000000,
        last=0x20000000000000,
        stable=False,
        lifetime=None,
        selected=Version(2, 7),
        reporting=(),
    )
    assert policy.decide(Traits(Version(3, 0), None, "35209900", False)) == VersionNotSupported("rule 6", Version(2, 0))
    assert [rule.line for rule in policy.rules] == [5, 9, 12, 18, 30, 34]


def test_other_ways_to_write_toml() -> None:
    text = 'rule = [\n {action = "accept", range = ["00000000000000",\n "00000000000001"],'
    policy = parse(text + ' "report".signal.pmin = 5},\n]')
    assert policy.decide(Traits(Version(0, 0), None, "00000000", False)).rule == "rule 1"
    with pytest.raises(PolicyError) as caught:
        parse(text + " report.signal.pmin = 0},\n]")
    assert (caught.value.line, caught.value.key) == (3, "report.signal.pmin")


def test_default_policy() -> None:
    policy = parse(DEFAULT_POLICY)
    assert not policy.allow_clear_imei
    for minor in (0, 255):
        accept = policy.decide(Traits(Version(1, minor), None, "35209900", False))
        assert isinstance(accept, Accept)
        assert (accept.selected, accept.lifetime) == (Version(1, minor), 7 * 24 * 3600)
        assert [str(policy) for policy in accept.reporting] == [
            "battery (%): when it changes by 5 or more, at most every 60 s, at least every 3600 s",
            "firmware: when it changes",
            "free_memory (bytes): every 3600 s",
            "last_reboot (Unix s): when it changes",
        ]
        assert accept.last - accept.first + 1 == 1 << 52
    for version in (Version(0, 255), Version(2, 0)):
        refused = policy.decide(Traits(version, "x", "35209900", True))
        assert refused == VersionNotSupported("other versions", Version(1, 0))


REFUSE = '[[rule]]\naction = "refuse"\n'

# A whole text, and its faults.
WHOLE_FILES: dict[str, tuple[str, list[tuple[int | None, str | None, str]]]] = {
    "empty": ("", [(None, "rule", "expected at least one [[rule]]")]),
    "no rule": ("allow_clear_imei = true\n", [(None, "rule", "expected at least one [[rule]]")]),
    "empty list of rules": ("\nrule = []", [(2, "rule", "expected at least one [[rule]]")]),
    "one table": ('\n[rule]\naction = "refuse"', [(2, "rule", "expected tables that begin with [[rule]]")]),
    "no tables": ("rule = [1]", [(1, "rule", "expected tables that begin with [[rule]]")]),
    "unknown at the top": ("rules = 1\n" + REFUSE, [(1, "rules", 'unknown key; did you mean "rule"?')]),
    "allow_clear_imei": ("allow_clear_imei = 0\n" + REFUSE, [(1, "allow_clear_imei", "expected true or false")]),
    "syntax": ("\n\naction = \n", [(3, None, "not TOML: Invalid value")]),
    "syntax at the end": ('\n\na = """\n\n', [(3, None, "not TOML: ")]),
    "key twice": (
        "[[rule]]\naction = 'refuse'\naction = 'refuse'\n",
        [(3, None, "not TOML: Cannot overwrite a value")],
    ),
    "too deep": ("a = " + "[" * 9999, [(None, None, "not TOML: nested too deeply")]),
    "number too long": ("a = " + "9" * 9999, [(None, None, "or a number too long")]),
    "name twice": (
        '[[rule]]\nname = "a"\naction = "require-x25519"\n[[rule]]\nname = "a"\naction = "refuse"\n',
        [(5, "name", "expected another name: the rule of line 1 has it")],
    ),
    "name of a rule without one": (
        '[[rule]]\nname = "rule 2"\naction = "require-x25519"\n[[rule]]\naction = "refuse"\n',
        [(4, "name", "expected another name: the rule of line 1 has it")],
    ),
    "ranges overlap in part": (
        '[[rule]]\nname = "a"\ntac = ["1"]\naction = "accept"\nrange = ["00000000000000", "0fffffffffffff"]\n'
        '[[rule]]\ntac = ["2"]\naction = "accept"\nrange = ["10000000000000", "1fffffffffffff"]\n'
        '[[rule]]\naction = "accept"\nrange = ["0fffffffffffff", "0fffffffffffff"]\n',
        [(12, "range", 'overlaps the range of rule "a" (line 1): expected the very same, or one apart from it')],
    ),
    "highest that nothing accepts": (
        '[[rule]]\nversion = "1.0-1.3"\n' + ACCEPT + '[[rule]]\naction = "version-not-supported"\nhighest = "1.4"\n',
        [(7, "highest", "expected a version that a rule accepts, found 1.4")],
    ),
    "highest that the rule itself turns away": (
        '[[rule]]\nversion = "1.*"\ntac = ["1"]\n' + ACCEPT + '[[rule]]\naction = "version-not-supported"\n'
        'highest = "1.0"\n',
        [(8, "highest", "expected a version that this rule does not turn away itself, found 1.0")],
    ),
    "covered": (
        REFUSE + '[[rule]]\nname = "b"\nversion = "1.0"\nfirmware = "4.*"\ntac = ["1"]\naction = "require-x25519"\n',
        [(3, "rule", 'rule "b" can never decide: rule "rule 1" (line 1) decides all it asks for')],
    ),
    "covered by several": (
        '[[rule]]\nversion = "0.0-1.3"\naction = "refuse"\n'
        '[[rule]]\nversion = "1.4-255.255"\naction = "require-x25519"\n'
        '[[rule]]\nversion = "1.2-255.255"\ntac = ["1", "2"]\naction = "refuse"\n'
        '[[rule]]\nversion = "1.4-2.0"\ntac = ["1"]\naction = "refuse"\n'
        '[[rule]]\nversion = "1.0-1.9"\ntac = ["25"]\naction = "refuse"\n',
        [
            (11, "rule", 'rule "rule 4" can never decide: rule "rule 2" (line 4) with rule "rule 3" (line 7) decides'),
            (15, "rule", 'rule "rule 1" (line 1) with rule "rule 2" (line 4) with rule "rule 3" (line 7) decides'),
        ],
    ),
    "covered by ten digits": (
        "".join(f'[[rule]]\ntac = ["5{digit}"]\naction = "refuse"\n' for digit in range(10))
        + '[[rule]]\nname = "fives"\ntac = ["5"]\naction = "refuse"\n',
        [(31, "rule", 'rule "fives" can never decide')],
    ),
    "covered by the same firmware": (
        '[[rule]]\nfirmware = "4.*"\naction = "refuse"\n[[rule]]\nfirmware = "4.*"\ntac = ["1"]\naction = "refuse"\n',
        [(4, "rule", 'rule "rule 2" can never decide')],
    ),
    "covered by any firmware": (
        '[[rule]]\nfirmware = "*"\naction = "refuse"\n[[rule]]\nfirmware = "4.*"\naction = "refuse"\n',
        [(4, "rule", 'rule "rule 2" can never decide')],
    ),
    "every fault, by line": (
        '[[rule]]\nreport = 1\nserver = 2\naction = "accept"\nlifetime = 0\nxyz = 1\n[[rule]]\n',
        [
            (1, "range", "is missing"),
            (2, "report", "expected a table"),
            (3, "server", "has no effect"),
            (5, "lifetime", "expected a whole number"),
            (6, "xyz", "unknown key"),
            (7, "action", "is missing"),
        ],
    ),
}


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_faults_of_a_whole_file(case: str) -> None:
    text, expected = WHOLE_FILES[case]
    found = faults(text)
    assert [fault[:2] for fault in found] == [fault[:2] for fault in expected]
    for fault, (_, _, words) in zip(found, expected, strict=True):
        assert words in fault[2]


RIGHT = {
    "the same range twice": f'[[rule]]\ntac = ["1"]\n{ACCEPT}[[rule]]\n{ACCEPT}',
    "a rule after require-x25519": f'[[rule]]\naction = "require-x25519"\n[[rule]]\n{ACCEPT}',
    "a rule for no firmware": '[[rule]]\nfirmware = "*"\naction = "refuse"\n' + REFUSE,
    "a prefix around a longer one": f'[[rule]]\ntac = ["12"]\n{ACCEPT}[[rule]]\ntac = ["1"]\n{ACCEPT}',
    "nine of ten digits": '[[rule]]\ntac = ["1","2","3","4","5","6","7","8","9"]\naction = "refuse"\n' + REFUSE,
    "brackets of a pattern": '[[rule]]\nfirmware = "[[][]]?[!0-9a-f]-*"\naction = "refuse"',
    "the longest pattern": f'[[rule]]\nfirmware = "**{"é" * 15}[0-9]?*"\naction = "refuse"',
    "the longest name": f'[[rule]]\nname = "{"x" * 51}{"1" * 13}"\naction = "refuse"',
    "an explicit default": f'[[rule]]\n{ACCEPT}client_id = "fresh"\n',
}


@pytest.mark.parametrize("case", RIGHT)
def test_no_fault(case: str) -> None:
    assert parse(RIGHT[case]).rules


@pytest.mark.parametrize("place", ["tac = {}", "tac = [{}]", 'tac = ["{}"]', "name = {}", 'name = "{}"'])
def test_no_error_shows_an_imei(place: str) -> None:
    imei = "352099001761481"
    with pytest.raises(PolicyError) as caught:
        parse(f"[[rule]]\n{place.format(imei)}\n{ACCEPT}")
    assert imei not in str(caught.value)
    assert caught.value.line == 2


def test_text_of_the_error() -> None:
    with pytest.raises(PolicyError) as caught:
        parse('[[rule]]\naction = "refuse"\na = 1\nb = 1\n', "some/policy.toml")
    assert str(caught.value).startswith("some/policy.toml:3: a: unknown key; ")
    assert str(caught.value).endswith(" (and 1 more fault)")
    assert caught.value.report[1].startswith("some/policy.toml:4: b: unknown key; ")
    assert "docs/how-to/policy.md" in caught.value.hint


def test_load(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    with pytest.raises(PolicyError, match="cannot be read: No such file") as caught:
        load(path)
    assert caught.value.hint == "check the path, and who owns it and may use it"
    path.write_text(DEFAULT_POLICY)
    assert len(load(path).rules) == 2
    path.write_bytes(REFUSE.encode() + b"# caf\xe9\n")
    with pytest.raises(PolicyError) as caught:
        load(path)
    assert (caught.value.line, str(caught.value)) == (3, f"{path}:3: expected UTF-8")
