"""Credentials: made, written, read, and the lists of IMEIs they are made from."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei, luhn
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.config import Config
from dpe_server.operation.provisioning import (
    Credential,
    CredentialError,
    Row,
    credential,
    read_imeis,
    write_credentials,
)

DIGITS = "35209900176148"
IMEI = Imei.parse(DIGITS)
KEYS = KeyRing({1: b"1" * 32, 3: b"3" * 32}, {1: b"h" * 32, 9: b"H" * 32}, b"r" * 32)
CONFIG = Config("my realm", "coap://dpe.example:5683")
AT_REST = AtRest(KEYS.at_rest)

CREDENTIALS = st.builds(
    Credential,
    server=st.sampled_from(["coap://h", "coap://[::1]:5683", "coap://h/path"]),
    realm=st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=16),
    handle=st.binary(min_size=17, max_size=17),
    device_key=st.binary(min_size=32, max_size=32),
    epoch=st.integers(0, 255),
)


def made(imei: Imei = IMEI) -> Credential:
    return credential(KEYS, CONFIG, imei)


# -- one credential --


def test_a_credential_is_of_the_newest_keys_and_the_server_can_read_it() -> None:
    one = made()
    assert (one.server, one.realm, one.epoch) == (CONFIG.uri, CONFIG.realm, 3)
    assert one.device_key == KEYS.device_key(3, IMEI)
    assert one.handle[0] == 9
    assert KEYS.claim(one.handle) == (3, IMEI, one.device_key, True)


def test_a_device_provisioned_twice_has_another_handle_and_the_same_key() -> None:
    assert made().handle != made().handle
    assert made().device_key == made().device_key
    assert credential(KEYS, CONFIG, IMEI, bytes) == credential(KEYS, CONFIG, IMEI, bytes)


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


@pytest.mark.parametrize("text", ["xy", made().handle.hex(" "), made().handle.hex() + "\n", "\u0661" * 34])
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


# -- lists of IMEIs --


def rows(text: str) -> list[tuple[int, str]]:
    return [(row.number, row.imei.digits if row.imei else row.fault) for row in read_imeis(text.splitlines(True))]


def test_one_imei_a_line() -> None:
    text = f"# from the factory\n\n{DIGITS}\n 352099001761499 \r\n35-209900-176150-42\n\n#end"
    assert rows(text) == [(3, DIGITS), (4, "35209900176149"), (5, "35209900176150")]


@pytest.mark.parametrize("header", ["imei", "IMEI", '"Imei"', "\ufeffimei"])
def test_a_header_alone_is_no_row(header: str) -> None:
    assert rows(f"{header}\n{DIGITS}\n") == [(2, DIGITS)]


def test_a_column_of_a_table() -> None:
    text = f'serial, IMEI ,note\n1,{DIGITS},"a, quoted"\n2,"352099-00-176149-9"\n3\n'
    assert rows(text) == [(2, DIGITS), (3, "35209900176149"), (4, "the column imei is missing")]


def test_a_table_without_a_header_is_refused_at_once() -> None:
    assert rows(f"1,{DIGITS}\n2,{DIGITS}\n") == [
        (1, "several columns, and no header that names one of them imei"),
    ]


def test_each_fault_is_told_by_row_and_the_rest_is_read() -> None:
    wrong = f"{DIGITS}{(luhn(DIGITS) + 1) % 10 or 1}"
    text = f'{DIGITS}\n{wrong}\nabc\n123\n\n{DIGITS}0\n"x\n35209900176149\n3.52099E+14\n'
    found = rows(text)
    assert [number for number, _ in found] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert "check digit" in found[1][1]
    assert found[4] == (6, "the same IMEI as in row 1")
    assert "quotation mark" in found[5][1]
    assert found[6] == (8, "35209900176149")
    faults = [text for number, text in found if number not in (1, 8)]
    assert not any(digits in fault for fault in faults for digits in (DIGITS, wrong, "352099", "123", "abc"))


def test_no_line_is_no_row() -> None:
    assert rows("") == rows("\n# only a comment\n") == rows("imei\n") == []


@given(st.text())
def test_any_text_gives_rows(text: str) -> None:
    for row in read_imeis(text.splitlines(True)):
        assert (row.imei is None) == bool(row.fault)


def test_rows_come_as_the_lines_do() -> None:
    def lines() -> Iterator[str]:
        yield DIGITS
        raise AssertionError("read on before it was asked to")

    assert next(read_imeis(lines())) == Row(1, IMEI)


def test_the_repr_of_a_row_shows_no_digit() -> None:
    assert "352099" not in repr(Row(1, IMEI))


# -- files --


def devices(count: int) -> list[tuple[int, Imei]]:
    return [(number + 3, Imei.parse(f"352099{number:08}")) for number in range(count)]


def test_files_are_whole_and_for_their_owner_only(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    before = os.umask(0)
    try:
        written = list(write_credentials(out, devices(30), made, AT_REST.device_id))
    finally:
        os.umask(before)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in out.iterdir()} == {0o600}
    index = (out / "index.csv").read_text().splitlines()
    assert index == ["row,file", *(f"{row},{path.name}" for (row, _), path in zip(devices(30), written, strict=True))]
    assert {file.name for file in out.iterdir()} == {
        "index.csv",
        *(path.name for path in written),
        *(path.with_suffix(".json").name for path in written),
    }
    for (_, imei), path in zip(devices(30), written, strict=True):
        assert path.name == f"device-{AT_REST.device_id(imei).hex()[:16]}.cbor"
        one = Credential.read(path.read_bytes())
        assert Credential.read(path.with_suffix(".json").read_bytes()) == one
        assert KEYS.claim(one.handle) == (3, imei, one.device_key, True)
        assert replace(one, handle=b"") == replace(made(imei), handle=b"")
    everything = b"".join(file.name.encode() + file.read_bytes() for file in out.iterdir())
    assert not any(form in everything for _, imei in devices(30) for form in (imei.digits.encode(), imei.packed))


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    list(write_credentials(tmp_path, devices(2), made, AT_REST.device_id))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(LocalError, match=r"index\.csv is there already") as caught:
        list(write_credentials(tmp_path, devices(2), made, AT_REST.device_id))
    assert "new or empty" in caught.value.hint
    (tmp_path / "index.csv").unlink()
    with pytest.raises(LocalError, match=r"device-[0-9a-f]{16}\.cbor is there already"):
        list(write_credentials(tmp_path, devices(2), made, AT_REST.device_id))
    assert before.items() - {file.name: file.read_bytes() for file in tmp_path.iterdir()}.items() == {
        ("index.csv", before["index.csv"])
    }


def test_what_is_written_before_a_fault_is_in_the_index(tmp_path: Path) -> None:
    def then_fail() -> Iterator[tuple[int, Imei]]:
        yield from devices(2)
        raise LocalError("made to fail")

    with pytest.raises(LocalError, match="made to fail"):
        list(write_credentials(tmp_path, then_fail(), made, AT_REST.device_id))
    assert len((tmp_path / "index.csv").read_text().splitlines()) == 3
    assert len(list(tmp_path.iterdir())) == 5


def test_a_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(LocalError, match=str(tmp_path / "file")):
            list(write_credentials(out, devices(1), made, AT_REST.device_id))
