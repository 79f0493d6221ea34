"""The numbers of several processes, and their sum."""

import json
import os
import time
from pathlib import Path

import pytest

from dpe_server.handling.counts import Counts
from dpe_server.handling.records import AuditRecord
from dpe_server.operation import snapshots
from dpe_server.operation.snapshots import STALE, AtHand, CountedElsewhere
from dpe_server.store.contract import Contact, Measure, Outcome, Revoke

AT_HAND = AtHand(waiting=3, transactions=5, session_keys=7)
COUNTED = CountedElsewhere(
    lane=23,
    endpoint=29,
    resent_registration=31,
    resent_session=37,
    resent_endpoint=41,
    derived=11,
    hits=43,
    suppressed=13,
)


def write(folder: Path, pid: int, monkeypatch: pytest.MonkeyPatch, started: float) -> None:
    counts = Counts()
    counts.batches.add(2)
    counts.commits.add(0.02)
    counts.turned_away = 17
    counts.failed_commits = 19
    contact = Contact(1, 1, 1, bytes(16), {}, None)
    measure: Measure = Revoke(b"", 1)
    outcomes = [Outcome.COMMITTED, Outcome.UNCHANGED]
    counts.completed([contact, measure], outcomes, [AuditRecord("established", {"rule": "a"})])
    monkeypatch.setattr(os, "getpid", lambda: pid)
    snapshots.write(folder, counts, AT_HAND, COUNTED, started)


def test_what_ended_processes_have_counted_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1, monkeypatch, 100.0)
    write(tmp_path, 2, monkeypatch, 90.0)
    (tmp_path / "3.json").write_text("{", encoding="utf-8")
    gone = tmp_path / "2.json"
    told = json.loads(gone.read_text(encoding="utf-8"))
    gone.write_text(json.dumps({**told, "at": told["at"] - STALE}), encoding="utf-8")
    total = snapshots.read(tmp_path, time.monotonic())
    assert (total.processes, total.started) == (1, 90.0)
    assert total.numbers == {
        "failed_commits": 38, "turned_away": 34, "derived": 22, "suppressed": 26,
        "waiting": 3, "transactions": 5, "session_keys": 7,
        "lane": 46, "endpoint": 58, "resent_registration": 62, "resent_session": 74, "resent_endpoint": 82, "hits": 86,
    }  # fmt: skip
    assert total.outcomes == {("report", "committed"): 2}  # an operator's act is none of a device's
    assert total.events == {("established", "a"): 2}
    assert total.batches == ([0, 2, 0, 0, 0, 0, 0, 0, 0, 0], 4.0)
    assert sum(total.commits[0]) == 2
    assert total.commits[1] == pytest.approx(0.04)


def test_nothing_is_known_at_first(tmp_path: Path) -> None:
    assert snapshots.read(tmp_path, 0.0) == snapshots.Sum()
