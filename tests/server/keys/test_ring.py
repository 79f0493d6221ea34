"""The key ring: whose a handle is, and what is claimed with keys that the ring does not have."""

from os import urandom

import pytest

from dpe_coap.imei import Imei
from dpe_coap.keys import HandleKey
from dpe_server.keys.ring import KeyRing, nobodys

IMEI = Imei.parse("35209900176148")
RING = KeyRing({1: b"1" * 32, 3: b"3" * 32}, {1: b"h" * 32, 9: b"H" * 32}, b"r" * 32)


def test_a_handle_claims_what_was_sealed_in_it() -> None:
    for epoch in RING.master:
        handle = RING.seal_handle(epoch, IMEI, urandom)
        assert RING.claim(handle, nobodys(urandom)) == (epoch, IMEI, RING.device_key(epoch, IMEI), True)


@pytest.mark.parametrize(("hkid", "epoch"), [(9, 2), (7, 1), (0, 0)])
def test_what_the_ring_has_no_keys_for_is_claimed_with_nobodys_and_not_genuine(hkid: int, epoch: int) -> None:
    made_up = nobodys(urandom)
    key = made_up[1] if hkid not in RING.handle else HandleKey(hkid, RING.handle[hkid])
    handle = bytes([hkid]) + key.seal(epoch, IMEI, urandom(8))[1:]
    _, _, device_key, genuine = RING.claim(handle, made_up)
    assert not genuine
    assert len(device_key) == 32
    assert hkid == 7 or device_key == made_up[0].device_key(IMEI)  # there is an epoch 1


def test_nobodys_keys_are_drawn_where_they_are_told_and_are_two() -> None:
    drawn = [b"m" * 32, b"h" * 32]
    master, handle = nobodys(lambda size: drawn.pop(0)[:size])
    assert master.device_key(IMEI) == KeyRing({0: b"m" * 32}, {}, b"").device_key(0, IMEI)
    assert handle.seal(0, IMEI, bytes(8)) == KeyRing({}, {0: b"h" * 32}, b"").seal_handle(0, IMEI, bytes)
