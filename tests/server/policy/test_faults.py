"""Every fault that one rule can have, with its line, its key and what was expected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_server.policy import Policy, PolicyError, parse
from tests.server.policy.faults import ACCEPT, faults

# Of one rule whose other keys are right: its lines after the header (line 1), and the line, key and words of the fault.
ONE_RULE = {
    "unknown key": ('verison = "1.0"\n' + ACCEPT, 2, "verison", 'unknown key; did you mean "version"?'),
    "unknown key, nothing near": ("zzz = 1\n" + ACCEPT, 2, "zzz", "unknown key; known are name, version, "),
    "long key": (f"{'z' * 80}z = 1\n" + ACCEPT, 2, "z" * 77 + "...", "unknown key"),
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
    "lifetime of another type": (ACCEPT + "lifetime = true\n", 4, "lifetime", "from 60 to 4294967295, found true"),
    "short lifetime": (ACCEPT + "lifetime = 59\n", 4, "lifetime", "from 60 to 4294967295, found 59"),
    "long lifetime": (ACCEPT + "lifetime = 4294967296\n", 4, "lifetime", "from 60 to 4294967295"),
    "bad select": (ACCEPT + 'select = "1.*"\n', 4, "select", 'expected a version, such as "1.0"'),
    "select above the range": (
        'version = "1.1-1.3"\n' + ACCEPT + 'select = "1.2"\n',
        5,
        "select",
        "expected a version not above 1.1",
    ),
    "select without version": (ACCEPT + 'select = "1.0"\n', 4, "select", "expected a version not above 0.0"),
    "select of the only version": ('version = "1.1"\n' + ACCEPT + 'select = "1.1"\n', 5, "select", "has no effect"),
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
    "report": ("report.battery = {}", "accept"),
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


PIECES = st.sampled_from(
    [
        "allow_clear_imei = true",
        *(line for text, *_ in ONE_RULE.values() for line in text.splitlines()),
        "[rule]",
        "[[",
        "}",
    ]
)


@given(st.text() | st.lists(PIECES, max_size=12).map("\n".join))
def test_any_text_gives_a_policy_or_one_error(text: str) -> None:
    try:
        assert isinstance(parse(text), Policy)
    except PolicyError as error:
        assert all(message for _, _, message in error.faults)
        assert all(line is None or 1 <= line <= text.count("\n") + 1 for line, _, _ in error.faults)
