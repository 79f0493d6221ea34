"""A credential: made, written, read."""

import json
import time
from os import urandom
from typing import Any
from unittest.mock import ANY

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.imei import Imei
from dpe_server.keys.ring import KeyRing, nobodys
from dpe_server.operation.config import Config
from dpe_server.operation.credential import Credential, CredentialError, credential

DIGITS = "35209900176148"
IMEI = Imei.parse(DIGITS)
KEYS = KeyRing({1: b"1" * 32, 3: b"3" * 32}, {1: b"h" * 32, 9: b"H" * 32}, b"r" * 32)
CONFIG = Config("my realm", "coap://dpe.example:5683")

CREDENTIALS = st.builds(
    Credential,
    server=st.sampled_from(["coap://h", "coap://[::1]:5683", "coap://h/path"]),
    realm=st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=16),
    handle=st.binary(min_size=17, max_size=17),
    device_key=st.binary(min_size=32, max_size=32),
    epoch=st.integers(0, 255),
)


def made() -> Credential:
    return credential(KEYS, CONFIG, IMEI)


def test_a_credential_is_of_the_newest_keys_and_the_server_can_read_it() -> None:
    one = made()
    assert (one.server, one.realm, one.epoch) == (CONFIG.uri, CONFIG.realm, 3)
    assert one.device_key == KEYS.device_key(3, IMEI)
    assert one.handle[0] == 9
    assert KEYS.claim(one.handle, nobodys(urandom)) == (3, IMEI, ANY, one.device_key, True)


def test_its_handle_is_issued_when_it_is_made() -> None:
    one = credential(KEYS, CONFIG, IMEI, clock=lambda: 1_800_000_000.9)
    assert KEYS.claim(one.handle, nobodys(urandom))[2] == 1_800_000_000
    before = int(time.time())
    assert before <= KEYS.claim(made().handle, nobodys(urandom))[2] <= time.time()


def test_a_device_provisioned_twice_has_another_handle_and_the_same_key() -> None:
    assert made().handle != made().handle
    assert made().device_key == made().device_key
    assert credential(KEYS, CONFIG, IMEI, bytes, lambda: 5.0) == credential(KEYS, CONFIG, IMEI, bytes, lambda: 5.9)


def test_a_credential_holds_no_imei_and_its_repr_no_secret() -> None:
    one = made()
    for form in (one.to_json().encode(), one.to_cbor()):
        assert DIGITS.encode() not in form
        assert IMEI.packed not in form
        assert IMEI.packed.hex().encode() not in form
    assert one.handle.hex() in one.to_json()
    for secret in (one.handle, one.device_key):
        assert secret.hex() not in repr(one)
        assert repr(secret) not in repr(one)


def test_the_json_is_one_line_with_the_keys_of_the_contract() -> None:
    one = made()
    assert "\n" not in one.to_json()
    assert json.loads(one.to_json()) == {
        "server": CONFIG.uri,
        "realm": CONFIG.realm,
        "handle": one.handle.hex(),
        "device_key": one.device_key.hex(),
        "epoch": 3,
    }
    assert cbor2.loads(one.to_cbor()) == {
        "server": CONFIG.uri,
        "realm": CONFIG.realm,
        "handle": one.handle,
        "device_key": one.device_key,
        "epoch": 3,
    }


@given(CREDENTIALS)
def test_both_forms_come_back_as_they_were_written(one: Credential) -> None:
    assert Credential.read(one.to_json().encode()) == one
    assert Credential.read(f" \n{one.to_json()}\n".encode()) == one
    assert Credential.read(json.dumps(json.loads(one.to_json()), indent=2).encode()) == one
    assert Credential.read(one.to_cbor()) == one


@given(CREDENTIALS, st.integers(1, 2**31))
def test_a_row_is_written_and_means_nothing(one: Credential, row: int) -> None:
    assert json.loads(one.to_json(row)) == {"row": row} | json.loads(one.to_json())
    assert cbor2.loads(one.to_cbor(row)) == {"row": row} | cbor2.loads(one.to_cbor())
    assert Credential.read(one.to_json(row).encode()) == one == Credential.read(one.to_cbor(row))
    with pytest.raises(CredentialError, match="row: unknown key"):
        Credential.read(one.to_json(row).replace(f'"row": {row}', '"row": "x"').encode())


def test_json_may_begin_with_a_byte_order_mark() -> None:
    one = made()
    assert Credential.read(one.to_json().encode("utf-8-sig")) == one
    with pytest.raises(CredentialError):
        Credential.read(b"\xef\xbb\xbf" + one.to_json().encode("utf-8-sig"))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_credential_or_one_error(data: bytes) -> None:
    for read in (data, b"{" + data, b"\xa5" + data):
        with pytest.raises(CredentialError):
            Credential.read(read)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("server", "http://h", "coap://HOST"),
        ("server", 5, "coap://HOST"),
        ("realm", "", "1 to 64 bytes"),
        ("realm", "x" * 65, "1 to 64 bytes"),
        ("realm", None, "1 to 64 bytes"),
        ("handle", b"s" * 16, "expected 17 bytes"),
        ("handle", 17, "expected 17 bytes"),
        ("device_key", b"s" * 33, "expected 32 bytes"),
        ("epoch", -1, "0 to 255"),
        ("epoch", 256, "0 to 255"),
        ("epoch", 1.0, "0 to 255"),
        ("epoch", True, "0 to 255"),
        ("epoch", "1", "0 to 255"),
        ("imei", "5", "unknown key"),
    ],
)
def test_a_fault_names_the_key_and_shows_no_value(key: str, value: Any, fault: str) -> None:
    values = cbor2.loads(made().to_cbor()) | {key: value}
    as_json = {name: item.hex() if isinstance(item, bytes) else item for name, item in values.items()}
    for data in (cbor2.dumps(values), json.dumps(as_json).encode()):
        with pytest.raises(CredentialError) as caught:
            Credential.read(data)
        assert caught.value.key == key
        assert f"{key}: " in str(caught.value)
        assert fault in str(caught.value)
        assert "ssss" not in str(caught.value)
        assert b"ssss".hex() not in str(caught.value)
        assert "dpe provision" in caught.value.hint


def test_a_secret_that_became_a_key_is_not_shown() -> None:
    one = made()
    for secret in (one.handle.hex(), one.device_key.hex(), "device_key" + one.handle.hex()[:6]):
        for data in (json.dumps({secret: 1}).encode(), cbor2.dumps({secret: 1})):
            with pytest.raises(CredentialError, match="a key is not a name; known are server") as caught:
                Credential.read(data)
            assert secret[-6:] not in str(caught.value)


@pytest.mark.parametrize("key", ["server", "realm", "handle", "device_key", "epoch"])
def test_a_missing_key_is_named(key: str) -> None:
    values = cbor2.loads(made().to_cbor())
    del values[key]
    with pytest.raises(CredentialError, match=f"{key}: is missing"):
        Credential.read(cbor2.dumps(values))


@pytest.mark.parametrize(
    "text",
    ["xy", made().handle.hex(" "), made().handle.hex() + "\n", "\u0661" * 34],
    ids=["no digits", "spaces", "a line break", "other digits"],
)
def test_hex_that_is_none_is_a_fault(text: str) -> None:
    with pytest.raises(CredentialError, match="handle: expected hex"):
        Credential.read(json.dumps(json.loads(made().to_json()) | {"handle": text}).encode())


def _long_head(data: bytes) -> bytes:
    return b"\xb8" + bytes([data[0] & 31]) + data[1:]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\x80",
        b"{",
        b"\xff",
        made().to_cbor() + b"\x00",
        made().to_cbor()[:-1],
        _long_head(made().to_cbor()),
        b"\xa6" + made().to_cbor()[1:] + cbor2.dumps("epoch") + b"\x03",
        cbor2.dumps({b"server": 1}),
        cbor2.dumps({"a\nb": 1}),
        made().to_json().replace('"epoch": 3', '"epoch": 3, "epoch": 3').encode(),
        made().to_json().encode("utf-16"),
        b"{" + b'"a":{' * 100_000,
        b"\x81" * 100_000,
    ],
)
def test_what_is_no_credential(data: bytes) -> None:
    with pytest.raises(CredentialError) as caught:
        Credential.read(data)
    assert caught.value.key is None
    assert caught.value.__cause__ is None
