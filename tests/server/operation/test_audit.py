"""The audit log: one line a decision, bounded for what anybody can cause, and never in the way of the service."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from dpe_server.handling.records import SUPPRESSED, AuditRecord
from dpe_server.operation import audit as audit_file
from dpe_server.operation.audit import AuditLog
from dpe_server.operation.audit_file import Limits
from tests.audit import first_lines, lines, locked, until

ESTABLISHED = AuditRecord("established", {"client_id": "00112233445566", "rule": "all"})
UNPROVED = AuditRecord("unauthenticated", {"reason": "bad security token"}, unproved=True)
WALL = 1_700_000_000.5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@contextmanager
def log_at(path: Path) -> Iterator[AuditLog]:
    audit = AuditLog(path)
    yield audit
    audit.close(WALL)
    assert not audit._thread.is_alive()


def numbered(*numbers: int) -> list[AuditRecord]:
    return [AuditRecord("established", {"number": number}) for number in numbers]


def numbers(path: Path) -> list[int]:
    return [line["number"] for line in lines(path)]


def settled(audit: AuditLog) -> None:
    """Wait until nothing waits."""
    until(lambda: not audit._records)


def test_a_decision_is_one_line(path: Path) -> None:
    with log_at(path) as audit:
        audit.write([ESTABLISHED, UNPROVED], 0, WALL)
    assert lines(path) == [
        {"time": "2023-11-14T22:13:20.500+00:00", "event": "established", "client_id": "00112233445566", "rule": "all"},
        {"time": "2023-11-14T22:13:20.500+00:00", "event": "unauthenticated", "reason": "bad security token"},
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_comes_without_a_further_decision(path: Path) -> None:
    with log_at(path) as audit:
        for number in range(3):
            audit.write(numbered(number), number, WALL)
            assert [line["number"] for line in first_lines(path, number + 1)] == list(range(number + 1))


def test_any_text_comes_back_from_a_line(path: Path) -> None:
    name = 'a "rule" \\ of\nm\u00fcnchen \u2028 },{ \U0001f4df'
    with log_at(path) as audit:
        audit.write([AuditRecord("response", {"rule": name, "suite": 2})], 0, WALL)
    (line,) = lines(path)
    assert (line["rule"], line["suite"]) == (name, 2)


def test_it_appends_to_what_is_there(path: Path) -> None:
    for _ in range(2):
        with log_at(path) as audit:
            audit.write([ESTABLISHED], 0, WALL)
    assert len(lines(path)) == 2


# -- what is suppressed --


def test_senders_without_a_key_get_ten_lines_a_second_and_a_count(path: Path) -> None:
    with log_at(path) as audit:
        audit.write([UNPROVED] * 8, 100.0, WALL)
        audit.write([AuditRecord("malformed", {}, unproved=True)] * 8 + [ESTABLISHED], 100.9, WALL)
        audit.write([UNPROVED], 101.0, WALL)
    found = lines(path)
    assert [line["event"] for line in found[:11]] == ["unauthenticated"] * 8 + ["malformed"] * 2 + ["established"]
    assert found[11:] == [
        {"time": "2023-11-14T22:13:20.500+00:00", "event": "suppressed", "count": 6},
        {"time": "2023-11-14T22:13:20.500+00:00", "event": "unauthenticated", "reason": "bad security token"},
    ]


def test_a_count_is_written_without_a_further_decision(path: Path) -> None:
    with log_at(path) as audit:
        audit.write([UNPROVED] * 12, 0, WALL)
        settled(audit)
        audit.write((), 60.0, WALL)
        assert first_lines(path, 11)[-1]["count"] == 2
        audit.write([UNPROVED] * 13, 61.0, WALL)
    assert lines(path)[-1]["count"] == 3


def test_what_is_beyond_a_device_s_share_is_counted_and_gets_no_line(path: Path) -> None:
    with log_at(path) as audit:
        audit.write([SUPPRESSED, ESTABLISHED, SUPPRESSED], 100.0, WALL)
        audit.write([UNPROVED] * 11, 100.5, WALL)
    found = lines(path)
    assert [line["event"] for line in found] == ["established"] + ["unauthenticated"] * 10 + ["suppressed"]
    assert found[-1]["count"] == 3


def test_decisions_about_proved_devices_are_never_suppressed(path: Path) -> None:
    with log_at(path) as audit:
        audit.write([ESTABLISHED] * 1_000, 0, WALL)
    assert [line["event"] for line in lines(path)] == ["established"] * 1_000


# -- a file that others lock, move, or fill --


def test_a_lock_on_the_file_holds_up_its_lines_and_nobody_else(path: Path) -> None:
    with log_at(path) as audit:
        with locked(path):
            for number in range(100):
                audit.write(numbered(number, -number), number, WALL)
            assert path.read_bytes() == b""
        settled(audit)
        audit.write(numbered(100), 100, WALL)
    assert numbers(path) == [sign * number for number in range(100) for sign in (1, -1)] + [100]


def test_what_does_not_fit_in_the_line_is_dropped_and_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_file, "WAITING", 5)
    with log_at(path) as audit:
        with locked(path):
            audit.write(numbered(1, 2, 3), 0, WALL)
            audit.write(numbered(4, 5, 6, 7), 0, WALL)
            for number in range(1_000):
                audit.write(numbered(number), 0, WALL)
            assert len(audit._waiting) <= 2
        settled(audit)
        audit.write(numbered(8), 1, WALL)
    *before, count, after = lines(path)
    assert [line["number"] for line in before] == [1, 2, 3, 4, 5]
    assert (count["event"], count["count"]) == ("suppressed", 1_002)
    assert after["number"] == 8


def test_a_file_that_is_locked_for_ever_does_not_keep_the_log_from_closing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "PATIENCE", 0.0)
    audit = AuditLog(path)
    with capture_logs() as logs, locked(path):
        audit.write(numbered(1, 2), 0, WALL)
        audit.close(WALL)
    (log,) = logs
    assert (log["log_level"], log["event"], log["lost"]) == ("warning", "audit log not finished", 2)
    audit._thread.join(30)  # this process lives on, so that they are not lost after all
    assert numbers(path) == [1, 2]


def test_after_reopening_it_goes_on_in_a_new_file(path: Path) -> None:
    with log_at(path) as audit:
        audit.write(numbered(1), 0, WALL)
        first_lines(path, 1)
        moved = path.rename(path.with_suffix(".1"))
        with locked(moved):
            audit.write(numbered(2), 0, WALL)
            audit.reopen()
            audit.write(numbered(3), 0, WALL)
    assert numbers(moved) == [1, 2]
    assert numbers(path) == [3]


def test_lines_of_several_processes_stay_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own descriptor, as worker processes have."""
    monkeypatch.setattr(audit_file, "GATHERING", 0.0)

    def write(number: int) -> None:
        with log_at(path) as audit:
            for _ in range(50):
                audit.write([AuditRecord("established", {"worker": number, "text": "x" * 100})] * 200, 0, WALL)
                settled(audit)

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(write, range(4)))
    workers_of_lines = [line["worker"] for line in lines(path)]
    assert [workers_of_lines.count(number) for number in range(4)] == [50 * 200] * 4


def test_a_line_that_was_cut_off_is_ended_first(path: Path) -> None:
    path.write_bytes(b'{"event":"establ')
    with log_at(path) as audit:
        audit.write(numbered(1), 0, WALL)
    torn, whole = path.read_text().splitlines()
    assert torn == '{"event":"establ'
    assert whole == '{"time":"2023-11-14T22:13:20.500+00:00","event":"established","number":1}'


def test_a_log_that_cannot_be_written_is_one_warning_and_no_error(path: Path) -> None:
    path.mkdir()
    with capture_logs() as logs, log_at(path) as audit:
        for _ in range(3):
            audit.write([ESTABLISHED], 0, WALL)
            settled(audit)
        path.rmdir()
        for _ in range(2):
            audit.write([ESTABLISHED], 0, WALL)
            settled(audit)
    assert [(log["log_level"], log["event"]) for log in logs] == [
        ("warning", "audit log not writable"),
        ("info", "audit log writable again"),
    ]
    assert [line.get("count") for line in lines(path)] == [None, None, 3]


def test_a_full_disk_is_one_warning_and_no_error() -> None:
    with capture_logs() as logs, log_at(Path("/dev/full")) as audit:
        audit.write([ESTABLISHED], 0, WALL)
        settled(audit)
        audit.write([ESTABLISHED], 0, WALL)
    assert [log["event"] for log in logs] == ["audit log not writable", "audit log lacks records"]
    assert logs[1]["count"] == 2
    assert logs[0]["reason"] == "No space left on device"


def test_a_defect_is_logged_and_the_log_goes_on(path: Path) -> None:
    with capture_logs() as logs, log_at(path) as audit:
        audit.write([AuditRecord("response", {"rule": b"no text"})], 0, WALL)  # type: ignore[dict-item]
        settled(audit)
        audit.write(numbered(1), 0, WALL)
    assert [(log["event"], log["error"]) for log in logs] == [("audit log failed", "TypeError")]
    good, count = lines(path)
    assert (good["number"], count["event"], count["count"]) == (1, "suppressed", 1)


def test_a_record_that_has_no_line_does_not_take_others_with_it(path: Path) -> None:
    bad = AuditRecord("response", {"rule": b"no text"})  # type: ignore[dict-item]
    with capture_logs(), log_at(path) as audit, locked(path):
        audit.write(numbered(1), 0, WALL)
        audit.write([*numbered(2), bad, *numbered(3)], 0, WALL)
    *good, count = lines(path)
    assert [line["number"] for line in good] == [1, 2, 3]
    assert (count["event"], count["count"]) == ("suppressed", 1)


def test_what_anybody_can_cause_takes_no_room_from_the_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_file, "WAITING", 12)
    with log_at(path) as audit, locked(path):
        audit.write([UNPROVED] * 100, 0, WALL)
        audit.write(numbered(1, 2), 0, WALL)
    *unproved, first, second, count = lines(path)
    assert [line["event"] for line in unproved] == ["unauthenticated"] * 10
    assert (first["number"], second["number"], count["count"]) == (1, 2, 90)


# -- how much room it takes --


def free(monkeypatch: pytest.MonkeyPatch, percent: float, kibibytes: int = 1000) -> None:
    """Let so much of every file system be free, each of so many KiB."""
    left = int(percent * kibibytes / 100)
    monkeypatch.setattr(
        os, "fstatvfs", lambda _: os.statvfs_result((4096, 1024, kibibytes, left, left, 0, 0, 0, 0, 255))
    )


def test_it_stops_before_the_disk_is_full_and_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs, log_at(path) as audit:
        for number, percent in enumerate((10.0, 9.9, 5.0, 4.9, 4.9, 5.0)):
            free(monkeypatch, percent)
            audit.write([*numbered(number), UNPROVED], number, WALL)
            settled(audit)
    written = lines(path)
    assert [line.get("number", line["event"]) for line in written] == [
        *(0, "unauthenticated", 1, "unauthenticated", 2, "unauthenticated"),
        *("suppressed", 5, "unauthenticated"),
    ]
    assert written[6]["count"] == 4
    assert [(log["event"], log.get("reason")) for log in logs] == [
        ("audit log stops soon", "less than 10 % of its file system is free"),
        ("audit log stopped", "less than 5 % of its file system is free"),
        ("audit log writable again", None),
    ]


def test_of_a_large_disk_a_gibibyte_stays_free(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs, log_at(path) as audit:
        for number, mebibytes in enumerate((2048, 2047, 1024, 1023, 1024)):
            free(monkeypatch, 100 * mebibytes / (1 << 20), 1 << 30)  # a TiB
            audit.write(numbered(number), number, WALL)
            settled(audit)
    assert [line.get("number", line["event"]) for line in lines(path)] == [0, 1, 2, "suppressed", 4]
    assert [(log["event"], log.get("reason")) for log in logs] == [
        ("audit log stops soon", "less than 2 GiB of its file system is free"),
        ("audit log stopped", "less than 1 GiB of its file system is free"),
        ("audit log writable again", None),
    ]


def test_what_is_never_written_is_counted_in_the_operational_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1)
    with capture_logs() as logs, log_at(path) as audit:
        audit.write(numbered(1, 2), 0, WALL)
    assert path.read_bytes() == b""
    assert (logs[-1]["event"], logs[-1]["count"]) == ("audit log lacks records", 2)


def test_a_disk_where_nothing_need_stay_free(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 0)
    audit = AuditLog(path, Limits(least_free=0))
    audit.write(numbered(1), 0, WALL)
    audit.close(WALL)
    assert numbers(path) == [1]


def all_numbers(path: Path, files: int) -> list[list[int]]:
    """The numbers in each file, the oldest first; all but the current one end with the line that says so."""
    found = []
    for n in range(files - 1, 0, -1):
        *before, last = lines(path.with_name(f"{path.name}.{n}"))
        assert last["event"] == "rotated"
        found.append([line["number"] for line in before])
    return [*found, numbers(path)]


def test_it_takes_so_many_files_of_such_a_size(path: Path) -> None:
    line = len(audit_file._line("2023-11-14T22:13:20.500+00:00", "established", {"number": 10}))
    audit = AuditLog(path, Limits(size=3 * (2 * line + 1), files=3))
    for number in range(10, 21):
        audit.write(numbered(number), 0, WALL)
        settled(audit)
    audit.close(WALL)
    assert all_numbers(path, 3) == [[16, 17], [18, 19], [20]]
    assert {file.name for file in path.parent.iterdir()} == {"audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"}
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_without_a_size_it_is_one_file(path: Path) -> None:
    audit = AuditLog(path, Limits(size=0))
    for number in range(100):
        audit.write(numbered(number), 0, WALL)
    audit.close(WALL)
    assert numbers(path) == list(range(100))


def test_several_processes_rotate_one_log_and_lose_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_file, "GATHERING", 0.0)
    limits = Limits(size=100 * 4_000, files=100)

    def write(worker: int) -> None:
        audit = AuditLog(path, limits)
        for number in range(50):
            audit.write(numbered(*range(1_000 * worker + 20 * number, 1_000 * worker + 20 * number + 20)), 0, WALL)
            settled(audit)
        assert audit.close(WALL) == ""

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(write, range(4)))
    files = len(list(path.parent.iterdir()))
    found = all_numbers(path, files)
    assert files > 10
    assert sorted(number for numbers in found for number in numbers) == sorted(
        1_000 * worker + number for worker in range(4) for number in range(1_000)
    )
    for worker in range(4):
        mine = [number for numbers in found for number in numbers if number // 1_000 == worker]
        assert mine == sorted(mine)


def test_a_rotation_that_was_interrupted_is_ended_by_the_next_process(path: Path) -> None:
    path.write_bytes(b'{"number":1}\n{"time":"2023-11-14T22:13:20.500+00:00","event":"rotated"}\n')
    with log_at(path) as audit:
        audit.write(numbered(2), 0, WALL)
    assert all_numbers(path, 2) == [[1], [2]]


def test_a_file_that_was_moved_away_and_is_full_is_left(path: Path) -> None:
    """Nobody has told the server that logrotate has moved it."""
    audit = AuditLog(path, Limits(size=200, files=2))
    audit.write(numbered(1), 0, WALL)
    settled(audit)
    moved = path.rename(path.with_suffix(".old"))
    audit.write(numbered(2), 0, WALL)
    settled(audit)
    audit.close(WALL)
    assert (numbers(moved), numbers(path)) == ([1], [2])


def test_a_rule_cannot_look_like_the_end_of_a_file(path: Path) -> None:
    name = 'x","event":"rotated'
    with log_at(path) as audit:
        for _ in range(2):
            audit.write([AuditRecord("response", {"rule": name})], 0, WALL)
            settled(audit)
    assert [line["rule"] for line in lines(path)] == [name] * 2


def test_what_the_thread_logs_says_which_worker_it_is_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Log:
        def warning(self, *_: object, **__: object) -> None:
            seen.append(structlog.contextvars.get_contextvars())

    monkeypatch.setattr(audit_file, "_log", Log())
    with structlog.contextvars.bound_contextvars(worker=3), log_at(path.parent / "none" / "audit.jsonl") as audit:
        audit.write([ESTABLISHED], 0, WALL)
    assert seen == [{"worker": 3}] * 2


def test_a_peer_is_named_where_that_is_asked_for(path: Path) -> None:
    senders = {b"12345678": "192.0.2.1:40000"}
    known = ESTABLISHED._replace(end=b"12345678")
    audit = AuditLog(path, peer_of=lambda end: senders.get(end, ""))
    audit.write([known, ESTABLISHED, UNPROVED._replace(end=b"87654321"), SUPPRESSED], 0, WALL)
    audit.close(WALL)
    assert [line.get("peer") for line in lines(path)] == ["192.0.2.1:40000", None, None, None]
    assert "peer" not in known.details
    with log_at(path) as unasked:
        unasked.write([known], 0, WALL)
    assert "peer" not in lines(path)[-1]
