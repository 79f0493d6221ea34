"""`dpe bench cluster`: that it measures what it says, in stores that have what was committed."""

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from dpe_bench import cluster as command
from dpe_bench import cluster_rows, cluster_run, cluster_stores
from dpe_bench.cluster_report import Report
from dpe_bench.rows_measure import QUICK
from dpe_bench.servers import committer
from dpe_coap.errors import LocalError
from dpe_server.store.contract import Session
from dpe_server.store.opening import make_store, open_store
from dpe_tools.cluster import group
from tests.tools.conftest import Invoke

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("postgresql_programs")]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where whoever the database runs as may go."""
    with tempfile.TemporaryDirectory(prefix="dpe-pg-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def test_both_stores_take_turns(dpe: Invoke, load: Path, place: Path) -> None:
    report = json.loads(dpe("bench", "cluster", "--quick", "--json", "--directory", place).stdout)
    assert [one["processes"] for one in report["alone"]] == [1, 2, 4]
    for one in report["alone"]:
        in_file, in_database = one["medians"]["SQLite"], one["medians"]["PostgreSQL"]
        assert one["ratio"] == pytest.approx(in_database["rate"] / in_file["rate"])
        assert in_file["sessions"] == in_database["sessions"] == 200 * one["processes"]
        for found in (in_file, in_database):
            assert 0 < found["p50"] <= found["p99"]
            assert found["rate"] > 0
            assert found["faults"] == 0
        assert in_file["database"] == 0
    assert sum(one["medians"]["PostgreSQL"]["database"] for one in report["alone"]) > 0
    assert list(report["runs"]) == ["SQLite", "PostgreSQL"]
    for run in report["runs"].values():
        assert run["registrations"] >= 500
        assert run["checked"] > 0
        assert run["faults"] == 0
        assert run["cpu"] > 0
    assert report["runs"]["PostgreSQL"]["database"] > 0
    assert {"CPU", "PostgreSQL", "SQLite", "file system"} <= report["machine"].keys()
    assert list(place.iterdir()) == []


def test_the_store_grows(dpe: Invoke, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(command, "sizes", lambda most: [1_000, most])
    picture = tmp_path / "cluster.svg"
    options = ["--devices", 2_500, "--quick", "--json", "--directory", place, "--plot", picture]
    report = json.loads(dpe("bench", "cluster", *options).stdout)
    assert [sample["rows"] for sample in report["grown"]] == [1_000, 2_500]
    for sample in report["grown"]:
        for name in (field.name for field in fields(cluster_rows.Sample)):
            assert sample[name] > 0 or name == "new_database", name  # by the kernel's clock, of 10 ms
        assert sample["batch_p50"] <= sample["batch_p99"]
        assert sample["database"] == pytest.approx(sample["row_bytes"] * sample["rows"])
    assert "durable registrations a second, batches of 100" in picture.read_text(encoding="utf-8")
    assert list(place.iterdir()) == []
    assert QUICK.batches > 0


def test_what_is_missing_in_the_store_is_counted(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'dpe.sqlite'}"
    make_store(url).close()
    assert cluster_stores.measure(url, 2, 1, None).faults == 0
    with closing(sqlite3.connect(tmp_path / "dpe.sqlite")) as database:
        database.execute("CREATE TRIGGER lost AFTER INSERT ON session BEGIN DELETE FROM session; END")
        database.execute("DELETE FROM session")
        database.commit()
    assert cluster_stores.measure(url, 1, 1, None).faults >= 100


def test_a_commit_that_is_not_done_ends_the_measurement(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'dpe.sqlite'}"
    with pytest.raises(LocalError, match="a process that commits has failed"):
        cluster_stores.measure(url, 1, 1, None)  # there is no store


def test_every_session_is_a_new_one(tmp_path: Path) -> None:
    made: list[Session] = [committer.session() for _ in range(100)]
    url = f"sqlite:{tmp_path / 'dpe.sqlite'}"
    make_store(url).close()
    with closing(open_store(url)) as store:
        assert {outcome.value for outcome in store.commit(made)} == {"committed"}
        assert store.stats(0).live == 100


def test_a_fault_is_told(dpe: Invoke, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_database", lambda _stack, _place, _facts: None)
    monkeypatch.setattr(command, "_compare", lambda *_: Report({}, 1, faults=3, runs={}))
    result = dpe("bench", "cluster", "--quick", "--directory", place, status=1)
    assert "3 sessions or registrations went wrong" in result.stderr


def test_a_plot_is_of_the_growth(dpe: Invoke, tmp_path: Path) -> None:
    assert "--plot goes with --devices" in dpe("bench", "cluster", "--plot", tmp_path / "x", status=2).stderr


def test_a_store_is_emptied_for_the_next_round(postgresql_programs: Path, place: Path, tmp_path: Path) -> None:
    with group.running(postgresql_programs, place, standbys=1) as database:
        made = cluster_run.shared_fleet(tmp_path / "shared", database, 3)
        with closing(made.state.open_store()) as store:
            store.commit([committer.session() for _ in range(3)])
            assert store.stats(0).live == 3
            database.primary.sql(cluster_run.EMPTY)
            assert store.stats(0).live == 0
            assert [outcome.value for outcome in store.commit([committer.session()])] == ["committed"]


def test_no_room(dpe: Invoke, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ROOM", 10**18)
    said = dpe("bench", "cluster", "--devices", 1_000, "--directory", place, status=1).stderr
    assert "1,000 devices need about" in said
