"""The policy file: what every key means, and every fault with its line, its key and what was expected."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.messages import Version
from dpe_server.policy import (
    DEFAULT_POLICY,
    Accept,
    Policy,
    PolicyError,
    Redirect,
    Refuse,
    RequireX25519,
    VersionNotSupported,
    load,
    parse,
)

WHOLE = """\
allow_clear_imei = true
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
properties = ["battery", "prf:Display.Size"]
[rule.reporting.battery]
every = 3600
on_change = true
minimum_gap = 60
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
    assert policy.decide(Version(1, 0), None, "01234567", False) == Refuse("withdrawn model")
    assert policy.decide(Version(9, 9), "old-1.2.9", "35209900", False) == RequireX25519("rule 2")
    assert policy.decide(Version(1, 1), None, "00123456", False) == Redirect("lab", "coap://[::1]:5684")
    assert policy.decide(Version(1, 3), "old-1.2.9", "35209900", True) == Accept(
        rule="handsets",
        first=0x10000000000000,
        last=0x1FFFFFFFFFFFFF,
        stable=True,
        lifetime=86400,
        selected=Version(1, 0),
        properties=("battery", "prf:Display.Size"),
        reporting={"battery": {"every": 3600, "on_change": True, "minimum_gap": 60}},
    )
    assert policy.decide(Version(2, 7), "Old-1.2", "35209900", False) == Accept(
        rule="rule 5",
        first=0x20000000000000,
        last=0x20000000000000,
        stable=False,
        lifetime=None,
        selected=Version(2, 7),
        properties=(),
        reporting={},
    )
    assert policy.decide(Version(3, 0), None, "35209900", False) == VersionNotSupported("rule 6", Version(2, 0))
    assert [rule.line for rule in policy.rules] == [2, 6, 9, 15, 28, 32]


def test_other_ways_to_write_toml() -> None:
    text = 'rule = [\n {action = "accept", range = ["00000000000000",\n "00000000000001"], properties = ["a"],'
    policy = parse(text + ' "reporting".a.every = 5},\n]')
    assert policy.decide(Version(0, 0), None, "00000000", False).rule == "rule 1"
    with pytest.raises(PolicyError) as caught:
        parse(text + " reporting.a.every = 0},\n]")
    assert (caught.value.line, caught.value.key) == (3, "reporting.a.every")


def test_default_policy() -> None:
    policy = parse(DEFAULT_POLICY)
    assert not policy.allow_clear_imei
    for minor in (0, 255):
        accept = policy.decide(Version(1, minor), None, "35209900", False)
        assert isinstance(accept, Accept)
        assert (accept.selected, accept.lifetime, accept.properties) == (Version(1, minor), None, ())
        assert accept.last - accept.first + 1 == 1 << 52
    for version in (Version(0, 255), Version(2, 0)):
        refused = policy.decide(version, "x", "35209900", True)
        assert refused == VersionNotSupported("other versions", Version(1, 0))


def faults(text: str) -> list[tuple[int | None, str | None, str]]:
    with pytest.raises(PolicyError) as caught:
        parse(text, "a.toml")
    error = caught.value
    assert (error.line, error.key) == error.faults[0][:2]
    assert len(error.report) == len(error.faults)
    assert str(error).startswith(error.report[0])
    assert "\n" not in str(error)
    return list(error.faults)


ACCEPT = 'action = "accept"\nrange = ["00000000000000", "0fffffffffffff"]\n'
NAMES = 'properties = ["battery"]\n'

# Of one rule whose other keys are right: its lines after the header (line 1), and the line, key and words of the fault.
ONE_RULE = {
    "unknown key": ('verison = "1.0"\n' + ACCEPT, 2, "verison", 'unknown key; did you mean "version"?'),
    "unknown key, nothing near": ("zzz = 1\n" + ACCEPT, 2, "zzz", "unknown key; known are name, version, "),
    "unprintable key": ('"a\\n" = 1\n' + ACCEPT, 2, r"'a\n'", "unknown key"),
    "no action": ('name = "x"\n', 1, "action", "is missing; expected one of accept, refuse, "),
    "bad action": ('\naction = "allow"\n', 3, "action", 'expected one of "accept", "refuse", '),
    "action of another type": ("action = 1\n", 2, "action", 'expected one of "accept"'),
    "name of another type": ("name = 1\n" + ACCEPT, 2, "name", "expected a name of 1 to 64"),
    "empty name": ('name = ""\n' + ACCEPT, 2, "name", "expected a name of 1 to 64"),
    "long name": (f'name = "{"x" * 65}"\n' + ACCEPT, 2, "name", "expected a name of 1 to 64"),
    "name with control characters": ('name = "a\\u001b"\n' + ACCEPT, 2, "name", "printable characters"),
    "name that may be an IMEI": ('name = "test 35-209900-176148-1"\n' + ACCEPT, 2, "name", "fewer than 14 digits"),
    "name of the default": ('name = "default"\n' + ACCEPT, 2, "name", "expected another name"),
    "version of another type": ("version = 1.0\n" + ACCEPT, 2, "version", 'expected versions, as "1.0", "1.*" or'),
    "version part too large": ('version = "1.256"\n' + ACCEPT, 2, "version", "expected versions"),
    "version without minor": ('version = "1"\n' + ACCEPT, 2, "version", "expected versions"),
    "version star twice": ('version = "1.*.*"\n' + ACCEPT, 2, "version", "expected versions"),
    "version star in a range": ('version = "1.*-2.*"\n' + ACCEPT, 2, "version", "expected versions"),
    "version range without end": ('version = "1.0-"\n' + ACCEPT, 2, "version", "expected versions"),
    "version range reversed": ('version = "1.1-1.0"\n' + ACCEPT, 2, "version", "expected the lower version first"),
    "firmware of another type": ("firmware = 4\n" + ACCEPT, 2, "firmware", "expected a shell pattern"),
    "empty firmware": ('firmware = ""\n' + ACCEPT, 2, "firmware", "expected a shell pattern"),
    "firmware, unclosed bracket": ('firmware = "a[0-9"\n' + ACCEPT, 2, "firmware", 'expected a "]" for each "["'),
    "firmware, empty bracket": ('firmware = "a[]"\n' + ACCEPT, 2, "firmware", 'expected a "]" for each "["'),
    "firmware, reversed bracket": ('firmware = "[9-0]"\n' + ACCEPT, 2, "firmware", "the lower character first"),
    "firmware too long": (f'firmware = "{"é" * 17}*"\n' + ACCEPT, 2, "firmware", "at most 32 bytes can match"),
    "tac of another type": ('tac = "3520"\n' + ACCEPT, 2, "tac", "expected a list of TAC prefixes"),
    "no tac": ("tac = []\n" + ACCEPT, 2, "tac", "found an empty list"),
    "tac, number": ("tac = [\n3520]\n" + ACCEPT, 3, "tac", "expected 1 to 8 digits in quotes"),
    "tac, empty": ('tac = ["1", ""]\n' + ACCEPT, 2, "tac", "expected 1 to 8 digits"),
    "tac, other digits": ('tac = ["٣"]\n' + ACCEPT, 2, "tac", "expected 1 to 8 digits"),
    "tac, too long": ('tac = ["123456789"]\n' + ACCEPT, 2, "tac", "expected 1 to 8 digits"),
    "tac twice": ('tac = [\n"12",\n"34",\n"12"]\n' + ACCEPT, 5, "tac", "12 is there twice"),
    "tac covered": ('tac = [\n"1234",\n"12"]\n' + ACCEPT, 3, "tac", "1234 has no effect: 12 covers it"),
    "no range": ('action = "accept"\n', 1, "range", 'is missing: action "accept" needs it'),
    "range of another type": ('action = "accept"\nrange = "0-1"\n', 3, "range", "expected the first and the last"),
    "empty range": ('action = "accept"\nrange = []\n', 3, "range", "found an empty list"),
    "range of three": (
        'action = "accept"\nrange = ["00000000000000", "00000000000001", "00000000000002"]\n',
        3,
        "range",
        "expected two Client IDs",
    ),
    "range, too short": (
        'action = "accept"\nrange = ["00000000000000",\n"0f"]\n',
        4,
        "range",
        "expected a Client ID of 14 hex digits in quotes",
    ),
    "range, number": ('action = "accept"\nrange = [0, 1]\n', 3, "range", "expected a Client ID of 14 hex digits"),
    "range reversed": (
        'action = "accept"\nrange = ["00000000000001", "00000000000000"]\n',
        3,
        "range",
        "expected the lower Client ID first",
    ),
    "bad client_id": (ACCEPT + 'client_id = "new"\n', 4, "client_id", 'expected one of "fresh", "stable", found "new"'),
    "lifetime of another type": (ACCEPT + "lifetime = true\n", 4, "lifetime", "from 1 to 4294967295, found true"),
    "no lifetime": (ACCEPT + "lifetime = 0\n", 4, "lifetime", "from 1 to 4294967295, found 0"),
    "long lifetime": (ACCEPT + "lifetime = 4294967296\n", 4, "lifetime", "from 1 to 4294967295"),
    "bad select": (ACCEPT + 'select = "1.*"\n', 4, "select", 'expected a version, such as "1.0"'),
    "select above the range": (
        'version = "1.1-1.3"\n' + ACCEPT + 'select = "1.2"\n',
        5,
        "select",
        "expected a version not above 1.1",
    ),
    "select without version": (ACCEPT + 'select = "1.0"\n', 4, "select", "expected a version not above 0.0"),
    "select of the only version": ('version = "1.1"\n' + ACCEPT + 'select = "1.1"\n', 5, "select", "has no effect"),
    "properties of another type": (ACCEPT + 'properties = "x"\n', 4, "properties", "expected a list of names"),
    "no properties": (ACCEPT + "properties = []\n", 4, "properties", "found an empty list"),
    "bad property": (ACCEPT + 'properties = ["a b"]\n', 4, "properties", "expected a name: a letter, then"),
    "property twice": (ACCEPT + 'properties = ["a",\n"a"]\n', 5, "properties", "a is there twice"),
    "reporting of another type": (ACCEPT + "reporting = 1\n", 4, "reporting", "expected tables such as"),
    "no reporting": (ACCEPT + "[rule.reporting]\n", 4, "reporting", "expected tables such as"),
    "reporting, no table": (ACCEPT + NAMES + "reporting.battery = 5\n", 5, "reporting.battery", "expected a table"),
    "reporting of no property": (
        ACCEPT + NAMES + "[rule.reporting.display]\nevery = 1\n",
        5,
        "reporting.display",
        "has no effect: the property is not in properties",
    ),
    "reporting without properties": (
        ACCEPT + "[rule.reporting.display]\nevery = 1\n",
        4,
        "reporting.display",
        "has no effect: the property is not in properties",
    ),
    "reporting, unknown key": (
        ACCEPT + NAMES + "[rule.reporting.battery]\nevery = 1\never = 1\n",
        7,
        "reporting.battery.ever",
        'did you mean "every"?',
    ),
    "reporting never": (ACCEPT + NAMES + "[rule.reporting.battery]\n", 5, "reporting.battery", "never reports"),
    "reporting never, said": (
        ACCEPT + NAMES + "[rule.reporting.battery]\non_change = false\n",
        5,
        "reporting.battery",
        "never reports",
    ),
    "bad every": (
        ACCEPT + NAMES + "[rule.reporting.battery]\nevery = 1.5\n",
        6,
        "reporting.battery.every",
        "expected a whole number of seconds",
    ),
    "bad on_change": (
        ACCEPT + NAMES + "[rule.reporting.battery]\non_change = 1\n",
        6,
        "reporting.battery.on_change",
        "expected true or false, found 1",
    ),
    "bad minimum_gap": (
        ACCEPT + NAMES + "[rule.reporting.battery]\non_change = true\nminimum_gap = -1\n",
        7,
        "reporting.battery.minimum_gap",
        "expected a whole number of seconds",
    ),
    "gap without on_change": (
        ACCEPT + NAMES + "[rule.reporting.battery]\nevery = 9\nminimum_gap = 1\n",
        7,
        "reporting.battery.minimum_gap",
        "has no effect without on_change",
    ),
    "gap not below every": (
        ACCEPT + NAMES + "[rule.reporting.battery]\nevery = 9\non_change = true\nminimum_gap = 9\n",
        8,
        "reporting.battery.minimum_gap",
        "expected less than every, which is 9",
    ),
    "no server": ('action = "redirect"\n', 1, "server", 'is missing: action "redirect" needs it'),
    "server of another type": ('action = "redirect"\nserver = 1\n', 3, "server", "expected coap://HOST"),
    "server with another scheme": ('action = "redirect"\nserver = "http://a"\n', 3, "server", "expected coap://HOST"),
    "server with a bad port": ('action = "redirect"\nserver = "coap://a:0"\n', 3, "server", "expected coap://HOST"),
    "server with a bad host": ('action = "redirect"\nserver = "coap://[1:2]"\n', 3, "server", "expected coap://HOST"),
    "server with a path": ('action = "redirect"\nserver = "coap://a/b"\n', 3, "server", "expected no path"),
    "server too long": (f'action = "redirect"\nserver = "coap://{"a" * 122}"\n', 3, "server", "at most 128 bytes"),
    "no highest": ('action = "version-not-supported"\n', 1, "highest", "needs it"),
    "bad highest": ('action = "version-not-supported"\nhighest = 1.0\n', 3, "highest", "expected a version, such as"),
}


@pytest.mark.parametrize("case", ONE_RULE)
def test_fault_of_one_rule(case: str) -> None:
    text, line, key, words = ONE_RULE[case]
    [fault] = faults("[[rule]]\n" + text)
    assert (fault[0], fault[1]) == (line, key)
    assert words in fault[2]


EFFECTS = {
    "range": ('range = ["00000000000000", "0fffffffffffff"]', "accept"),
    "client_id": ('client_id = "fresh"', "accept"),
    "lifetime": ("lifetime = 60", "accept"),
    "select": ('select = "0.0"', "accept"),
    "properties": ('properties = ["battery"]', "accept"),
    "reporting": ("reporting.battery.every = 60", "accept"),
    "highest": ('highest = "1.0"', "version-not-supported"),
    "server": ('server = "coap://a"', "redirect"),
}


@pytest.mark.parametrize("action", ["accept", "refuse", "version-not-supported", "require-x25519", "redirect"])
@pytest.mark.parametrize("key", EFFECTS)
def test_key_that_has_no_effect_with_the_action(key: str, action: str) -> None:
    line, taker = EFFECTS[key]
    found = [message for _, at, message in faults(f'[[rule]]\nzzz = 1\naction = "{action}"\n{line}\n') if at == key]
    effect = f'has no effect with action "{action}", only with "{taker}"'
    assert found == ([] if action == taker else [effect])


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
        '[[rule]]\nreporting = 1\nserver = 2\naction = "accept"\nlifetime = 0\nxyz = 1\n[[rule]]\n',
        [
            (1, "range", "is missing"),
            (2, "reporting", "expected tables"),
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


PIECES = st.sampled_from(
    [*WHOLE.splitlines(), *(line for text, *_ in ONE_RULE.values() for line in text.splitlines()), "[rule]", "[[", "}"]
)


@given(st.text() | st.lists(PIECES, max_size=12).map("\n".join))
def test_any_text_gives_a_policy_or_one_error(text: str) -> None:
    try:
        assert isinstance(parse(text), Policy)
    except PolicyError as error:
        assert all(message for _, _, message in error.faults)
        assert all(line is None or 1 <= line <= text.count("\n") + 1 for line, _, _ in error.faults)
