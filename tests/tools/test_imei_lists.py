"""Lists of IMEIs as people have them: read, or refused with the true reason. Errors show no digit."""

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei, luhn
from dpe_tools import imei_cells, imei_lists, list_text
from dpe_tools.imei_lists import ImeiList
from dpe_tools.placeholder_imeis import KNOWN, is_placeholder

A, B, C = "490154203237518", "352099001761481", "352099001761499"
DIGITS = {one: one[:14] for one in (A, B, C)}


def read(data: str | bytes, **options: object) -> ImeiList:
    raw = data.encode() if isinstance(data, str) else data
    return imei_lists.read(list_text.lines(io.BytesIO(raw)), **options)  # type: ignore[arg-type]


def rows(data: str | bytes, **options: object) -> list[tuple[int, str]]:
    """Rows with their digits or faults, by row."""
    found = read(data, **options)
    return sorted([(number, imei.digits) for number, imei in found.devices] + found.faults)


def refusal(data: str | bytes, **options: object) -> str:
    with pytest.raises(LocalError) as caught:
        read(data, **options)
    return f"{caught.value}\n{caught.value.hint}"


# -- what means another device --


def test_the_number_in_a_remark_with_a_line_break_is_not_the_device() -> None:
    text = f'remark,imei\n"replaced\n{A}\nsee above",{B}\n'
    assert rows(text) == [(2, DIGITS[B])]


def test_a_row_after_a_cell_with_line_breaks_has_its_own_line() -> None:
    assert rows(f'imei,remark\n{A},"one\r\ntwo\rthree"\n{B},\n') == [(2, DIGITS[A]), (5, DIGITS[B])]


def test_comments_stand_only_before_the_first_row() -> None:
    text = f"# from the factory\n\n#\nimei,no\n{A},1\n#{B},2\n# the end\n{C},3\n"
    assert rows(text) == [
        (5, DIGITS[A]),
        (6, "column imei: it begins with #: comments may only stand before the header and the first row"),
        (7, "column imei: it begins with #: comments may only stand before the header and the first row"),
        (8, DIGITS[C]),
    ]


def test_a_row_that_begins_with_a_hash_is_a_row() -> None:
    assert rows(f"no,imei\n#1,{A}\n#2,{B}\n") == [(2, DIGITS[A]), (3, DIGITS[B])]
    assert rows(f"no,imei\n#1,{A}\n# two\n")[1] == (
        3,
        "column imei: it begins with #: comments may only stand before the header",
    )


@pytest.mark.parametrize("first", [f"#{A}", f"# 1;{A}", "# 49-015420-323751-8"])
def test_a_number_in_a_comment_is_not_dropped(first: str) -> None:
    assert refusal(f"{first}\n{B}\n").startswith("row 1: a comment holds a number\n")


@pytest.mark.parametrize("data", ["10499001234568\n", f"imei,x\n{A},\n10499001234568,\n"])
def test_a_zero_that_a_spreadsheet_took_away_is_noticed(data: str) -> None:
    said = refusal(data)
    assert "14 digits, which are an IMEI of 15 when a 0 is put before them" in said
    assert "spreadsheet" in said
    assert "as text" in said
    assert "--as-written" in said
    assert said.startswith("row 3" if A in data else "row 1")
    assert rows(data, as_written=True)[-1][1] == "10499001234568"


def test_numbers_of_different_lengths_are_noticed() -> None:
    data = f"{A}\n{B}\n35209900176150\n"
    assert refusal(data).startswith("numbers of different lengths: 14 digits in row 3; 15 digits in rows 1, 2; ")
    assert [number for number, _ in rows(data, as_written=True)] == [1, 2, 3]


@pytest.mark.parametrize("cell", ["4.9015E+14", "4,9015E+14", "4.90154203237518E+14", "5e14", "490154203237518.0"])
def test_a_number_that_a_spreadsheet_has_rounded_makes_its_list_void(cell: str) -> None:
    said = refusal(f'imei\n{B}\n"{cell}"\n')
    assert said.startswith("row 3: a spreadsheet has made numbers of the IMEIs, and digits are lost")
    assert refusal(f'imei\n{B}\n"{cell}"\n', as_written=True) == said


def test_numbers_that_are_no_imeis_are_noticed_by_their_check_digits() -> None:
    """So are IMEISVs that have lost their first zero: one in five of them would be accepted as some other device."""
    imeisvs = [f"1049900{n:06}{n % 90:02}" for n in range(0, 60 * 7919, 7919)]
    assert {len(one) for one in imeisvs} == {15}
    assert "numbers of 15 digits have a wrong check digit" in refusal("\n".join(imeisvs))


def test_a_mistyped_number_is_not_taken_for_one_with_the_spare_digit() -> None:
    digits = next(f"3520990017{n:04}" for n in range(100) if luhn(f"3520990017{n:04}") == 0)
    mistyped = f"{digits[:13]}{(int(digits[13]) + 1) % 10}0"
    assert rows(f"{A}\n{mistyped}\n") == [(1, DIGITS[A]), (2, "not an IMEI: the check digit (the 15th) is wrong")]
    spare = [f"{digits}0", f"{A[:14]}0", f"{mistyped}"]
    assert [digits for _, digits in rows("\n".join(spare))] == [one[:14] for one in spare], "a list of spare digits"


@pytest.mark.parametrize("number", [*(f"{digit}" * 15 for digit in "0"), "1" * 14, "9" * 14, "004999010640000"])
def test_a_placeholder_is_no_imei(number: str) -> None:
    assert rows(number)[0] == (
        1,
        "not an IMEI: many devices show this number in place of one that was lost or never written",
    )


def test_known_placeholders_are_14_digits_and_no_example_of_ours() -> None:
    assert all(len(number) == 14 and number.isdecimal() for number in KNOWN)
    assert not KNOWN & {*DIGITS.values(), "35209900176150"}
    for number in KNOWN:
        with pytest.raises(LocalError, match="in place of one that was lost"):
            imei_cells.read(f"{number}{luhn(number)}")


@pytest.mark.parametrize(
    "cell", [f"1 {A}", f"12 {A[:14]}", f"{A} 1", f"1 {A[:14]}", f"{A}/{B[:1]}", "1 4901 5420 3237 518"]
)
def test_a_number_beside_the_imei_is_not_part_of_it(cell: str) -> None:
    assert "another number may stand beside it" in rows(cell)[0][1]


def test_two_imeis_in_a_cell_are_not_one() -> None:
    assert "digits for two numbers" in rows(f"imei\n{A} / {B}\n")[0][1]


@pytest.mark.parametrize(
    "text",
    [f'imei,x\n{A},"15 inch\n{B},y\n', f'imei,x\n{A},"a" b\n', f'"{A}\n{B}\n', f"imei\n{A}\n" + '"' + "x" * 140_000],
)
def test_a_quotation_mark_that_is_missing_swallows_no_row(text: str) -> None:
    said = refusal(text)
    assert said.startswith(("row 1: ", "row 2: ", "row 3: "))
    assert "not CSV: a quotation mark is missing" in said


def test_a_row_that_is_shifted_is_a_fault() -> None:
    text = f"model,imei,imei of the box\nA, big,{A},{B}\nB,{B}\nC,{C},\n"
    assert rows(text) == [
        (2, "column imei: the row has more cells than the header; text with a separator in it must be quoted"),
        (3, DIGITS[B]),
        (4, DIGITS[C]),
    ]
    dual = rows(f"sn,imei1,imei2\n{A},{B}\n1,{B},{C}\n2\n", column="imei1")
    assert dual == [
        (2, "column imei1: the row has too few cells"),
        (3, DIGITS[B]),
        (4, "column imei1: the cell is missing"),
    ]


# -- lists as people have them --


HEADERS = [
    "imei",
    "IMEI",
    '"Imei"',
    "IMEI1",
    "IMEI No.",
    "IMEI-Nummer",
    "Device IMEI",
    "imei_number",
    "IMEI 1",
    "IMEI/MEID",
    "IMEISV",
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_headers_and_separators(header: str, separator: str) -> None:
    text = separator.join(["no", header, "note"]) + "\n" + separator.join(["1", A, '"a, b; c\td"']) + "\n"
    assert rows(text) == [(2, DIGITS[A])]
    assert rows(f"{header}\n{A}\n") == [(2, DIGITS[A])]


def test_a_header_that_goes_over_two_lines() -> None:
    assert rows(f'no;"IMEI\nNo."\n1;{A}\n') == [(3, DIGITS[A])]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_separator_may_be_named(line: str) -> None:
    assert rows(f"{line}\r\na,b;imei\r\n1;{A}\r\n") == [(3, DIGITS[A])]
    assert rows(f"sep=|\nno|imei\n1|{A}\n") == [(3, DIGITS[A])]
    assert "names no separator" in refusal(f"sep=x\nimei\n{A}\n")


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding: str, end: str) -> None:
    text = end.join(["Gerät;IMEI", f"Müller & Söhne;{A}", f"é;{B}"])
    assert rows(text.encode(encoding)) == [(2, DIGITS[A]), (3, DIGITS[B])]


def test_utf_16_of_either_order_with_its_mark() -> None:
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        assert rows(mark + f"imei\n{A}\n".encode(encoding)) == [(2, DIGITS[A])]


def test_text_that_is_cut_off_is_said() -> None:
    assert "after row 1 the list is not utf-16 text" in refusal(f"imei\n{A}".encode("utf-16")[:-1])


FORMS = [
    *(A, f" {A} ", f"\u00a0{A}\u200b", f'"{A}"', f"'{A}", f"\u2009{A}", f"\u200f{A}\u202c"),
    *(f'="{A}"', f'"=""{A}"""', f"IMEI: {A}", f"IMEI:{A}", f"imei1 = {A}", f"IMEI No.: {A}"),
    *(f"+CGSN: {A}", f'+CGSN: "{A}"', f'"+CGSN: ""{A}"""'),
    *("49-015420-323751-8", "49 015420 323751 8", "49-015420/323751-8", "49 0154 2032 37518"),
    "49\u2011015420\u2013323751\u22128",
    *("".join(chr(zero + int(digit)) for digit in A) for zero in (0x660, 0x6F0, 0x966, 0xFF10)),
]


@pytest.mark.parametrize("cell", FORMS)
def test_forms_of_a_number(cell: str) -> None:
    assert rows(f"imei;x\n{cell};\n") == [(2, DIGITS[A])]
    assert rows(f"{cell}\n") == [(1, DIGITS[A])]


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("abc", "not an IMEI: it has other characters than digits"),
        ("49015420323751²", "not an IMEI: it has other characters than digits"),
        ("A000002FCBAF13", "not an IMEI but a MEID: it has hexadecimal digits"),
        ("123", "not an IMEI: it has 3 digits"),
        ("8949020000000000000", "not an IMEI: it has 19 digits"),
        ("490154203237519", "not an IMEI: the check digit (the 15th) is wrong"),
        ('=""', "not an IMEI: it is empty"),
        ("IMEI 2 490154203237518", "not an IMEI: it has other characters than digits"),
    ],
)
def test_true_reasons(cell: str, fault: str) -> None:
    assert rows(f"{A}\n{cell}\n") == [(1, DIGITS[A]), (2, fault)]
    assert rows(f"no,imei\n1,{A}\n2,{cell}\n") == [(2, DIGITS[A]), (3, f"column imei: {fault}")]


def test_an_empty_cell_is_a_fault_and_an_empty_row_is_none() -> None:
    assert rows(f"no,imei\n1,{A}\n\n,,,\n2,\n3,{B}\n") == [
        (2, DIGITS[A]),
        (5, "column imei: not an IMEI: it is empty"),
        (6, DIGITS[B]),
    ]


def test_the_same_device_twice_is_a_fault() -> None:
    assert rows(f"{A}\n{B}\n{A}\n")[2] == (3, "the same IMEI as in row 1")


def test_of_two_columns_one_must_be_named() -> None:
    text = f"IMEI1;IMEI2\n{A};{B}\n"
    said = refusal(text)
    assert said.startswith("several columns may hold the IMEI: IMEI1, IMEI2\n")
    assert "--column NAME" in said
    assert rows(text, column="imei2") == [(2, DIGITS[B])]
    assert rows(f"Gerät;x\n{A};{B}\n".encode("latin-1"), column="GERÄT") == [(2, DIGITS[A])]
    assert refusal(text, column="serial").startswith("no column is named serial\n")


@pytest.mark.parametrize("text", [f"1,{A}\n", f"no;{A}\n", f"A list\tof devices\nno\timei\n1\t{A}\n"])
def test_a_table_without_a_header_is_refused(text: str) -> None:
    assert refusal(text).startswith("the list has several columns, and no header that names one of them imei\n")


def test_later_rows_of_several_cells_need_a_header() -> None:
    assert rows(f"{A}\n{B},x\n")[1][1].startswith("the row has several cells, and there is no header")


@pytest.mark.parametrize("data", ["", "\n\n", "imei\n", "# nothing\n", "\ufeff", "no,imei\n", "imei"])
def test_no_row_is_an_empty_list(data: str) -> None:
    assert read(data) == ImeiList()


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"PK\x03\x04abc", "xlsx"), (b"\xd0\xcf\x11\xe0\xa1", "xls"), (b"\x1f\x8b\x08", "gzip"), (b"%PDF-1.7", "PDF")],
)
def test_other_files_are_named(data: bytes, what: str) -> None:
    said = refusal(data)
    assert what in said
    assert "export it as CSV" in said


def test_a_line_without_end_is_refused() -> None:
    assert "row 2 has more than 1048576 characters" in refusal(b"imei\n" + b"1" * (2 << 20))


def test_a_hundred_thousand_rows_are_read_as_they_come() -> None:
    """Nothing but the IMEIs and their rows is kept: a stream of any size has no more than one line in memory."""

    def lines() -> Iterator[str]:
        yield "serial,imei,remark\n"
        for number in range(100_000):
            digits = f"35209{number:09}"
            yield f"{number},{digits}{luhn(digits)},{'x' * 50}\n"

    found = imei_lists.read(lines())
    assert len(found.devices) == 100_000
    assert found.devices[-1] == (100_001, Imei.parse("35209000099999"))
    assert found.faults == []


@given(
    st.lists(st.text("0123456789 ,;\t\"'=#\n\r.E+-AFimei:sep\u0661\x00\ufeff", max_size=40), max_size=8), st.booleans()
)
def test_any_text_gives_rows_or_one_error_without_a_digit(lines: list[str], as_written: bool) -> None:
    text = "\n".join(lines)
    try:
        found = read(text, as_written=as_written)
    except LocalError as error:
        assert error.__cause__ is None
        return
    told = " ".join(fault for _, fault in found.faults)
    assert not any(run in told for run in ("000", "111", "222", "333", "444", "555", "666", "777", "888", "999"))


@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_one_error(data: bytes) -> None:
    try:
        read(data)
    except LocalError as error:
        assert str(error)


@given(
    st.lists(
        st.tuples(st.from_regex(r"[0-9]{14}", fullmatch=True), st.text(st.characters(exclude_categories=["Cs"]))),
        min_size=1,
        max_size=5,
        unique_by=lambda row: row[0],
    ),
    st.sampled_from(",;\t"),
)
def test_what_a_csv_writer_writes_is_read_as_it_was(table: list[tuple[str, str]], separator: str) -> None:
    """Whatever the remarks are, the devices are those of the column."""
    table = [(digits, remark) for digits, remark in table if not is_placeholder(Imei.parse(digits))]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(["remark", "imei"])
    writer.writerows([(remark, f"{digits}{luhn(digits)}") for digits, remark in table])
    found = read(out.getvalue())
    assert [imei.digits for _, imei in found.devices] == [digits for digits, _ in table]
    assert found.faults == []


def test_the_repr_of_a_list_shows_no_digit() -> None:
    assert "4901" not in repr(read(A))
