"""The conditions of a report: what a device is told, what is refused, and how it is said in words."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.numbers import Attribute
from dpe_coap.session_messages import MAX_SESSION_MESSAGE, encode_policies
from dpe_server.policy import Accept, PolicyError, Told, Vocabulary, parse
from dpe_server.policy.conditions import LONGEST_POLICIES
from dpe_server.policy.reporting import NAMES, describe, described, policies_of
from tests.server.policy.faults import ACCEPT, faults

OWN = """\
[property.door]
type = "boolean"
[property.level]
type = "integer"
minimum = 0
maximum = 10
[property.above]
type = "number"
minimum = 5
[property.mac]
type = "bytes"
"""
HEAD = OWN + "[[rule]]\n" + ACCEPT + "[rule.report]\n"
LINE = HEAD.count("\n") + 1


def policies(text: str) -> dict[Any, Any]:
    """What a rule tells a device whose ``report`` table has these lines."""
    decision = parse(HEAD + text).rules[0].decision
    assert isinstance(decision, Accept)
    return dict(policies_of(decision.reporting))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("battery = {}", {0: {}}),
        ("battery = { pmin = 1, pmax = 4294967295 }", {0: {0: 1, 1: 4_294_967_295}}),
        ("battery = { pmin = 60, pmax = 60 }", {0: {0: 60, 1: 60}}),
        ("signal = { gt = -70.5, lt = -90, st = 0.1 }", {9: {2: -70.5, 3: -90, 4: 0.1}}),
        ("battery = { gt = 0, lt = 100 }", {0: {2: 0, 3: 100}}),
        ("battery = { lt = 20, band = true }", {0: {3: 20, 5: True}}),
        ("battery = { gt = 20, band = true }", {0: {2: 20, 5: True}}),
        ("roaming = { edge = false }", {2: {6: False}}),
        ("firmware = { pmin = 5, roaming = false }", {1: {0: 5, 16: False}}),
        ("level = { st = 10, gt = 5.5 }\ndoor = { edge = true }", {"level": {4: 10, 2: 5.5}, "door": {6: True}}),
        ("[rule.report.battery]\npmin = 60", {0: {0: 60}}),
        ("above = { st = 1000 }", {"above": {4: 1000}}),
        ("mac = {}", {"mac": {}}),
    ],
)
def test_what_a_device_is_told(text: str, told: dict[Any, Any]) -> None:
    found = policies(text)
    assert found == told
    assert encode_policies(found) == encode_policies(told), "80 and 80.0 are not the same"


def test_the_names_are_those_of_the_attributes() -> None:
    assert list(NAMES) == ["pmin", "pmax", "gt", "lt", "st", "band", "edge", "roaming"]
    assert {NAMES[attribute.name.lower()] for attribute in Attribute} == {*map(int, Attribute)}


# One line of a report, the key at fault and words of the fault.
FAULTS: dict[str, tuple[str, str, str]] = {
    "no table": ("battery = true", "battery", "expected a table, such as { pmax = 3600 }, or {}, found true"),
    "unknown property": ("batery = {}", "batery", 'unknown property; did you mean "battery"?'),
    "unknown property, nothing near": (
        "zzz = {}",
        "zzz",
        "known are battery, firmware, roaming, free_memory, language, last_reboot, orientation, headset, bearer,"
        " signal, display, door, level, above, mac (a property of your own needs a table [property.NAME])",
    ),
    "unknown condition": ("battery = { pmim = 1 }", "battery.pmim", 'unknown key; did you mean "pmin"?'),
    "every": ("battery = { every = 3600 }", "battery.every", "is no longer known: write pmax for the longest time"),
    "on_change": ("battery = { on_change = true }", "battery.on_change", "is no longer known: leave it out"),
    "minimum_gap": ("battery = { minimum_gap = 60 }", "battery.minimum_gap", "is no longer known: write pmin"),
    "pmin 0": ("battery = { pmin = 0 }", "battery.pmin", "a whole number of seconds from 1 to 4294967295, found 0"),
    "pmin negative": ("battery = { pmin = -1 }", "battery.pmin", "a whole number of seconds"),
    "pmin float": ("battery = { pmin = 60.0 }", "battery.pmin", "a whole number of seconds"),
    "pmin boolean": ("battery = { pmin = true }", "battery.pmin", "a whole number of seconds"),
    "pmin too long": ("battery = { pmin = 4294967296 }", "battery.pmin", "a whole number of seconds"),
    "pmax 0": ("battery = { pmax = 0 }", "battery.pmax", "a whole number of seconds"),
    "pmax float": ("battery = { pmax = 1.5 }", "battery.pmax", "a whole number of seconds"),
    "pmax below pmin": (
        "battery = { pmin = 60, pmax = 59 }",
        "battery.pmax",
        "expected at least pmin, which is 60, found 59",
    ),
    "gt no number": ('battery = { gt = "80" }', "battery.gt", 'expected a number, found "80"'),
    "gt boolean": ("battery = { gt = true }", "battery.gt", "expected a number, found true"),
    "gt nan": ("signal = { gt = nan }", "signal.gt", "expected a number, found NaN"),
    "lt infinite": ("signal = { lt = -inf }", "signal.lt", "expected a number, found -Infinity"),
    "lt of 64 bits": ("signal = { lt = 9223372036854775808 }", "signal.lt", "expected a number"),
    "lt of more bits": ("signal = { lt = -9223372036854775809 }", "signal.lt", "expected a number"),
    "gt outside": ("battery = { gt = 100.5 }", "battery.gt", "expected a number from 0 to 100, found 100.5"),
    "lt outside": ("level = { lt = -1 }", "level.lt", "expected an integer from 0 to 10, found -1"),
    "st 0": ("battery = { st = 0 }", "battery.st", "expected a number above 0, found 0"),
    "st 0.0": ("battery = { st = 0.0 }", "battery.st", "expected a number above 0, found 0.0"),
    "st negative": ("signal = { st = -0.5 }", "signal.st", "expected a number above 0"),
    "st too large": ("level = { st = 11 }", "level.st", "can never be reached: level is an integer from 0 to 10"),
    "st of text": ("firmware = { st = 1 }", "firmware.st", "has no effect on firmware, which is text: only on numbers"),
    "gt of a boolean": ("roaming = { gt = 0 }", "roaming.gt", "which is boolean: only on numbers"),
    "lt of bytes": ("mac = { lt = 0 }", "mac.lt", "which is bytes: only on numbers"),
    "edge of a number": ("battery = { edge = true }", "battery.edge", "which is number: only on a boolean"),
    "edge of text": ("firmware = { edge = true }", "firmware.edge", "which is text: only on a boolean"),
    "edge no boolean": ("roaming = { edge = 1 }", "roaming.edge", "expected true or false, found 1"),
    "band alone": ("battery = { band = true }", "battery.band", "has no effect without gt or lt"),
    "band with st": ("battery = { band = true, st = 1 }", "battery.band", "has no effect without gt or lt"),
    "band false": ("battery = { gt = 5, band = false }", "battery.band", "expected true, or no such key, found false"),
    "roaming true": ("firmware = { roaming = true }", "firmware.roaming", "expected false, or no such key, found true"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_fault_of_one_condition(case: str) -> None:
    text, key, words = FAULTS[case]
    [fault] = faults(HEAD + text + "\n")
    assert fault[:2] == (LINE, f"report.{key}")
    assert words in fault[2]


def test_every_fault_of_a_report_is_found() -> None:
    found = faults(HEAD + "battery = { pmin = 0, band = true }\nfirmware = { gt = 1, edge = true }\nx = {}\n")
    assert [(line - LINE, key) for line, key, _ in found if line is not None] == [
        (0, "report.battery.pmin"),
        (0, "report.battery.band"),
        (1, "report.firmware.gt"),
        (1, "report.firmware.edge"),
        (2, "report.x"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [("report = 1\n", "expected a table of properties, such as battery = {}"), ("[rule.report]\n", "without this")],
)
def test_a_report_of_nothing(text: str, words: str) -> None:
    [fault] = faults("[[rule]]\n" + ACCEPT + text)
    assert fault[:2] == (4, "report")
    assert words in fault[2]


OLD = """\
[[rule]]
action = "accept"
range = ["00000000000000", "0fffffffffffff"]
properties = ["battery", "display"]
[rule.reporting.battery]
every = 3600
on_change = true
"""


def test_a_file_of_an_earlier_version_is_told_what_to_write() -> None:
    assert faults(OLD) == [
        (
            4,
            "properties",
            "is no longer known: name the properties to be reported in [rule.report], such as battery = {}",
        ),
        (
            5,
            "reporting",
            "is no longer known: write [rule.report], with a line such as battery = { pmin = 60, pmax = 3600 } for each"
            " property; pmin is what minimum_gap was, pmax what every was",
        ),
    ]


def declared(count: int, size: int) -> str:
    """A policy with as many properties in a report, whose names take so many bytes."""
    names = [f"p{n:0{size - 1}}" for n in range(count)]
    tables = "".join(f'[property.{name}]\ntype = "text"\n' for name in names)
    return tables + "[[rule]]\n" + ACCEPT + "[rule.report]\n" + "".join(f"{name} = {{}}\n" for name in names)


def told_by(text: str) -> Told:
    """What the first rule, which has no name, tells."""
    told = parse(text).told("rule 1")
    assert told is not None
    return told


def test_a_report_of_64_properties_and_no_more() -> None:
    assert len(parse(declared(64, 3)).rules) == 1
    [fault] = faults(declared(65, 3))
    assert (fault.key, fault.message) == ("report", "expected at most 64 properties, found 65")


def test_a_report_of_1010_bytes_and_no_more() -> None:
    # The map's head has 2 bytes; each property has a head of 1 byte, its name and an empty map of 1 byte.
    text = declared(56, 16)
    decision = parse(text).rules[0].decision
    assert isinstance(decision, Accept)
    assert len(encode_policies(policies_of(decision.reporting))) == 2 + 56 * 18 == LONGEST_POLICIES
    longest = told_by(text.replace("[rule.report]", "lifetime = 4294967295\n[rule.report]"))
    assert len(longest.answer) == MAX_SESSION_MESSAGE
    [fault] = faults(text + "battery = {}\n")
    assert fault.message.startswith("takes 1012 bytes in a message, and there is room for 1010: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "when it changes"),
        ("pmin = 60", "when it changes, at most every 60 s"),
        ("pmax = 3600", "when it changes, at least every 3600 s"),
        ("st = 5\npmin = 60\npmax = 3600", "when it changes by 5 or more, at most every 60 s, at least every 3600 s"),
        ("pmin = 60\npmax = 60", "every 60 s"),
        ("pmin = 60\npmax = 60\nst = 5", "every 60 s"),
        ("gt = 80", "when it becomes higher than 80 or no longer is"),
        ("lt = -1.5", "when it becomes lower than -1.5 or no longer is"),
        (
            "gt = 80\nlt = 20\nst = 5",
            "when it changes by 5 or more, or becomes higher than 80 or no longer is,"
            " or becomes lower than 20 or no longer is",
        ),
        ("gt = 80\nband = true", "when it changes and is 80 or less"),
        ("lt = 20\nband = true", "when it changes and is 20 or more"),
        ("gt = 20\nlt = 80\nband = true", "when it changes and is from 20 to 80"),
        ("gt = 20\nlt = 20\nband = true", "when it changes and is from 20 to 20"),
        ("gt = 80\nlt = 20\nband = true", "when it changes and is lower than 20 or higher than 80"),
        ("lt = 20\nband = true\nst = 5", "when it changes by 5 or more, or changes and is 20 or more"),
        ("edge = true", "when it becomes true"),
        ("edge = false", "when it becomes false"),
        ("roaming = false", "when it changes, not while roaming"),
        ("pmin = 9\npmax = 9\nroaming = false", "every 9 s, not while roaming"),
    ],
)
def test_conditions_in_words(text: str, words: str) -> None:
    assert describe({NAMES[name]: setting for name, setting in tomllib.loads(text).items()}) == words


def test_policies_of_a_store_in_words() -> None:
    vocabulary = parse(HEAD + "door = {}\n").vocabulary
    told: dict[Any, Any] = {0: {4: 5}, 99: {}, "door": {6: True}, "a\n": {999: 1}}
    assert described(told, vocabulary) == [
        "battery (%): when it changes by 5 or more",
        "99: when it changes",
        "door: when it becomes true",
        '"a\\n": when it changes',
    ]
    assert described(told, Vocabulary())[2] == "door: when it becomes true"


NUMBERS = st.integers(-5, 15) | st.sampled_from([0.5, -0.0, float("nan"), float("inf"), 1 << 64])


@given(
    st.sampled_from(["battery", "firmware", "roaming", "level", "mac"]),
    st.dictionaries(st.sampled_from(list(NAMES)), NUMBERS | st.booleans(), max_size=4),
)
def test_what_is_accepted_is_what_the_specification_allows(name: str, conditions: dict[str, Any]) -> None:
    def toml(value: Any) -> str:
        return str(value).lower()

    pmin, pmax = conditions.get("pmin"), conditions.get("pmax")
    numeric, kinds = name in ("battery", "level"), {key: type(value) for key, value in conditions.items()}
    least, most = (0, 100) if name == "battery" else (0, 10)
    right = (
        all(kinds.get(key, int) is int and 0 < conditions.get(key, 1) < 1 << 32 for key in ("pmin", "pmax"))
        and (pmin is None or pmax is None or pmin <= pmax)
        and all(numeric for key in ("gt", "lt", "st", "band") if key in conditions)
        and all(kinds.get(key, int) is not bool for key in ("gt", "lt", "st"))
        and all(least <= conditions[key] <= most for key in ("gt", "lt") if key in conditions)
        and ("st" not in conditions or 0 < conditions["st"] <= most - least)
        and ("band" not in conditions or (conditions["band"] is True and bool({"gt", "lt"} & {*conditions})))
        and ("edge" not in conditions or (kinds["edge"] is bool and name == "roaming"))
        and conditions.get("roaming", False) is False
    )
    inline = ", ".join(f"{key} = {toml(value)}" for key, value in conditions.items())
    try:
        told = policies(f"{name} = {{ {inline} }}")
    except PolicyError:
        assert not right
    else:
        assert right
        assert list(told.values()) == [{NAMES[key]: value for key, value in conditions.items()}]
