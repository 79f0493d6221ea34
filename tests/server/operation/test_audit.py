"""The audit log: one line a decision, bounded for what anybody can cause, and never in the way of the service."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dpe_server.handling.records import AuditRecord
from dpe_server.operation.audit import AuditLog

ESTABLISHED = AuditRecord("established", {"client_id": "00112233445566", "rule": "all"})
UNPROVED = AuditRecord("unauthenticated", {"reason": "bad security token"})
WALL = 1_700_000_000.5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_decision_is_one_line(path: Path) -> None:
    audit = AuditLog(path)
    audit.write([ESTABLISHED, UNPROVED], 0, WALL)
    assert lines(path) == [
        {"time": "2023-11-14T22:13:20.500+00:00", "event": "established", "client_id": "00112233445566", "rule": "all"},
        {"time": "2023-11-14T22:13:20.500+00:00", "event": "unauthenticated", "reason": "bad security token"},
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    audit.close(WALL)


def test_any_text_comes_back_from_a_line(path: Path) -> None:
    name = 'a "rule" \\ of\nm\u00fcnchen \u2028 },{ \U0001f4df'
    audit = AuditLog(path)
    audit.write([AuditRecord("response", {"rule": name, "suite": 2})], 0, WALL)
    audit.close(WALL)
    (line,) = lines(path)
    assert (line["rule"], line["suite"]) == (name, 2)


def test_it_appends_to_what_is_there(path: Path) -> None:
    for _ in range(2):
        audit = AuditLog(path)
        audit.write([ESTABLISHED], 0, WALL)
        audit.close(WALL)
    assert len(lines(path)) == 2


def test_senders_without_a_key_get_ten_lines_a_second_and_a_count(path: Path) -> None:
    audit = AuditLog(path)
    audit.write([UNPROVED] * 8, 100.0, WALL)
    audit.write([AuditRecord("malformed", {})] * 8 + [ESTABLISHED], 100.9, WALL)
    events = [line["event"] for line in lines(path)]
    assert events == ["unauthenticated"] * 8 + ["malformed"] * 2 + ["established"]
    audit.write([UNPROVED], 101.0, WALL)
    assert lines(path)[11:] == [
        {"time": "2023-11-14T22:13:20.500+00:00", "event": "suppressed", "count": 6},
        {"time": "2023-11-14T22:13:20.500+00:00", "event": "unauthenticated", "reason": "bad security token"},
    ]
    audit.close(WALL)
    assert len(lines(path)) == 13


def test_a_count_is_written_without_a_further_decision(path: Path) -> None:
    audit = AuditLog(path)
    audit.write([UNPROVED] * 12, 0, WALL)
    audit.write((), 60.0, WALL)
    assert lines(path)[-1]["count"] == 2
    audit.write([UNPROVED] * 13, 61.0, WALL)
    audit.close(WALL)
    assert lines(path)[-1]["count"] == 3


def test_decisions_about_proved_devices_are_never_suppressed(path: Path) -> None:
    audit = AuditLog(path)
    audit.write([ESTABLISHED] * 1_000, 0, WALL)
    assert len(lines(path)) == 1_000
    audit.close(WALL)


def test_after_reopening_it_goes_on_in_a_new_file(path: Path) -> None:
    audit = AuditLog(path)
    audit.write([ESTABLISHED], 0, WALL)
    moved = path.rename(path.with_suffix(".1"))
    audit.write([ESTABLISHED], 0, WALL)
    assert len(lines(moved)) == 2
    audit.reopen()
    audit.write([ESTABLISHED], 0, WALL)
    assert len(lines(moved)) == 2
    assert len(lines(path)) == 1
    audit.close(WALL)


def test_lines_of_several_processes_stay_whole(path: Path) -> None:
    """Each has its own descriptor, as worker processes have."""

    def write(number: int) -> None:
        audit = AuditLog(path)
        for _ in range(50):
            audit.write([AuditRecord("established", {"worker": number, "text": "x" * 100})] * 200, 0, WALL)
        audit.close(WALL)

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(write, range(4)))
    workers_of_lines = [line["worker"] for line in lines(path)]
    assert [workers_of_lines.count(number) for number in range(4)] == [50 * 200] * 4


def test_a_line_that_was_cut_off_is_ended_first(path: Path) -> None:
    path.write_bytes(b'{"event":"establ')
    audit = AuditLog(path)
    audit.write([ESTABLISHED], 0, WALL)
    audit.close(WALL)
    torn, whole = path.read_text().splitlines()
    assert torn == '{"event":"establ'
    assert json.loads(whole)["event"] == "established"


def test_a_log_that_cannot_be_written_is_one_warning_and_no_error(path: Path) -> None:
    path.mkdir()
    audit = AuditLog(path)
    with capture_logs() as logs:
        for _ in range(3):
            audit.write([ESTABLISHED], 0, WALL)
        path.rmdir()
        audit.write([ESTABLISHED], 0, WALL)
        audit.write([ESTABLISHED], 0, WALL)
    assert [(log["log_level"], log["event"]) for log in logs] == [
        ("warning", "audit log not writable"),
        ("info", "audit log writable again"),
    ]
    assert len(lines(path)) == 2
    audit.close(WALL)


def test_a_full_disk_is_one_warning_and_no_error() -> None:
    audit = AuditLog(Path("/dev/full"))
    with capture_logs() as logs:
        audit.write([ESTABLISHED], 0, WALL)
        audit.write([ESTABLISHED], 0, WALL)
        audit.close(WALL)
    assert [log["event"] for log in logs] == ["audit log not writable"]
    assert logs[0]["reason"] == "No space left on device"
