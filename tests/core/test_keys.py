"""What the vectors do not say of the key schedule: refusals, and that nothing secret is shown."""

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap import keys
from dpe_coap.errors import MalformedMessage
from dpe_coap.imei import Imei

LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("peer", LOW_ORDER, ids=bytes.hex)
def test_all_zero_shared_secret(peer: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        keys.agree(b"\x11" * 32, peer)
    error = caught.value
    assert (error.fault, error.offset, error.key) == ("X25519 key is of low order", 0, 6)


def test_agreement() -> None:
    alice, bob = b"\x21" * 32, b"\x42" * 32
    assert keys.agree(alice, keys.ephemeral(bob)) == keys.agree(bob, keys.ephemeral(alice))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=17, max_size=17))
def test_a_handle_of_another_key(key: bytes, handle: bytes) -> None:
    epoch, imei, issued, opens = keys.HandleKey(1, key).open(handle)
    assert 0 <= epoch <= 255
    assert 0 <= issued <= keys.MAX_ISSUED
    assert imei.digits.isdecimal()
    assert opens or imei.digits == "0" * 14


@given(st.binary(min_size=17, max_size=17), st.binary(min_size=17, max_size=17))
def test_xor_undoes_itself(a: bytes, b: bytes) -> None:
    assert keys.xor(keys.xor(a, b), b) == a
    assert keys.xor(a, bytes(17)) == a


def test_a_realm_has_its_own_key() -> None:
    key = bytes(32)
    assert keys.RequestStep.of(key, "one").mac_key != keys.RequestStep.of(key, "two").mac_key


def test_a_handle_is_one_block_behind_its_key_s_number() -> None:
    key, imei = keys.HandleKey(9, bytes(32)), Imei.parse("35209900176148")
    assert keys.MAX_ISSUED == 0xFFFF_FFFF
    for issued in (0, keys.MAX_ISSUED, 0x01020304):  # nothing of one block is left for the next
        handle = key.seal(1, imei, issued, bytes(keys.HANDLE_RANDOM_SIZE))
        assert (len(handle), handle[0]) == (17, 9)
        assert key.open(handle) == (1, imei, issued, True)


def test_a_handle_of_before_still_opens() -> None:
    """It has 8 random bytes, of which 4 are read as the time of issue."""
    block = bytes([1]) + Imei.parse("35209900176148").packed + bytes.fromhex("fffefdfcfbfaf9f8")
    sealed = Cipher(algorithms.AES(bytes(32)), modes.ECB()).encryptor().update(block)
    assert keys.HandleKey(9, bytes(32)).open(b"\x09" + sealed) == (1, Imei(block[1:8]), 0xFFFEFDFC, True)


def test_without_x25519_nothing_takes_its_place() -> None:
    request = keys.RequestStep.of(bytes(32), "realm")
    assert request.respond(bytes(61), bytes(16)) == request.respond(bytes(61), bytes(16), b"")
    assert request.respond(bytes(61), bytes(16)) != request.respond(bytes(61), bytes(16), bytes(64))


def test_a_server_goes_on_from_what_it_keeps() -> None:
    response = bytes(range(72))
    step = keys.RequestStep.of(bytes(32), "realm").respond(bytes(61), bytes(16))
    assert keys.SuccessStep.after(step.th1, response, step.next(response).prk3) == step.next(response)


def test_no_secret_in_a_repr() -> None:
    request = keys.RequestStep.of(b"\x5a" * 32, "realm")
    response = request.respond(bytes(61), bytes(16))
    success = response.next(bytes(72))
    confirm = success.next(bytes(32))
    for step in (request, response, success, confirm):
        assert repr(step) == f"{type(step).__name__}()"


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_hmac_is_that_of_the_standard_library(key: bytes, data: bytes) -> None:
    expected = hmac.digest(key, data, "sha256")
    assert keys._hmac(key, data) == expected
    prepared = keys.HmacKey(key)
    assert [prepared.mac(data), prepared.mac(data)] == [expected] * 2


def test_verify_of_too_few_bytes() -> None:
    step = keys.RequestStep.of(bytes(32), "realm")
    for size in range(16):
        assert not step.verify(bytes(size))
