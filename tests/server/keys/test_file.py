"""keys.json."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_server.keys.file import KeyFileError, parse, text_of
from dpe_server.keys.ring import KeyRing

KEY = st.binary(min_size=32, max_size=32)
RING = st.dictionaries(st.integers(1, 255), KEY, min_size=1)
GOOD: dict[str, Any] = {"master": {"1": "aa" * 32}, "handle": {"1": "bb" * 32}, "at_rest": "cc" * 32}


@given(master=RING, handle=RING, at_rest=KEY)
def test_keys_come_back_as_they_were_written(
    master: dict[int, bytes], handle: dict[int, bytes], at_rest: bytes
) -> None:
    keys = KeyRing(master, handle, at_rest)
    assert parse(text_of(keys)) == keys
    assert text_of(parse(text_of(keys))) == text_of(keys)


def test_the_repr_shows_no_key() -> None:
    keys = parse(json.dumps(GOOD))
    assert "aaaa" not in repr(keys)
    assert repr(b"\xcc" * 32) not in repr(keys)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"extra": 1}, "no other"),
        ({"at_rest": None}, "at_rest: expected 32 bytes in hex"),
        ({"at_rest": "cc" * 31}, "at_rest: expected 32 bytes in hex"),
        ({"at_rest": "dd" * 31 + "xy"}, "at_rest: expected 32 bytes in hex"),
        ({"master": {}}, "master: expected keys by generation, 1 to 255"),
        ({"master": []}, "master: expected keys by generation"),
        ({"handle": {"0": "bb" * 32}}, "handle: expected keys by generation"),
        ({"handle": {"256": "bb" * 32}}, "handle: expected keys by generation"),
        ({"handle": {"01": "bb" * 32}}, "handle: expected keys by generation"),
        ({"handle": {"\u0661": "bb" * 32}}, "handle: expected keys by generation"),
        ({"handle": {"1": "bb" * 32, "2": "bb" * 33}}, "handle.2: expected 32 bytes in hex"),
    ],
)
def test_a_fault_names_the_entry_and_no_key(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        parse(json.dumps(GOOD | change), "s/keys.json")
    told = f"{caught.value} {caught.value.hint}"
    assert told.startswith("s/keys.json: ")
    assert fault in told
    assert not any(pair in told for pair in ("aaaa", "bbbb", "cccc", "dddd"))


@pytest.mark.parametrize("entry", GOOD)
def test_a_missing_entry_is_a_fault(entry: str) -> None:
    with pytest.raises(KeyFileError, match="master, handle and at_rest"):
        parse(json.dumps({name: value for name, value in GOOD.items() if name != entry}))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not JSON"),
        ('{"at_rest": "' + "cc" * 32, "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "expected the entries"),
        ('{"at_rest": "1", "at_rest": "2"}', "twice"),
        ('{"master": {"1": "' + "aa" * 32 + '", "1": "' + "aa" * 32 + '"}}', "twice"),
    ],
)
def test_what_is_no_key_file(text: str, fault: str) -> None:
    with pytest.raises(KeyFileError, match=fault) as caught:
        parse(text)
    assert "aaaa" not in str(caught.value)
    assert "cccc" not in str(caught.value)
    assert caught.value.__cause__ is None
