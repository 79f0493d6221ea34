"""The properties that an operator declares: what each key means, and the faults that they can have."""

import pytest

from dpe_server.policy import Vocabulary, parse
from dpe_server.policy.vocabulary import FIELD, Entry, Type
from tests.server.policy.faults import faults

RULE = '[[rule]]\naction = "refuse"\n'


def vocabulary(text: str) -> Vocabulary:
    return parse(text + RULE).vocabulary


def test_every_key() -> None:
    text = """\
[property.door]
type = "boolean"
[property.temperature]
wire = 11
type = "number"
unit = "°C"
minimum = -40
maximum = 85.5
[property.steps]
wire = "s"
type = "integer"
minimum = 0
[property."x:Name.Of_it-2"]
wire = 65535
type = "text"
longest = 16
[property.mac]
type = "bytes"
unit = "EUI-48"
longest = 6
"""
    assert list(vocabulary(text)) == [
        *FIELD,
        Entry("door", "door", Type.BOOLEAN),
        Entry("temperature", 11, Type.NUMBER, "°C", -40, 85.5),
        Entry("steps", "s", Type.INTEGER, minimum=0),
        Entry("x:Name.Of_it-2", 65_535, Type.TEXT, longest=16),
        Entry("mac", "mac", Type.BYTES, "EUI-48", longest=6),
    ]


def test_other_ways_to_write_toml() -> None:
    text = 'property.a.type = "text"\nproperty.b = { type = "number", wire = 50 }\n'
    assert list(vocabulary(text))[-2:] == [Entry("a", "a", Type.TEXT), Entry("b", 50, Type.NUMBER)]


def test_a_file_without_any_has_those_of_the_field() -> None:
    assert list(vocabulary("")) == list(FIELD)


# Of one property: its table, and the line, key and words of the fault.
FAULTS: dict[str, tuple[str, int, str, str]] = {
    "no tables": ("property = 1\n", 1, "property", "expected tables such as [property.temperature]"),
    "none": ("[property]\n", 1, "property", "expected tables such as"),
    "no table": ("property.a = 1\n", 1, "property.a", 'expected a table, such as { type = "number" }, found 1'),
    "no type": ("[property.a]\nwire = 20\n", 1, "property.a.type", "is missing; expected one of boolean, integer, "),
    "another type": ('[property.a]\ntype = "float"\n', 2, "property.a.type", 'expected one of "boolean", "integer"'),
    "type no text": ("[property.a]\ntype = 1\n", 2, "property.a.type", "expected one of"),
    "unknown key": (
        '[property.a]\ntype = "text"\nunits = "m"\n',
        3,
        "property.a.units",
        'unknown key; did you mean "unit"?',
    ),
    "name of the field": (
        '[property.battery]\ntype = "number"\n',
        1,
        "property.battery",
        "expected another name: every policy knows this property",
    ),
    "name with a blank": ('[property."a b"]\ntype = "text"\n', 1, "property.a b", "expected a name: a letter, then at"),
    "name that is a number": ('[property.20]\ntype = "text"\n', 1, "property.20", "expected a name: a letter, then"),
    "name too long": (f'[property.{"a" * 33}]\ntype = "text"\n', 1, f"property.{'a' * 33}", "at most 31 of A-Z a-z"),
    "wire of the field": (
        '[property.a]\nwire = 10\ntype = "text"\n',
        2,
        "property.a.wire",
        "expected another one than 10, by which every policy knows display",
    ),
    "wire that is a name of the field": (
        '[property.a]\nwire = "signal"\ntype = "text"\n',
        2,
        "property.a.wire",
        'expected another one than "signal", by which every policy knows signal',
    ),
    "wire negative": (
        '[property.a]\nwire = -1\ntype = "text"\n',
        2,
        "property.a.wire",
        "a number from 11 to 65535, or",
    ),
    "wire too large": ('[property.a]\nwire = 65536\ntype = "text"\n', 2, "property.a.wire", "found 65536"),
    "wire float": ('[property.a]\nwire = 20.0\ntype = "text"\n', 2, "property.a.wire", "a number from 11 to 65535"),
    "wire boolean": ('[property.a]\nwire = true\ntype = "text"\n', 2, "property.a.wire", "a number from 11 to 65535"),
    "wire list": ('[property.a]\nwire = [20]\ntype = "text"\n', 2, "property.a.wire", "a number from 11 to 65535"),
    "wire empty": ('[property.a]\nwire = ""\ntype = "text"\n', 2, "property.a.wire", "or text of 1 to 32 bytes"),
    "wire too long": (f'[property.a]\nwire = "{"é" * 17}"\ntype = "text"\n', 2, "property.a.wire", "1 to 32 bytes"),
    "wire unprintable": ('[property.a]\nwire = "\\n"\ntype = "text"\n', 2, "property.a.wire", "or text of 1 to 32"),
    "wire twice": (
        '[property.a]\nwire = 20\ntype = "text"\n[property.b]\nwire = 20\ntype = "text"\n',
        5,
        "property.b.wire",
        "expected another one than 20: line 1 has it",
    ),
    "wire that is the name of another": (
        '[property.a]\nwire = 20\ntype = "text"\n[property.b]\nwire = "a"\ntype = "text"\n',
        5,
        "property.b.wire",
        'expected another one than "a": line 1 has it',
    ),
    "name that is the wire of another": (
        '[property.a]\nwire = "b"\ntype = "text"\n[property.b]\ntype = "text"\n',
        4,
        "property.b",
        'expected another one than "b": line 1 has it',
    ),
    "unit no text": ('[property.a]\ntype = "text"\nunit = 1\n', 3, "property.a.unit", "expected 1 to 16 printable"),
    "unit empty": ('[property.a]\ntype = "text"\nunit = ""\n', 3, "property.a.unit", "expected 1 to 16 printable"),
    "unit too long": (f'[property.a]\ntype = "text"\nunit = "{"m" * 17}"\n', 3, "property.a.unit", "expected 1 to 16"),
    "unit unprintable": ('[property.a]\ntype = "text"\nunit = "\\t"\n', 3, "property.a.unit", "expected 1 to 16"),
    "minimum of text": (
        '[property.a]\ntype = "text"\nminimum = 1\n',
        3,
        "property.a.minimum",
        'has no effect with type "text", only with integer and number',
    ),
    "maximum of a boolean": (
        '[property.a]\ntype = "boolean"\nmaximum = 1\n',
        3,
        "property.a.maximum",
        'has no effect with type "boolean"',
    ),
    "longest of a number": (
        '[property.a]\ntype = "number"\nlongest = 1\n',
        3,
        "property.a.longest",
        'has no effect with type "number", only with text and bytes',
    ),
    "minimum no number": ('[property.a]\ntype = "number"\nminimum = "1"\n', 3, "property.a.minimum", "a number, found"),
    "minimum infinite": ('[property.a]\ntype = "number"\nminimum = -inf\n', 3, "property.a.minimum", "a number, found"),
    "minimum no integer": ('[property.a]\ntype = "integer"\nminimum = 1.0\n', 3, "property.a.minimum", "an integer"),
    "maximum of 64 bits": (
        '[property.a]\ntype = "integer"\nmaximum = 9223372036854775808\n',
        3,
        "property.a.maximum",
        "expected an integer, found",
    ),
    "maximum below minimum": (
        '[property.a]\ntype = "number"\nminimum = 2\nmaximum = 1.5\n',
        4,
        "property.a.maximum",
        "expected at least minimum, which is 2, found 1.5",
    ),
    "longest 0": (
        '[property.a]\ntype = "bytes"\nlongest = 0\n',
        3,
        "property.a.longest",
        "bytes from 1 to 256, found 0",
    ),
    "longest too long": (
        '[property.a]\ntype = "text"\nlongest = 257\n',
        3,
        "property.a.longest",
        "bytes from 1 to 256",
    ),
    "longest boolean": (
        '[property.a]\ntype = "text"\nlongest = true\n',
        3,
        "property.a.longest",
        "bytes from 1 to 256",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_fault_of_one_property(case: str) -> None:
    text, line, key, words = FAULTS[case]
    [fault] = faults(text + RULE)
    assert fault[:2] == (line, key)
    assert words in fault[2]


def test_every_fault_of_a_property_is_found_and_its_reports_are_not_blamed() -> None:
    text = (
        '[property.a]\nwire = 5\nunit = ""\n[property.b]\ntype = "text"\n[[rule]]\naction = "accept"\n'
        'range = ["00000000000000", "0fffffffffffff"]\n[rule.report]\na = { st = 1 }\nb = { st = 1 }\n'
    )
    assert [(line, key) for line, key, _ in faults(text)] == [
        (1, "property.a.type"),
        (2, "property.a.wire"),
        (3, "property.a.unit"),
        (11, "report.b.st"),
    ]
