"""The key ring: whose a handle is, and what is claimed with keys that the ring does not have."""

from os import urandom

import pytest

from dpe_coap.imei import Imei
from dpe_coap.keys import MAX_ISSUED, HandleKey
from dpe_server.keys.ring import KeyRing, freshness, next_issued, nobodys

IMEI = Imei.parse("35209900176148")
RING = KeyRing({1: b"1" * 32, 3: b"3" * 32}, {1: b"h" * 32, 9: b"H" * 32}, b"r" * 32)


def test_a_handle_claims_what_was_sealed_in_it() -> None:
    for epoch in RING.master:
        handle = RING.seal_handle(epoch, IMEI, 1_800_000_000, urandom)
        assert handle[0] == 9
        claimed = (epoch, IMEI, 1_800_000_000, RING.device_key(epoch, IMEI), True)
        assert RING.claim(handle, nobodys(urandom)) == claimed


def test_two_handles_of_one_second_differ() -> None:
    assert RING.seal_handle(1, IMEI, 5, urandom) != RING.seal_handle(1, IMEI, 5, urandom)


def test_an_imei_in_clear_claims_each_epoch_the_newest_first_and_no_time_of_issue() -> None:
    assert RING.claims_of(IMEI) == [(epoch, IMEI, 0, RING.device_key(epoch, IMEI), True) for epoch in (3, 1)]


NOW = 1_800_000_000.9


@pytest.mark.parametrize(
    ("issued", "after"),
    [
        (0, 1_800_000_000),  # an IMEI in clear
        (1_700_000_000, 1_800_000_000),
        (1_799_999_999, 1_800_000_000),
        (1_800_000_000, 1_800_000_001),  # the same second
        (1_800_000_001, 1_800_000_002),  # by a server whose clock is ahead
        (2_100_000_000, 2_100_000_001),  # the clock was set back, by ten years
    ],
)
def test_the_handles_of_a_device_rise_whatever_the_clock_says(issued: int, after: int) -> None:
    assert freshness(issued, NOW) == issued
    assert next_issued(freshness(issued, NOW), NOW) == after


@pytest.mark.parametrize("issued", [MAX_ISSUED, 3_000_000_000, 2_115_576_001])
def test_a_time_of_issue_that_no_clock_has_said_is_worth_nothing_and_the_next_is_now(issued: int) -> None:
    """The random bytes of a handle from before do not take a device to the end of the numbers."""
    assert freshness(issued, NOW) == 0
    assert next_issued(0, NOW) == 1_800_000_000
    assert freshness(2_115_576_000, NOW) == 2_115_576_000


def test_times_of_issue_end_in_2106() -> None:
    assert (
        next_issued(MAX_ISSUED - 1, 4e9)
        == next_issued(MAX_ISSUED, 4e9)
        == next_issued(0, 5e9)
        == MAX_ISSUED
        == 2**32 - 1
    )
    assert RING.claim(RING.seal_handle(1, IMEI, MAX_ISSUED, urandom), nobodys(urandom))[2] == MAX_ISSUED


@pytest.mark.parametrize(("hkid", "epoch"), [(9, 2), (7, 1), (0, 0)])
def test_what_the_ring_has_no_keys_for_is_claimed_with_nobodys_and_not_genuine(hkid: int, epoch: int) -> None:
    made_up = nobodys(urandom)
    key = made_up[1] if hkid not in RING.handle else HandleKey(hkid, RING.handle[hkid])
    handle = bytes([hkid]) + key.seal(epoch, IMEI, 0, urandom(4))[1:]
    _, _, _, device_key, genuine = RING.claim(handle, made_up)
    assert not genuine
    assert len(device_key) == 32
    assert hkid == 7 or device_key == made_up[0].device_key(IMEI)  # there is an epoch 1


def test_nobodys_keys_are_drawn_where_they_are_told_and_are_two() -> None:
    drawn = [b"m" * 32, b"h" * 32]
    master, handle = nobodys(lambda size: drawn.pop(0)[:size])
    assert master.device_key(IMEI) == KeyRing({0: b"m" * 32}, {}, b"").device_key(0, IMEI)
    assert handle.seal(0, IMEI, 0, bytes(4)) == KeyRing({}, {0: b"h" * 32}, b"").seal_handle(0, IMEI, 0, bytes)
