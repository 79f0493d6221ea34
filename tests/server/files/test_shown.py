"""What errors repeat: whole if it is short, and printable."""

import pytest

from dpe_server.files.shown import LONGEST, shown_key, shown_value


def test_a_key_is_shown_whole_if_it_is_short() -> None:
    assert shown_key("a" * LONGEST) == "a" * LONGEST
    assert shown_key("a" * (LONGEST + 1)) == "a" * (LONGEST - 3) + "..."
    assert len(shown_key("\x1b" * LONGEST)) == LONGEST
    assert shown_key("\x1b" * LONGEST).isprintable()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        ([1, "a"], '[1, "a"]'),
        ("a\x1b\x7f\n\N{LATIN SMALL LETTER E WITH ACUTE}", r'"a\u001b\u007f\n\u00e9"'),
        ("a" * (LONGEST - 2), f'"{"a" * (LONGEST - 2)}"'),
        ("a" * (LONGEST - 1), f'"{"a" * (LONGEST - 4)}...'),
    ],
)
def test_a_value_is_shown_close_to_toml_and_whole_if_it_is_short(value: object, shown: str) -> None:
    assert shown_value(value) == shown
