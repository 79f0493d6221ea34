"""The strict CBOR of the DPE Client: every rule of RFC 8949 section 4.2.1 and of the message schema."""

from binascii import unhexlify

from dpe_device import messages
from tests.device.scripted import encode

RESPONSE = {0: 2, 2: (1, 0), 3: bytes(7), 4: 0, 5: bytes(17), 23: bytes(32)}
REFUSAL = {0: 2, 2: (1, 0), 4: 2, 23: bytes(32)}
CONFIRM = {0: 4, 4: 0, 23: bytes(16)}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def changed(message: "dict[int, Any]", **fields: "Any") -> "dict[int, Any]":
    """A message with other values for labels given as `_4=1`."""
    other = dict(message)
    for name, value in fields.items():
        other[int(name[1:])] = value
    return other


def decode(data: bytes) -> "dict[int, Any] | None":
    """The fields of a RESPONSE or a CONFIRM, or None if it is refused as either; they never take the same message."""
    found = None
    for kind in (2, 4):
        try:
            fields = messages.decode(data, kind)
        except ValueError:
            continue
        assert found is None
        assert fields[0] == kind
        found = fields
    return found


def refuses(data: bytes) -> bool:
    return decode(data) is None


def with_value(item: str, label: int = 11) -> bytes:
    """CONFIRM with an unknown label that holds an item, given in hex."""
    return b"\xa4\0\4\4\0" + bytes((label,)) + unhexlify(item) + b"\x17\x50" + bytes(16)


def test_what_is_encoded_is_decoded() -> None:
    for fields in (
        RESPONSE,
        changed(RESPONSE, _2=(255, 24)),
        changed(RESPONSE, _6=bytes(32), _10=4294967295),
        REFUSAL,
        changed(REFUSAL, _4=255, _10=65536),
        changed(REFUSAL, _4=6, _8="coap://[::1]:1"),
        changed(REFUSAL, _4=6, _8="x" * 128),
        changed(REFUSAL, _4=6, _8="coap://\u00e9"),
        CONFIRM,
        changed(CONFIRM, _4=255),
        changed(CONFIRM, _9=0),
        changed(CONFIRM, _9=23),
        changed(CONFIRM, _9=24),
        changed(CONFIRM, _9=255),
        changed(CONFIRM, _9=256),
        changed(CONFIRM, _9=65535),
        changed(CONFIRM, _9=4294967295),
    ):
        assert decode(encode(fields)) == fields


def test_refuses_fields_out_of_range() -> None:
    for fields in (
        changed(RESPONSE, _0=0),
        changed(RESPONSE, _0=5),
        changed(RESPONSE, _2=(256, 0)),
        changed(RESPONSE, _2=(0, 65536)),
        changed(RESPONSE, _2=(1, -1)),
        changed(RESPONSE, _2=(b"", 0)),
        changed(RESPONSE, _2=(1,)),
        changed(RESPONSE, _2=(1, 0, 0)),
        changed(RESPONSE, _2=()),
        changed(RESPONSE, _2=1),
        changed(RESPONSE, _6=bytes(31)),
        changed(RESPONSE, _6="x" * 32),
        changed(RESPONSE, _23=bytes(31)),
        changed(RESPONSE, _3=bytes(8)),
        changed(RESPONSE, _4=256),
        changed(RESPONSE, _5=bytes(16)),
        changed(RESPONSE, _10=4294967296),
        changed(RESPONSE, _10=-1),
        changed(RESPONSE, _23=bytes(16)),
        changed(REFUSAL, _4=6, _8=""),
        changed(REFUSAL, _4=6, _8="x" * 129),
        changed(REFUSAL, _4=6, _8="\u00e9" * 65),
        changed(REFUSAL, _4=6, _8=b"x"),
        changed(CONFIRM, _4=256),
        changed(CONFIRM, _4=()),
        changed(CONFIRM, _23=bytes(32)),
        changed(CONFIRM, _23=bytes(17)),
        changed(CONFIRM, _9=-1),
    ):
        assert refuses(encode(fields)), fields


def test_refuses_a_message_without_a_field_that_it_needs() -> None:
    for fields in (RESPONSE, REFUSAL, CONFIRM):
        for label in fields:
            assert refuses(encode(changed(fields, **{f"_{label}": None}))), (fields, label)


def test_refuses_what_does_not_go_with_the_status() -> None:
    for fields in (
        changed(RESPONSE, _3=None),
        changed(RESPONSE, _5=None),
        changed(RESPONSE, _4=2),
        changed(RESPONSE, _8="coap://x"),
        changed(REFUSAL, _3=bytes(7)),
        changed(REFUSAL, _5=bytes(17)),
        changed(REFUSAL, _8="coap://x"),
        changed(REFUSAL, _4=6),
        changed(REFUSAL, _4=6, _8="coap://x", _3=bytes(7)),
        changed(REFUSAL, _4=0),
    ):
        assert refuses(encode(fields)), fields


def test_ignores_labels_that_the_type_does_not_define() -> None:
    for item in ("00", "20", "390100", "43010203", "63616263", "820102", "a10102", "c100", "f5", "f820", "f8ff"):
        for label in (1, 2, 3, 5, 6, 7, 8, 10, 11, 22):
            if label > 4:
                assert decode(with_value(item, label)) == CONFIRM
    assert decode(encode(changed(REFUSAL, _1=bytes(17), _7="1", _9=1, _22=()))) == REFUSAL
    every = b"".join([bytes((label, {0: 4}.get(label, 0))) for label in range(23)])
    assert decode(b"\xb8\x18" + every + b"\x17\x50" + bytes(16)) == changed(CONFIRM, _9=0)
    assert refuses(b"\xb8" + every + b"\x17\x50" + bytes(16))


def test_the_messages_of_a_client_are_not_for_a_client() -> None:
    for fields in ({0: 1, 1: bytes(17), 2: (1, 0), 23: bytes(32)}, {0: 3, 3: bytes(7), 4: 0, 23: bytes(16)}):
        assert refuses(encode(fields))


def test_accepts_deterministic_items_in_what_it_ignores() -> None:
    for item in (
        "1bffffffffffffffff",
        "3bffffffffffffffff",
        "1b0000000100000000",
        "1a00010000",
        "190100",
        "1818",
        "60",
        "62c3a9",
        "63e0a080",
        "63ed9fbf",
        "63ee8080",
        "64f0908080",
        "64f48fbfbf",
        "80",
        "a0",
        "8181818100",
        "81818180",
        "c1c1c1c100",
        "a100a100a100a0",
        "a2000001f6",
        "a3000018180061610a",
        "a2200061610a",
        "a18181810000",
        "c240",
        "fac7800000",
        "fa7f000000",
        "fbc7f0000000000000",
        "fb7fe0000000000000",
        "a2810000a000",
        "f4",
        "f6",
        "e0",
        "f90000",
        "f98000",
        "f97e00",
        "f97c00",
        "f90001",
        "f97e01",
        "fa47c35000",
        "fa7f800001",
        "fa7fc00001",
        "fa33000000",
        "fa00000001",
        "fb3ff199999999999a",
        "fb7ff8000000000001",
        "fb36a0000000000001",
        "fb3690000000000000",
        "fb0000000000000001",
        "fb47f0000000000000",
    ):
        assert not refuses(with_value(item)), item


def test_refuses_other_items_in_what_it_ignores() -> None:
    for item in (
        "1817",  # heads that are not shortest
        "1900ff",
        "1a0000ffff",
        "1b00000000ffffffff",
        "3817",
        "580100",
        "780161",
        "980100",
        "b8010000",
        "d80100",
        "1c",  # reserved
        "1cffffffffffffffffffffffffffffffff",
        "a1818181810000",
        "1d",
        "1e",
        "1f",  # indefinite
        "5f4100ff",
        "7f6161ff",
        "9f00ff",
        "bf0000ff",
        "ff",
        "fc",
        "fe",
        "f800",  # simple values in the wrong form
        "f81f",
        "f8",
        "61ff",  # not UTF-8
        "6180",
        "61c3",
        "62c328",
        "62c080",
        "62c1bf",
        "63e08080",
        "63e09fbf",
        "63eda080",
        "63edbfbf",
        "64f0808080",
        "64f08fbfbf",
        "64f4908080",
        "64f5808080",
        "64f8808080",
        "63e28228",
        "62e282",
        "63f09080",
        "818181818100",  # five deep
        "8181818180",
        "81818181a0",
        "c1c1c1c1c100",
        "a100a100a100a100a0",
        "a200000000",  # keys twice or not ascending
        "a201000000",
        "a261610000f6",
        "a26162f66161f6",
        "a2616100616100",
        "a218180000f6",
        "fa00000000",  # floats that have a shorter form
        "fa80000000",
        "fa3f800000",
        "fa7f800000",
        "faff800000",
        "fa7fc00000",
        "fa7f802000",
        "fa33800000",
        "fa38800000",
        "fa477fe000",
        "fb0000000000000000",
        "fb3ff0000000000000",
        "fb7ff0000000000000",
        "fb7ff8000000000000",
        "fb7ff8000020000000",
        "fb40f86a0000000000",
        "fb36a0000000000000",
        "fb47efffffe0000000",
    ):
        assert refuses(with_value(item)), item


def test_refuses_keys_that_are_not_labels() -> None:
    end = b"\x17\x50" + bytes(16)
    for key in ("20", "40", "6161", "80", "f4", "1818", "18ff", "00", "04", "03"):
        assert refuses(b"\xa4\0\4\4\0" + unhexlify(key) + b"\0" + end), key
    assert refuses(b"\xa4\0\4\4\0" + end + b"\x18\x18\0")
    assert refuses(b"\xa4\0\4\4\0" + end + b"\x20\0")
    assert refuses(b"\xa4\x01\0\0\4\4\0" + end)


def test_refuses_what_is_not_one_map() -> None:
    good = encode(CONFIRM)
    for data in (
        b"",
        b"\xb8",
        b"\xb8" + good[1:],
        b"\xb8\3" + good[1:],
        b"\xb7" + good[1:],
        b"\xa0",
        good + b"\0",
        good[:-1],
        b"\x80",
        b"\x81" + good,
        b"\xd9\xd9\xf7" + good,
        b"\xbf" + good[1:] + b"\xff",
    ):
        assert refuses(data), data
    for size in range(len(good)):
        assert refuses(good[:size])


def test_takes_256_bytes_and_no_more() -> None:
    end = b"\x17\x50" + bytes(16)
    for size, refused in ((256, False), (257, True)):
        filler = size - 5 - 3 - len(end)
        data = b"\xa4\0\4\4\0\x0b\x58" + bytes((filler,)) + bytes(filler) + end
        assert len(data) == size
        assert refuses(data) == refused


def test_huge_lengths_are_refused_at_once() -> None:
    for head in ("5b", "7b", "9b", "bb"):
        assert refuses(with_value(head + "ffffffffffffffff"))
        assert refuses(unhexlify(head + "ffffffffffffffff"))
    assert refuses(b"\x81" * 400)
    assert refuses(with_value("81" * 200))


def test_what_is_made_is_deterministic() -> None:
    for version in ((0, 23), (24, 255), (1, 0)):
        for public in (None, bytes(range(32))):
            for firmware in (None, "x", "x" * 23, "x" * 24, "\u00e9" * 16):
                for identity in (bytes(range(17)), bytes(range(7))):
                    made = messages.make_request(bytes(32), "r\u00e9", identity, version, bytes(16), public, firmware)
                    fields = {0: 1, 1: identity, 2: version, 6: public, 7: firmware, 23: bytes(32)}
                    assert made[:-16] == encode(fields)[:-16]
                    messages.verify(bytes(32), b"m1" + messages.sha256("r\u00e9".encode()).digest() + b"\1", made)
    for status in (0, 23, 24, 255):
        made = messages.make_success(bytes(32), bytes(range(7)), status)
        assert made[:-16] == encode({0: 3, 3: bytes(range(7)), 4: status, 23: bytes(16)})[:-16]
        messages.verify(bytes(32), b"m3\1", made)


def test_a_firmware_that_is_too_long_is_refused_by_name() -> None:
    for firmware in ("x" * 33, "\u00e9" * 17):
        try:
            messages.make_request(bytes(32), "realm", bytes(17), (1, 0), bytes(16), None, firmware)
        except ValueError as error:
            assert str(error) == "firmware: > 32 bytes"
            continue
        raise AssertionError(firmware)
