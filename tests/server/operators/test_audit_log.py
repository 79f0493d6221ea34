"""The audit log, read from its end and as it grows, across its files."""

import json
from pathlib import Path
from typing import Any

import pytest

from dpe_server.operation.audit_file import AuditFile, Limits
from dpe_server.operators import audit_log
from dpe_server.operators.audit_log import Place, Wanted, end_of, newest, since

ALL = Wanted()


class _Quiet:
    def warning(self, *_: object, **__: object) -> None: ...
    def info(self, *_: object, **__: object) -> None: ...


def line(number: int, event: str = "response", **details: object) -> bytes:
    return json.dumps({"time": "2026-01-01T00:00:00Z", "event": event, "n": number, **details}).encode() + b"\n"


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    return [one["n"] for one in lines if "n" in one]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "BLOCK", 500)


def rotated(path: Path, count: int) -> None:
    """Write so many lines as servers do, into files of some seven lines."""
    file = AuditFile(path, Limits(size=12 * 500, files=12, least_free=0), _Quiet())  # type: ignore[arg-type]
    for number in range(count):
        assert file.append(line(number)) == ""
    file.close()


def test_nothing_was_written_yet(path: Path) -> None:
    assert newest(path, ALL, most=10) == ([], None)
    assert since(path, ALL, end_of(path), most=10) == ([], Place(0, 0))


def test_the_newest_come_first_and_the_older_follow(path: Path) -> None:
    path.write_bytes(b"".join(map(line, range(100))))
    found, place = newest(path, ALL, most=30)
    assert numbers(found) == list(range(99, 69, -1))
    assert place is not None
    path.write_bytes(path.read_bytes() + line(100))  # what comes meanwhile changes nothing
    found, place = newest(path, ALL, before=place, most=60)
    assert numbers(found) == list(range(69, 9, -1))
    found, place = newest(path, ALL, before=place, most=60)
    assert (numbers(found), place) == (list(range(9, -1, -1)), None)


def test_it_goes_on_in_the_older_files_also_when_they_are_renamed_meanwhile(path: Path) -> None:
    rotated(path, 30)
    assert path.with_name("audit.jsonl.2").exists()
    found, place = newest(path, ALL, most=8)
    assert numbers(found) == list(range(29, 29 - len(numbers(found)), -1))
    seen = numbers(found)
    rotated(path, 12)
    while place is not None:
        found, place = newest(path, ALL, before=place, most=8)
        seen += numbers(found)
    assert seen == list(range(29, -1, -1))


def test_a_place_in_a_file_that_is_gone_is_told(path: Path) -> None:
    path.write_bytes(line(1))
    with pytest.raises(LookupError):
        newest(path, ALL, before=Place(1, 10), most=10)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(event="established"), [1]),
        (Wanted(device="a" * 16), [2, 1]),
        (Wanted(device="a" * 16, event="declined"), [2]),
        (Wanted(registration=7), [3]),
        (Wanted(client_id="c" * 14), [4, 3]),
    ],
)
def test_only_wanted_lines_are_found(path: Path, wanted: Wanted, expected: list[int]) -> None:
    path.write_bytes(
        line(1, "established", device="a" * 16)
        + line(2, "declined", device="a" * 16)
        + line(3, registration=7, client_id="c" * 14)
        + line(4, "superseded", registration=8, by="c" * 14)
    )
    assert numbers(newest(path, wanted, most=10).lines) == expected
    assert numbers(since(path, wanted, Place(0, 0), most=10).lines) == expected[::-1]


def test_a_look_for_what_is_not_there_is_bounded_and_can_be_gone_on_with(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MOST_BLOCKS", 3)
    path.write_bytes(line(0, "rare") + b"".join(map(line, range(1, 100))))
    place: Place | None = end_of(path)
    looks, seen = 0, []
    while place is not None:
        before = place.offset
        found, place = newest(path, Wanted(event="rare"), before=place, most=10)
        assert place is None or 0 < before - place.offset <= 3 * 500
        looks += 1
        seen += numbers(found)
    assert seen == [0]
    assert looks > 4


def test_what_comes_is_read_once_across_a_rotation(path: Path) -> None:
    rotated(path, 5)
    place = end_of(path)
    assert since(path, ALL, place, most=10) == ([], place)
    file = AuditFile(path, Limits(size=12 * 500, files=12, least_free=0), _Quiet())  # type: ignore[arg-type]
    for number in range(5, 40):
        file.append(line(number))
    file.close()
    seen: list[int] = []
    for _ in range(20):
        found, place = since(path, ALL, place, most=7)  # type: ignore[assignment]
        seen += numbers(found)
    assert seen == list(range(5, 40))


def test_what_is_no_line_is_passed_over(path: Path) -> None:
    path.write_bytes(
        line(1) + b"\xff\xfe not JSON\n[]\n" + b'{"event": 3}\n' + b"x" * 2_000 + b"\n" + line(2) + b'{"n"'
    )
    assert numbers(newest(path, ALL, most=10).lines) == [2, 1]
    assert numbers(since(path, ALL, Place(0, 0), most=10).lines) == [1, 2]


def test_a_place_is_read_as_it_was_written() -> None:
    assert Place.parse(str(Place(12, 345))) == Place(12, 345)
    for text in ("", "1", "1-", "-1-2", "1-x", "9" * 21 + "-1"):
        with pytest.raises(ValueError, match="place"):
            Place.parse(text)
