"""The vocabulary: the field's properties, names and what messages call them, and what a value can be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.errors import LocalError
from dpe_coap.numbers import Property as Field
from dpe_coap.session_messages import Value, decode_report, decoded, encode_report
from dpe_server.policy.vocabulary import FIELD, Entry, Type, Vocabulary, right_on_wire, shown

OWN = (
    Entry("door", 40, Type.BOOLEAN),
    Entry("temperature", "t", Type.NUMBER, "°C", -40, 85.5),
    Entry("count", "count", Type.INTEGER, minimum=0),
    Entry("depth", 41, Type.INTEGER, "m", maximum=0),
    Entry("note", 42, Type.TEXT, longest=4),
    Entry("mac", 43, Type.BYTES, longest=6),
)
VOCABULARY = Vocabulary(OWN)


def test_the_field_has_each_property_of_the_wire_under_its_name() -> None:
    assert [(entry.name, entry.wire) for entry in FIELD] == [(one.name.lower(), int(one)) for one in Field]
    assert [str(entry) for entry in FIELD] == [
        "battery (%)",
        "firmware",
        "roaming",
        "free_memory (bytes)",
        "language (BCP 47)",
        "last_reboot (Unix s)",
        "orientation",
        "headset",
        "bearer",
        "signal (dBm)",
        "display",
    ]
    assert [entry.name for entry in FIELD if entry.type is Type.BOOLEAN] == ["roaming", "headset"]
    assert [entry.name for entry in FIELD if entry.type is Type.INTEGER] == ["free_memory", "last_reboot"]
    assert [entry.name for entry in FIELD if entry.type is Type.NUMBER] == ["battery", "signal"]
    assert list(Vocabulary()) == list(FIELD)


def test_names_and_what_messages_call_them() -> None:
    assert list(VOCABULARY) == [*FIELD, *OWN]
    for entry in VOCABULARY:
        assert VOCABULARY.named(entry.name) is VOCABULARY.on_wire(entry.wire) is entry
        assert (VOCABULARY.name_of(entry.wire), VOCABULARY.wire_of(entry.name)) == (entry.name, entry.wire)
    assert VOCABULARY.named("t") is VOCABULARY.on_wire("door") is None


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        (11, "11"),
        (65_535, "65535"),
        ("color", "color"),
        ("7", '"7"'),
        ("battery", '"battery"'),
        ('"a"', '"\\"a\\""'),
        ("a\n", '"a\\n"'),
        ("\u0663", '"\\u0663"'),
    ],
)
def test_what_is_not_known_has_its_number_or_text_for_a_name(wire: int | str, name: str) -> None:
    assert (VOCABULARY.name_of(wire), VOCABULARY.wire_of(name)) == (name, wire)


@given(st.integers(0, 65_535) | st.text(min_size=1, max_size=32).filter(right_on_wire))
def test_every_property_has_a_name_of_its_own(wire: int | str) -> None:
    assert VOCABULARY.wire_of(VOCABULARY.name_of(wire)) == wire


@pytest.mark.parametrize("name", ["", "65536", "x" * 33, "é" * 17, '""', '"a', '"\\ud800"', "\udc80"])
def test_what_no_message_can_name(name: str) -> None:
    with pytest.raises(LocalError, match="known are battery, firmware") as caught:
        VOCABULARY.wire_of(name)
    assert "65535" in caught.value.hint


VALUES: dict[str, tuple[list[Value], list[Any]]] = {
    "battery": ([0, 100, 86, 86.5], [-1, 100.5, True, "86", b"", float("nan"), float("inf")]),
    "firmware": (["", "4.2", "é" * 128], ["é" * 128 + "x", "\ud800", 4, True, b"4"]),
    "roaming": ([True, False], [0, 1, "true"]),
    "free_memory": ([0, (1 << 63) - 1], [-1, 1 << 63, 1.0, True]),
    "signal": ([-90, 3, -0.5], [-(1 << 63) - 1, 1 << 63, "-90"]),
    "temperature": ([-40, 85.5, 20.0], [-40.1, 86]),
    "count": ([0, 5], [-1, 5.0]),
    "depth": ([0, -(1 << 63)], [1, -(1 << 63) - 1]),
    "note": (["", "abcd"], ["abcde", "éé5"]),
    "mac": ([b"", bytes(6)], [bytes(7), "00"]),
}


@pytest.mark.parametrize("name", VALUES)
def test_which_values_are_right(name: str) -> None:
    entry = VOCABULARY.named(name)
    assert entry is not None
    right, wrong = VALUES[name]
    assert [entry.fault(value) for value in (*right, None)] == [""] * (len(right) + 1)
    assert {entry.fault(value) for value in wrong} == {f"expected {entry.expected()}"}
    for value in right:
        items = decode_report(encode_report({entry.wire: value})).properties
        assert items is not None
        assert decoded(items) == {entry.wire: value}


def test_what_is_expected() -> None:
    expected = {entry.name: entry.expected() for entry in VOCABULARY}
    assert expected["battery"] == "a number from 0 to 100"
    assert expected["free_memory"] == "an integer not below 0"
    assert expected["depth"] == "an integer not above 0"
    assert expected["signal"] == "a number"
    assert expected["door"] == "true or false"
    assert expected["firmware"] == "text of at most 256 bytes"
    assert expected["mac"] == "at most 6 bytes"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("battery", "86", 86),
        ("battery", "86.0", 86.0),
        ("battery", "null", None),
        ("free_memory", "51200", 51_200),
        ("signal", "-9e1", -90.0),
        ("door", "true", True),
        ("door", "false", False),
        ("firmware", "4.2", "4.2"),
        ("firmware", "", ""),
        ("firmware", "true", "true"),
        ("firmware", "null", None),
        ("mac", "00FF", b"\x00\xff"),
    ],
)
def test_values_as_people_type_them(name: str, text: str, value: Value) -> None:
    entry = VOCABULARY.named(name)
    assert entry is not None
    found = entry.read(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("battery", "101"),
        ("battery", "full"),
        ("battery", "true"),
        ("battery", "NaN"),
        ("battery", "1_0"),
        ("battery", ""),
        ("battery", "9" * 5000),
        ("battery", "[" * 100_000),
        ("free_memory", "1.0"),
        ("door", "1"),
        ("door", "yes"),
        ("note", "abcde"),
        ("firmware", "\udc80"),
        ("mac", "0"),
        ("mac", "zz"),
    ],
)
def test_what_is_no_value_is_refused_in_one_line(name: str, text: str) -> None:
    entry = VOCABULARY.named(name)
    assert entry is not None
    with pytest.raises(LocalError) as caught:
        entry.read(text)
    assert str(caught.value) == f"{entry}: expected {entry.expected()}"
    assert caught.value.hint


def test_values_as_people_read_them() -> None:
    battery, _, roaming, *_ = FIELD
    assert [battery.shown(value) for value in (86, 86.5, None, True, "x")] == ["86 %", "86.5 %", "null", "true", "x"]
    assert roaming.shown(False) == "false"
    assert FIELD[4].shown("de-DE") == "de-DE"
    assert [shown(value) for value in (b"\x00\xff", "é", "a\n", 1 << 62)] == ["00ff", "é", '"a\\n"', str(1 << 62)]


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary())
def test_any_value_is_shown_in_one_printable_line(value: Value) -> None:
    assert all(text.isprintable() for text in (shown(value), *(entry.shown(value) for entry in VOCABULARY)))
