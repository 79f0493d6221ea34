"""Many credentials at once: the lists of IMEIs they are made from, and the files they go into."""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei, luhn
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing, nobodys
from dpe_server.operation.config import Config
from dpe_server.operation.credential import Credential, credential
from dpe_server.operation.provisioning import Row, read_imeis, write_credentials

DIGITS = "35209900176148"
IMEI = Imei.parse(DIGITS)
KEYS = KeyRing({1: b"1" * 32, 3: b"3" * 32}, {1: b"h" * 32, 9: b"H" * 32}, b"r" * 32)
AT_REST = AtRest(KEYS.at_rest, os.urandom)


def made(imei: Imei) -> Credential:
    return credential(KEYS, Config("my realm", "coap://dpe.example:5683"), imei)


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
        assert KEYS.claim(one.handle, nobodys(os.urandom)) == (3, imei, ANY, one.device_key, True)
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
