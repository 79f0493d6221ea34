"""`dpe bench rows`: that it measures what it says, on a store with the rows that it says."""

import json
import re
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from dpe_bench import rows as command
from dpe_bench.rows_devices import Devices
from dpe_bench.rows_fill import ENDED, Rows
from dpe_bench.rows_measure import QUICK, Sample, measure, prune_beside_commits
from dpe_coap.errors import LocalError
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import PRUNE_CHUNK, Session
from dpe_server.store.opening import examine, open_store
from tests.tools.conftest import Invoke


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return Rows(StateDir.create(tmp_path / "state", "bench", "coap://127.0.0.1:5683"))


def test_a_filled_store_is_as_if_devices_had_registered(rows: Rows) -> None:
    told: list[int] = []
    assert rows.fill(2_500, told.append)
    assert told == [1_001, 2_001, 2_500]
    with closing(open_store(rows.state.store_url)) as store:
        devices = Devices(rows.state, store)
        real = devices.session(0)
        found = list(store.live(0))
        assert len(found) == 2_500
        assert {session.device for session in found} == {devices.name(number) for number in range(2_500)}
        for field in fields(Session):
            values = [getattr(session, field.name) for session in found]
            if isinstance(values[0], bytes):
                assert {len(value) for value in values} == {len(getattr(real, field.name))}
                assert len(set(values)) == (2_500 if values[0] else 1)  # none has reported yet
        ids = [session.client_id for session in found]
        assert len(set(ids)) == 2_500
        assert 0x10000000000000 <= min(ids) <= max(ids) <= 0x1FFFFFFFFFFFFF
        devices.register([2_000, 2_600])  # one of them has a session
        assert store.stats(0).live == 2_501
    assert examine(rows.state.store_url, thorough=True).faults == []


def test_a_device_that_does_not_register_is_an_error(rows: Rows) -> None:
    rows.state.policy_path.write_text('[[rule]]\naction = "refuse"\n')
    with closing(open_store(rows.state.store_url)) as store, pytest.raises(LocalError, match="did not register"):
        Devices(rows.state, store).register([1])


def test_every_figure_is_measured(rows: Rows, tmp_path: Path) -> None:
    rate = rows.fill(1_000, lambda _now: None)
    sample = measure(rows, rate, QUICK, tmp_path / "log")
    assert sample.rows == 1_000
    assert sample.database == pytest.approx(sample.row_bytes * 1_000)
    assert 200 < sample.row_bytes < 600
    for name in (field.name for field in fields(Sample)):
        assert getattr(sample, name) > 0, name
    assert sample.batch_p50 <= sample.batch_p99
    assert sample.single_p50 <= sample.single_p99
    with closing(open_store(rows.state.store_url)) as store:
        assert store.stats(0).live == rows.count


def test_all_that_has_ended_is_pruned(rows: Rows) -> None:
    with closing(open_store(rows.state.store_url)) as store:
        took, longest = prune_beside_commits(store, rows, PRUNE_CHUNK + 100)
        assert took > 0
        assert longest > 0
        assert (store.expire(ENDED + 1), store.prune(ENDED + 2)) == ([], 0)


def test_the_command(dpe: Invoke, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "rows.svg"
    result = dpe("bench", "rows", "--rows", 1_200, "--quick", "--json", "--directory", tmp_path, "--plot", picture)
    report = json.loads(result.stdout)
    assert [sample["rows"] for sample in report["samples"]] == [1_200]
    assert {"CPU", "Python", "SQLite", "file system"} <= report["machine"].keys()
    assert "durable registrations a second, batches of 100" in picture.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [picture]
    table = dpe("bench", "rows", "--rows", 1_000, "--quick", "--markdown", "--directory", tmp_path).stdout
    assert re.search(r"^\| rows +\| +1,000 \|$", table, re.MULTILINE)
    assert re.search(r"^\| bytes a row +\| +\d{3} \|$", table, re.MULTILINE)


def test_sizes() -> None:
    assert command.sizes(1_000) == [1_000]
    assert command.sizes(10_000) == [10_000]
    assert command.sizes(25_000) == [10_000, 25_000]
    assert command.sizes(10**7) == [10_000, 100_000, 1_000_000, 10_000_000]


def test_no_room(dpe: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ROOM", 10**18)
    assert "rows need about" in dpe("bench", "rows", "--directory", tmp_path, status=1).stderr
    assert "there is no such directory" in dpe("bench", "rows", "--directory", tmp_path / "no", status=1).stderr
    assert list(tmp_path.iterdir()) == []
