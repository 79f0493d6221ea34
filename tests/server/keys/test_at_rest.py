"""What is hashed and sealed for the database."""

from dataclasses import dataclass
from os import urandom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.imei import Imei
from dpe_server.keys.at_rest import SIZE_DEVICE, AtRest, AtRestError

KEY = bytes(range(32))
IMEI = Imei.parse("35209900176148")
OTHER = Imei.parse("35209900176149")


def test_a_device_has_one_name_under_one_key() -> None:
    device = AtRest(KEY, urandom).device_id(IMEI)
    assert len(device) == SIZE_DEVICE
    assert AtRest(KEY, urandom).device_id(Imei.parse("352099001761481")) == device
    assert AtRest(KEY, urandom).device_id(OTHER) != device
    assert AtRest(bytes(32), urandom).device_id(IMEI) != device


def test_names_and_keys_stay_what_they_are() -> None:
    """A database in the field depends on them. The value was made with `openssl dgst -sha256 -mac HMAC`, twice."""
    assert AtRest(KEY, urandom).device_id(IMEI).hex() == "12c8e88cdec6438c07c41373cd6b5ee6"


@given(st.binary(max_size=80))
def test_what_is_sealed_opens(keys: bytes) -> None:
    at_rest = AtRest(KEY, urandom)
    client_id = 0x1C77F1FADC7917
    assert at_rest.open_keys(at_rest.seal_keys(keys, client_id), client_id) == keys
    device = at_rest.device_id(IMEI)
    assert at_rest.open_imei(at_rest.seal_imei(IMEI, device), device) == IMEI


def test_a_seal_is_never_the_same_twice_and_hides_its_content() -> None:
    at_rest = AtRest(KEY, urandom)
    seals = {at_rest.seal_imei(IMEI, bytes(16)) for _ in range(100)}
    assert len(seals) == 100
    assert not any(IMEI.packed in seal for seal in seals)


def test_a_seal_draws_its_nonce_where_it_is_told() -> None:
    drawn = [b"first  nonce", b"second nonce"]
    at_rest = AtRest(KEY, lambda size: drawn.pop(0)[:size])
    assert at_rest.seal_imei(IMEI, bytes(16)).startswith(b"first  nonce")
    assert at_rest.seal_keys(b"keys", 7).startswith(b"second nonce")


@dataclass(frozen=True)
class Attempt:
    key: bytes = KEY
    client_id: int = 7
    flip: int | None = None
    size: int | None = None


@pytest.mark.parametrize(
    "attempt",
    [Attempt(key=bytes(32)), Attempt(client_id=8), *(Attempt(flip=n) for n in range(12 + 24 + 16))]
    + [Attempt(size=n) for n in (0, 1, 7, 8, 11, 12, 27, 28, 51)],
    ids=str,
)
def test_what_was_not_sealed_so_does_not_open(attempt: Attempt) -> None:
    sealed = bytearray(AtRest(KEY, urandom).seal_keys(b"the keys of the session.", 7))
    if attempt.flip is not None:
        sealed[attempt.flip] ^= 1
    with pytest.raises(AtRestError, match="does not open") as caught:
        AtRest(attempt.key, urandom).open_keys(bytes(sealed[: attempt.size]), attempt.client_id)
    assert "keys.json" in caught.value.hint
    assert caught.value.__cause__ is None


def test_an_imei_does_not_open_as_session_keys_nor_for_another_device() -> None:
    at_rest = AtRest(KEY, urandom)
    sealed = at_rest.seal_imei(IMEI, bytes(16))
    with pytest.raises(AtRestError):
        at_rest.open_keys(sealed, 0)
    with pytest.raises(AtRestError):
        at_rest.open_imei(sealed, bytes(15) + b"\x01")


def test_the_repr_shows_no_key() -> None:
    assert KEY.hex() not in repr(vars(AtRest(KEY, urandom))) + repr(AtRest(KEY, urandom))
    assert repr(KEY) not in repr(AtRest(KEY, urandom))
