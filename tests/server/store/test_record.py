"""The record of a device: what it reported last, as one byte string."""

import cbor2
from hypothesis import given
from hypothesis import strategies as st

from dpe_server.store.record import EMPTY, NULL, Entry, count, entries, merge

BATTERY, FIRMWARE, OWN = b"\x00", b"\x01", b"\x65level"


def test_what_is_reported_has_its_time_and_the_order_of_the_encodings() -> None:
    record = merge(EMPTY, {OWN: b"\x18\x2a", BATTERY: b"\x14"}, 1_000)
    assert record is not None
    record = merge(record, {FIRMWARE: b"\x61a", BATTERY: b"\x13"}, 2_000)
    assert record is not None
    assert list(entries(record)) == [
        Entry(BATTERY, b"\x13", 2_000),
        Entry(FIRMWARE, b"\x61a", 2_000),
        Entry(OWN, b"\x18\x2a", 1_000),
    ]


def test_null_takes_a_property_away() -> None:
    record = merge(EMPTY, {BATTERY: b"\x14", FIRMWARE: b"\x61a"}, 1)
    assert record is not None
    assert cbor2.loads(NULL) is None
    assert merge(record, {BATTERY: NULL, OWN: NULL}, 2) == merge(EMPTY, {FIRMWARE: b"\x61a"}, 1)
    assert merge(record, {BATTERY: NULL, FIRMWARE: NULL}, 2) == EMPTY


def test_nothing_reported_changes_nothing() -> None:
    record = merge(EMPTY, {BATTERY: b"\x14"}, 1)
    assert record is not None
    assert merge(record, {}, 2) == record


def test_sixty_four_properties_and_no_more() -> None:
    record = merge(EMPTY, {bytes([0x18, n]): b"\x00" for n in range(100, 164)}, 1)
    assert record is not None
    assert len(list(entries(record))) == count(record) == 64
    assert merge(record, {BATTERY: b"\x00"}, 2) is None
    assert merge(record, {BATTERY: b"\x00", bytes([0x18, 100]): NULL}, 2) is not None


def test_four_thousand_and_ninety_six_bytes_and_no_more() -> None:
    value = b"\x59\x01\x00" + bytes(256)
    record = merge(EMPTY, {bytes([n]): value for n in range(15)}, 1)  # 15 * 260 = 3,900
    assert record is not None
    fits = b"\x58\xc1" + bytes(193)  # 195 and 1: 4,096
    assert merge(record, {b"\x10": fits}, 2) is not None
    assert merge(record, {b"\x10": b"\x58\xc2" + bytes(194)}, 2) is None


@given(
    st.lists(
        st.dictionaries(st.binary(min_size=1, max_size=4), st.binary(min_size=1, max_size=6), max_size=8), max_size=6
    )
)
def test_it_is_the_last_of_each(reports: list[dict[bytes, bytes]]) -> None:
    record: bytes | None = EMPTY
    expected: dict[bytes, tuple[bytes, int]] = {}
    for at, items in enumerate(reports):
        assert record is not None
        record = merge(record, items, at)
        for property_, value in items.items():
            expected[property_] = (value, at)
            if value == NULL:
                del expected[property_]
    assert record is not None
    assert {entry.property: (entry.value, entry.at) for entry in entries(record)} == expected


def test_a_property_that_is_new_has_its_place_before_others() -> None:
    record = merge(EMPTY, {FIRMWARE: b"\x61a", OWN: b"\x58\x20" + bytes(32)}, 1)
    assert record is not None
    assert count(record) == 2
    record = merge(record, {BATTERY: b"\x14"}, 2)
    assert record is not None
    assert [entry.property for entry in entries(record)] == [BATTERY, FIRMWARE, OWN]
    assert count(record) == 3
