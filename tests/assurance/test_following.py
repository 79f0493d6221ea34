"""The short form of ``./tools/assure following``, and that its eyes are open."""

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.store.contract import Contact
from dpe_server.store.opening import open_store
from tests.assurance import consumer
from tests.assurance.crowd import open_state
from tests.assurance.following import Settings, compare, run
from tests.in_session import BATTERY, put

SHORT = Settings(kills=5, devices=40)
HARM = [
    ("DELETE FROM device WHERE rowid = (SELECT min(rowid) FROM device)", "not told"),
    ("INSERT INTO device VALUES ('00000000000000', '{}')", "has ended"),
    ("UPDATE device SET properties = '{}' WHERE rowid = (SELECT min(rowid) FROM device)", "not {"),
]


@pytest.mark.timeout(480)
def test_a_program_that_is_killed_has_exactly_what_the_server_has(tmp_path: Path) -> None:
    report = run(SHORT, tmp_path)
    assert report.faults == [], f"\n{report}"
    assert report.kills == SHORT.kills
    assert report.applied >= 1, "so it has gone on"
    assert report.devices >= SHORT.devices // 2
    assert report.ended >= SHORT.kills


def test_what_the_program_keeps_is_replaced_when_all_is_told_anew() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as kept:
        kept.executescript(consumer.TABLES)
        consumer.apply(kept, {"client_id": "00", "properties": {"battery": {"value": 1, "time": 2}}, "cursor": "a-1"})
        consumer.apply(kept, {"client_id": "01", "properties": {"battery": {"value": 1, "time": 2}}})
        consumer.apply(kept, {"client_id": "01", "ended": True, "cursor": "a-2"})
        assert kept.execute("SELECT client_id FROM device").fetchall() == [("00",)]
        assert kept.execute("SELECT cursor FROM place").fetchall() == [("a-2",)]
        consumer.apply(kept, {"snapshot": "begin"})
        assert kept.execute("SELECT * FROM device UNION SELECT * FROM place").fetchall() == []


@pytest.mark.parametrize(("statement", "found"), HARM)
def test_what_the_program_has_missed_is_found(tmp_path: Path, statement: str, found: str) -> None:
    state, kept = open_state(tmp_path), tmp_path / "kept.sqlite"
    put(state, 3, random.Random(1))
    with closing(open_store(state.store_url)) as store:
        sessions = list(store.live(int(time.time())))
        store.commit([Contact(s.client_id, s.ordinal, 1, bytes(16), {BATTERY: b"\x05"}, None) for s in sessions])
    assert consumer.follow(str(state.path), str(kept)) == 0
    assert compare(state, kept) == (3, [])
    with closing(sqlite3.connect(kept)) as database:
        database.execute(statement)
        database.commit()
    _, faults = compare(state, kept)
    assert any(found in fault for fault in faults), faults
