"""Properties and values as people write them."""

from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_server.operators.properties import conditions, named
from dpe_server.policy import Vocabulary
from dpe_tools import properties

KNOWN = Vocabulary()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("battery=86", {0: 86}),
        ("battery=86.5", {0: 86.5}),
        ("0=86", {0: 86}),
        ("firmware=4.2", {1: "4.2"}),
        ("firmware=", {1: ""}),
        ("firmware=a=b", {1: "a=b"}),
        ("roaming=true", {2: True}),
        ("battery=null", {0: None}),
        ("24=12", {24: 12}),
        ("24=-1.5e3", {24: -1500.0}),
        ("my.name=true", {"my.name": True}),
        ('note="text"', {"note": "text"}),
        ("note=null", {"note": None}),
        ("note=h'00ff'", {"note": b"\0\xff"}),
        ("note=h''", {"note": b""}),
        ('"24"=1', {"24": 1}),
        ("tempé=1", {"tempé": 1}),
    ],
)
def test_words_that_are_properties(word: str, expected: dict[Any, Any]) -> None:
    found = properties.read([word], KNOWN)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["battery"], "expected NAME=VALUE"),
        (["battery=many"], "expected a number from 0 to 100"),
        (["battery=101"], "expected a number from 0 to 100"),
        (["roaming=1"], "expected true or false"),
        (["=1"], "a number up to 65535, or text of 1 to 32 bytes"),
        (["65536=1"], "a number up to 65535"),
        ([f"{'x' * 33}=1"], "text of 1 to 32 bytes"),
        (["note=text"], 'not a value: "text"'),
        (['note="\\ud800"'], "not a value"),
        (["note=\udcff"], "not a value"),
        (['note="\udcff"'], "not a value"),
        (["firmware=\udcff"], "expected text of at most 256 bytes"),
        (["note\udcff=1"], "text of 1 to 32 bytes"),
        (["note=1e999"], "infinite"),
        (["note=NaN"], "NaN"),
        (["note=9223372036854775808"], "more than 64 bits"),
        ([f'note="{"x" * 257}"'], "longer than 256 bytes"),
        (["note=[1]"], "not a value"),
        (['note={"a":1}'], "not a value"),
        (["note=h'0'"], "not a value"),
        (["note=" + "[" * 100_000], "not a value"),
        (["battery=1", "0=2"], "battery is there twice"),
    ],
)
def test_words_that_are_none(words: list[str], fault: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        properties.read(words, KNOWN)
    assert fault in caught.value.message


@given(st.text(max_size=40).map(lambda text: text + "=1") | st.text(max_size=40).map(lambda text: "note=" + text))
def test_any_word_is_a_property_or_a_fault(word: str) -> None:
    try:
        found = properties.read([word], KNOWN)
    except click.BadParameter:
        return
    assert len(found) == 1


def test_what_is_read_is_shown_the_same() -> None:
    found = properties.read(["battery=86", "signal=-70.5", "firmware=4.2", "24=h'01'", "roaming=null"], KNOWN)
    assert properties.in_words(found, KNOWN) == "battery 86 %, signal -70.5 dBm, firmware 4.2, 24 01, roaming null"
    assert named(found, KNOWN) == {
        "battery": 86,
        "signal": -70.5,
        "firmware": "4.2",
        "24": {"bytes": "01"},
        "roaming": None,
    }


def test_conditions_have_names() -> None:
    told = conditions({0: {0: 60, 1: 3600, 4: 5, 99: True}, "x": {}}, KNOWN)
    assert told == {"battery": {"pmin": 60, "pmax": 3600, "st": 5, "99": True}, "x": {}}
