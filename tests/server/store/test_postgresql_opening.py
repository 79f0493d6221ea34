"""How a store in PostgreSQL is opened: its URL, its schema, and what must be so before it is used."""

import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from dpe_server.store.contract import Outcome, Session, StoreError
from dpe_server.store.opening import examine, make_store, open_store
from dpe_server.store.postgresql import schema
from dpe_server.store.postgresql.connection import DEFAULTS, connect, places_of
from dpe_server.store.postgresql.store import PostgresqlStore
from tests.postgresql import Cluster

Make = Callable[..., Session]
NEXT = ("ALTER TABLE device ADD COLUMN later int8 DEFAULT 7",)
NEWEST = len(schema.STEPS)


def test_a_url_may_name_several_hosts() -> None:
    places = places_of("postgresql://dpe@db1,db2:5433/dpe?target_session_attrs=read-write&connect_timeout=3")
    assert [(place["host"], place["port"]) for place in places] == [("db1", ""), ("db2", "5433")]
    expected = {**DEFAULTS, "connect_timeout": "3", "user": "dpe", "dbname": "dpe"}
    assert all(expected.items() <= place.items() for place in places)
    assert {place["target_session_attrs"] for place in places} == {"read-write"}
    assert [place["port"] for place in places_of("postgresql://a,b/x?port=5433")] == ["5433", "5433"]
    (alone,) = places_of("postgresql:///dpe")
    assert "host" not in alone


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://dpe:secret@db1/dpe", "holds a password"),
        ("postgresql://dpe@db1/dpe?password=secret", "holds a password"),
        ("postgresql://dpe@db1/dpe?sslpassword=secret", "holds a password"),
        ("postgresql://dpe@db1/dpe?secret=1", "cannot be read"),
        ("postgresql://a,b,c/dpe?port=1,2&application_name=secret", "not as many ports as hosts"),
    ],
)
@pytest.mark.parametrize("opener", [open_store, make_store])
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(
    opener: Callable[[str], object], url: str, said: str
) -> None:
    with pytest.raises(LocalError, match=said) as caught:
        opener(url)
    assert caught.value.hint
    assert "secret" not in f"{caught.value!r}{caught.value}{caught.value.hint}{caught.value.__cause__!r}"


def test_without_psycopg_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("dpe_server.store.postgresql")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LocalError, match="is not installed") as caught:
        open_store("postgresql://dpe@db1/dpe")
    assert caught.value.hint == "pip install 'dpe-coap[postgresql]'"


def test_it_is_examined_with_tools_of_its_own() -> None:
    with pytest.raises(LocalError, match="no file of ours") as caught:
        examine("postgresql://dpe@db1/dpe")
    assert "PostgreSQL's own tools" in caught.value.hint


def test_a_database_that_cannot_be_reached_is_said(tmp_path: Path, postgresql: Cluster) -> None:
    with pytest.raises(StoreError, match="nobody listens at the database's host and port"):
        PostgresqlStore(postgresql.url("public", folder=tmp_path))
    with pytest.raises(StoreError, match="there is no such database"):
        PostgresqlStore(postgresql.url("public").replace("/postgres?", "/none?"))


def test_a_host_that_cannot_be_reached_is_passed_over(tmp_path: Path, postgresql: Cluster, make: Make) -> None:
    url = postgresql.url()
    dead = postgresql.url("x", folder=tmp_path).partition("host=")[2].partition("&")[0]
    with closing(PostgresqlStore(url.replace("host=", f"host={dead},"), one_machine=True)) as store:
        assert store.commit([make()]) == [Outcome.COMMITTED]
        assert len(list(store.live(0))) == 1


# The schema


def test_every_older_version_is_brought_to_the_newest(postgresql: Cluster) -> None:
    for older in range(NEWEST + 1):
        url = postgresql.url()
        with closing(connect(places_of(url)[0])) as connection:
            if older:
                schema.migrate(connection, schema.STEPS[:older])
            assert schema.version_of(connection) == older
            PostgresqlStore(url, one_machine=True).close()
            assert schema.version_of(connection) == NEWEST


def test_who_only_uses_a_store_neither_makes_nor_migrates_it(postgresql: Cluster) -> None:
    url = postgresql.url()
    with pytest.raises(StoreError, match="there is no store in the database yet") as caught:
        open_store(url, one_machine=True)
    assert "dpe init STATE --store URL" in caught.value.hint
    with closing(connect(places_of(url)[0])) as connection:
        assert schema.version_of(connection) == 0
        for older in range(1, NEWEST):
            schema.migrate(connection, schema.STEPS[:older])
            with pytest.raises(StoreError, match=f"schema version {older}, and this program works with {NEWEST}"):
                open_store(url, one_machine=True)
    make_store(url, one_machine=True).close()
    open_store(url, one_machine=True).close()


def test_nodes_of_the_version_before_go_on_and_no_new_one_of_them_starts(postgresql: Cluster, make: Make) -> None:
    url = postgresql.url()
    with closing(PostgresqlStore(url, one_machine=True)) as store:
        session = make()
        store.commit([session])
        with closing(connect(places_of(url)[0])) as newer:
            schema.migrate(newer, (*schema.STEPS, NEXT))
            assert newer.execute("SELECT later FROM device WHERE client_id IS NOT NULL").fetchall() == [(7,)]
        assert store.commit([make()]) == [Outcome.COMMITTED]
        assert store.session(session.client_id) == session
    for opener in (open_store, make_store):
        with pytest.raises(StoreError, match=f"schema version {NEWEST + 1}; this program knows up to {NEWEST}"):
            opener(url, one_machine=True)


def test_a_migration_that_fails_changes_nothing(postgresql: Cluster) -> None:
    url = postgresql.url()
    PostgresqlStore(url, one_machine=True).close()
    with closing(connect(places_of(url)[0])) as connection:
        with pytest.raises(Exception, match="syntax error"):
            schema.migrate(connection, (*schema.STEPS, (*NEXT, "no SQL")))
        assert schema.version_of(connection) == NEWEST
        columns = "SELECT FROM pg_attribute WHERE attrelid = 'device'::regclass AND attname = 'later'"
        assert connection.execute(columns).fetchall() == []


def test_the_database_of_another_program_is_left_alone(postgresql: Cluster) -> None:
    url = postgresql.url()
    with closing(postgresql.connection(url)) as other:
        other.execute("CREATE TABLE device (mine int)")
        for opener in (open_store, make_store):
            with pytest.raises(StoreError, match="is not a DPE store"):
                opener(url, one_machine=True)
        assert other.execute("SELECT * FROM device").fetchall() == []


def test_a_database_without_a_schema_for_the_tables_is_said(postgresql: Cluster) -> None:
    with pytest.raises(StoreError, match="no schema for the store's tables"):
        PostgresqlStore(postgresql.url("none"), one_machine=True)


def test_many_may_make_a_store_at_once(postgresql: Cluster) -> None:
    url = postgresql.url()
    opened: list[int] = []
    start = threading.Barrier(6)

    def open_it() -> None:
        start.wait()
        with closing(PostgresqlStore(url, one_machine=True)) as store:
            opened.append(store.last_ordinal())

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [0] * 6


# What must be so


def test_without_a_synchronous_standby_it_is_refused_unless_the_operator_says_so(postgresql: Cluster) -> None:
    url = postgresql.url()
    with pytest.raises(StoreError, match="may be lost: there is no synchronous standby") as caught:
        PostgresqlStore(url)
    assert caught.value.hint.startswith("set a synchronous standby up")
    PostgresqlStore(url, one_machine=True).close()


def test_with_a_synchronous_standby_it_is_served(postgresql: Cluster, make: Make) -> None:
    with postgresql.standby(), closing(PostgresqlStore(postgresql.url())) as store:
        session = make()
        assert store.commit([session]) == [Outcome.COMMITTED]
        assert list(store.live(0)) == [session]


@pytest.mark.parametrize(
    ("setting", "value", "one_machine", "refused"),
    [
        ("fsync", "off", True, True),
        ("full_page_writes", "off", True, True),
        ("synchronous_commit", "off", True, True),
        ("synchronous_commit", "local", True, False),
        ("synchronous_commit", "local", False, True),
        ("synchronous_commit", "remote_write", False, True),
        ("synchronous_commit", "remote_apply", True, False),
    ],
)
def test_a_database_that_may_lose_what_it_acknowledged_is_refused(
    postgresql: Cluster, setting: str, value: str, one_machine: bool, refused: bool
) -> None:
    with postgresql.setting(setting, value):
        url = postgresql.url()
        if not refused:
            PostgresqlStore(url, one_machine=one_machine).close()
            return
        with pytest.raises(StoreError, match=f"may be lost: {setting} is {value}"):
            PostgresqlStore(url, one_machine=one_machine)
