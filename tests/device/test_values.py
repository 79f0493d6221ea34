"""Properties and policies in CBOR, as the device writes and reads them."""

from binascii import unhexlify

from dpe_device.values import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KNOWN: "tuple[tuple[Any, str], ...]" = (  # RFC 8949 appendix A
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    ((1 << 63) - 1, "1b7fffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (-(1 << 63), "3b7fffffffffffffff"),
    (0.0, "f90000"),
    (-0.0, "f98000"),
    (1.0, "f93c00"),
    (1.5, "f93e00"),
    (65504.0, "f97bff"),
    (65536.0, "fa47800000"),
    (100000.0, "fa47c35000"),
    (5.960464477539063e-8, "f90001"),
    (0.00006103515625, "f90400"),
    (0.00006097555160522461, "f903ff"),
    (-4.0, "f9c400"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\1\2\3\4", "4401020304"),
    ("", "60"),
    ("IETF", "6449455446"),
    ("\u00fc", "62c3bc"),
    ("x" * 24, "7818" + "78" * 24),
    (b"x" * 256, "590100" + "78" * 256),
    ({}, "a0"),
    ({1: 2, 0: {"b": True, 100: -1.5, "a": None, 24: "x"}}, "a200a4181861781864f9be006161f66162f50102"),
)
EXACT: "tuple[tuple[float, str], ...]" = (  # where there are doubles
    (1.1, "fb3ff199999999999a"),
    (-4.1, "fbc010666666666666"),
    (2.0**1000, "fb7e70000000000000"),
    ((2 - 2.0**-23) * 2.0**127, "fa7f7fffff"),
    ((2 - 2.0**-24) * 2.0**127, "fb47effffff0000000"),
    (2.0**-1074, "fb0000000000000001"),
)


def fails(call: "Any", *arguments: "Any") -> bool:
    try:
        call(*arguments)
    except (ValueError, TypeError, OverflowError):
        return True
    return False


def test_known_encodings() -> None:
    for value, encoding in KNOWN + (EXACT if 1.1 * 3 != 3.3 else ()):
        data = unhexlify(encoding)
        assert encode(value) == data, encoding
        back = decode(data)
        assert back == value
        assert isinstance(back, bool) == isinstance(value, bool)
        assert str(back)[:1] == str(value)[:1]  # not 0.0 for -0.0; a whole number may be an integer


def test_what_is_no_value_is_refused() -> None:
    for value in (
        1 << 63,
        -(1 << 63) - 1,
        float("nan"),
        float("inf"),
        -float("inf"),
        "x" * 257,
        b"x" * 257,
        [],
        (1,),
        object(),
    ):
        assert fails(encode, value)


def test_what_is_not_deterministic_is_refused() -> None:
    for encoding in (
        "",
        "1817",
        "19000a",
        "3800",
        "fa3f800000",
        "fb3ff8000000000000",
        "f814",
        "5801",
        "61ff",
        "a2010000",
        "a101",
        "a2000100",
        "a2000100010000",
        "0000",
        "bf0000ff",
        "1b00000000",
    ):
        assert fails(decode, unhexlify(encoding)), encoding


def test_arrays_and_tags_are_there_and_not_told() -> None:
    assert decode(unhexlify("a2008201820203016161")) == {0: (1, (2, 3)), 1: "a"}
