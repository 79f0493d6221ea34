"""The IMEI: what is read, what is refused, what is never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.errors import LocalError
from dpe_coap.imei import TAC_DIGITS, Imei, luhn

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
    assert len(imei.tac) == TAC_DIGITS


COUNT = "give 14, 15 or 16 digits"
OTHERS = ("not an IMEI: it has other characters than digits", COUNT)
MISTYPED = (
    "not an IMEI: the check digit (the 15th) is wrong",
    "look for a mistyped digit",
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", OTHERS),
        ("4901542032375", ("not an IMEI: it has 13 digits", COUNT)),
        (DIGITS + "123", ("not an IMEI: it has 17 digits", COUNT)),
        (DIGITS + "7", MISTYPED),
        ("4901542032375A", OTHERS),
        ("4901542X0323751", OTHERS),
        ("४९०१५४२०३२३७५१", OTHERS),
    ],
)
def test_refused_forms(text: str, said: tuple[str, str]) -> None:
    with pytest.raises(LocalError) as caught:
        Imei.parse(text)
    assert (str(caught.value), caught.value.hint) == said
    assert not text or text not in "".join(said)


@pytest.mark.parametrize("packed", [b"", bytes(6), bytes(8), bytes.fromhex("4901542032375a")])
def test_refused_bytes(packed: bytes) -> None:
    with pytest.raises(LocalError, match=r"^an IMEI is 7 bytes of decimal digits$"):
        Imei(packed)


def test_luhn() -> None:
    """Every second digit counts double, and of two digits the sum (ISO/IEC 7812-1 annex B)."""
    assert [luhn(f"{digit}0000000000000") for digit in range(10)] == [0, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert [luhn(f"0000000000000{digit}") for digit in range(10)] == [0, 8, 6, 4, 2, 9, 7, 5, 3, 1]
    assert luhn(DIGITS) == 8
    assert luhn("35209900176148") == 1


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
    assert repr(imei) == "Imei(redacted)"
    for shown in (repr(imei), str(imei), f"{imei}", f"{[imei]}"):
        assert DIGITS not in shown
        assert DIGITS[8:] not in shown


def test_equality_is_identity_of_the_device() -> None:
    assert Imei.parse(DIGITS) == Imei.parse(DIGITS + "99")
    assert len({Imei.parse(DIGITS), Imei.parse(DIGITS + "8")}) == 1
