"""The IMEI: what is read, what is refused, what is never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei, luhn

DIGITS = "49015420323751"  # with check digit 8: the example that everybody uses


@pytest.mark.parametrize(
    "text",
    [DIGITS, DIGITS + "8", DIGITS + "0", DIGITS + "77", "49-015420-323751-8", "49 015420 323751/8", f" {DIGITS}\n"],
)
def test_forms_of_one_imei(text: str) -> None:
    imei = Imei.parse(text)
    assert imei.digits == DIGITS
    assert imei.packed == bytes.fromhex(DIGITS)
    assert imei.tac == DIGITS[:8]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "other characters"),
        ("4901542032375", "13 digits"),
        (DIGITS + "123", "17 digits"),
        (DIGITS + "7", "check digit"),
        ("4901542032375A", "other characters"),
        ("४९०१५४२०३२३७५१", "other characters"),
    ],
)
def test_refused_forms(text: str, fault: str) -> None:
    with pytest.raises(LocalError, match=fault) as caught:
        Imei.parse(text)
    assert caught.value.hint
    assert not text or text not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("packed", [b"", bytes(6), bytes(8), bytes.fromhex("4901542032375a")])
def test_refused_bytes(packed: bytes) -> None:
    with pytest.raises(LocalError):
        Imei(packed)


@given(st.text(alphabet="0123456789", min_size=14, max_size=14))
def test_check_digit(digits: str) -> None:
    """One wrong digit is always noticed: Luhn's promise, except where the wrong digit is the spare 0."""
    right = luhn(digits)
    assert Imei.parse(f"{digits}{right}").digits == digits
    for wrong in set(range(1, 10)) - {right}:
        with pytest.raises(LocalError):
            Imei.parse(f"{digits}{wrong}")


def test_nothing_shows_the_digits() -> None:
    imei = Imei.parse(DIGITS)
    for shown in (repr(imei), str(imei), f"{imei}", f"{[imei]}"):
        assert DIGITS not in shown
        assert DIGITS[8:] not in shown


def test_equality_is_identity_of_the_device() -> None:
    assert Imei.parse(DIGITS) == Imei.parse(DIGITS + "99")
    assert len({Imei.parse(DIGITS), Imei.parse(DIGITS + "8")}) == 1
