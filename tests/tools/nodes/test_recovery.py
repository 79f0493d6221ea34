"""A shared database that is put back: no node serves it before it is recovered, with what operators did at all."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from dpe_server.operation import beats
from dpe_server.operation.beats import BeatsError
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Revoke
from dpe_tools.server_process import ServerProcess
from tests.end_to_end.running import running_on
from tests.postgresql import Cluster
from tests.tools.conftest import IMEI, IMEIS, Invoke

PutBack = Callable[[], None]


@pytest.fixture
def owner(postgresql: Cluster, url: str) -> Iterator[psycopg.Connection]:
    with closing(postgresql.connection(url)) as owner:
        yield owner


@pytest.fixture
def put_back(owner: psycopg.Connection, first: Path, second: Path, dpe: Invoke, postgresql: Cluster) -> PutBack:
    """A function that puts the database back to what it was when both nodes were made and a device was revoked."""
    dpe("revoke", first, IMEIS[2])
    ((place,),) = owner.execute("SELECT current_schema()").fetchall()
    tables = [name for (name,) in owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (place,))]
    owner.execute(f"CREATE SCHEMA kept_{place}")
    for table in tables:
        owner.execute(f"CREATE TABLE kept_{place}.{table} AS TABLE {table}")

    def put_back() -> None:
        with owner.transaction():
            for table in tables:
                owner.execute(f"DELETE FROM {table}")
                owner.execute(f"INSERT INTO {table} SELECT * FROM kept_{place}.{table}")

    return put_back


def revoked(state: Path) -> set[bytes]:
    with closing(StateDir.open(state).open_store()) as store:
        return {measure.device for measure in store.measures() if isinstance(measure, Revoke)}


def names(state: Path, *imeis: str) -> set[bytes]:
    from dpe_coap.imei import Imei

    return {StateDir.open(state).at_rest.device_id(Imei.parse(imei)) for imei in imeis}


def serve_once(*states: Path) -> None:
    for state in states:
        with running_on(StateDir.open(state)) as running:
            assert [line for line in running.logs if line["log_level"] == "error"] == []


def test_a_database_that_was_put_back_is_served_by_no_node(
    dpe: Invoke, first: Path, second: Path, put_back: PutBack
) -> None:
    serve_once(first, second)
    put_back()
    for state in (first, second):
        said = dpe("serve", state, status=1).stderr
        assert "it is not as this server left it: beat" in said
        assert f"dpe recover {state}" in said
        assert "is not as this server left it" in dpe("serve", state, "--workers", "2", status=1).stderr
        assert "is not as this server left it" in dpe("doctor", state, status=1).stdout


def test_it_is_recovered_at_one_node_with_the_journals_of_all(
    dpe: Invoke, first: Path, second: Path, put_back: PutBack, device: Path, served: ServerProcess
) -> None:
    served.stop()
    serve_once(first)
    dpe("revoke", first, IMEIS[1])
    dpe("unrevoke", second, IMEIS[2])
    dpe("revoke", second, IMEI)
    dpe("keys", "minimum-epoch", second, 1)
    put_back()
    done = dpe("recover", first, "--journal", second / "operators.jsonl")
    assert done.stdout.splitlines() == [
        "recovered:",
        "  0 sessions ended: the devices register again",
        "  2 devices revoked again, 1 revocation lifted again",
        "  1 minimum epoch set again",
        f"next: dpe serve {first}",
    ]
    assert done.stderr == ""
    assert revoked(second) == names(second, IMEI, IMEIS[1])
    assert "node" in dpe("doctor", second).stdout
    # The other node finds that what it did is in it.
    assert "recovered at another node already" in dpe("recover", second, "--keep-sessions", status=1).stderr
    serve_once(second, first, second)
    put_back()
    with pytest.raises(BeatsError):
        beats.verify(StateDir.open(second))


def test_a_node_whose_journal_was_missing_does_not_start(
    dpe: Invoke, first: Path, second: Path, put_back: PutBack
) -> None:
    serve_once(first, second)
    dpe("revoke", second, IMEI)
    put_back()
    said = dpe("recover", first).stderr
    assert "note: 2 servers share this database, and 0 --journal files were given" in said
    said = dpe("serve", second, status=1).stderr
    assert "recovered, without what operators did at this node" in said
    assert f"dpe recover {second} --journal FILE" in said
    assert "without what operators did at this node" in dpe("recover", second, "--keep-sessions", status=1).stderr
    dpe("recover", second, "--journal", first / "operators.jsonl")
    assert revoked(first) == names(first, IMEI, IMEIS[2])
    serve_once(first, second)


def test_a_node_at_which_nothing_was_done_needs_no_journal(
    dpe: Invoke, first: Path, second: Path, put_back: PutBack
) -> None:
    serve_once(first, second)
    put_back()
    (second / "operators.jsonl").write_bytes(b"")
    dpe("recover", first)
    serve_once(second)


def test_an_earlier_recovery_excuses_nothing(dpe: Invoke, first: Path, second: Path, put_back: PutBack) -> None:
    serve_once(first, second)
    put_back()
    dpe("recover", first, "--journal", second / "operators.jsonl")
    serve_once(second)
    with closing(StateDir.open(first).open_store()) as store:
        store.beat(beats.remembered(StateDir.open(first).beat_path).last, b"not this")
    beat = beats.remembered(StateDir.open(second).beat_path).last
    assert beat is not None
    beats.remember(StateDir.open(second).beat_path, beats.Memory(beat._replace(number=beat.number + 5)))
    assert "is missing" in dpe("serve", second, status=1).stderr


def test_it_is_not_recovered_while_a_node_runs(dpe: Invoke, first: Path, second: Path, served: ServerProcess) -> None:
    said = dpe("recover", first, status=1).stderr
    assert "other servers of this database run: b" in said
    assert "stop them all" in said
    served.stop()
    dpe("recover", first)


def test_sessions_are_kept_where_only_the_memory_is_old(
    dpe: Invoke, first: Path, second: Path, owner: psycopg.Connection
) -> None:
    (first / "beat.json").unlink()
    assert "dpe recover" in dpe("serve", first, status=1).stderr
    dpe("recover", first, "--keep-sessions")
    assert "there is nothing to recover" in dpe("recover", first, "--keep-sessions", status=1).stderr
    serve_once(first)


def test_a_new_journal_begins_with_what_holds(dpe: Invoke, first: Path, second: Path, put_back: PutBack) -> None:
    dpe("revoke", first, IMEI)
    put_back()
    (first / "operators.jsonl").unlink()
    assert "is missing" in dpe("recover", first, status=1).stderr
    dpe("recover", first, "--new-journal", "--journal", second / "operators.jsonl")
    assert revoked(first) == names(first, IMEIS[2])
    assert "revoke" in (first / "operators.jsonl").read_text()
    serve_once(first, second)


def test_a_backup_of_a_file_is_not_put_back(dpe: Invoke, first: Path, state: Path, tmp_path: Path) -> None:
    dpe("backup", state, tmp_path / "copy")
    said = dpe("restore", first, tmp_path / "copy", status=1).stderr
    assert "is in PostgreSQL" in said
    assert "dpe recover" in said
