"""What is read counts only at the primary: where no standby acknowledges a write any more, nothing is answered."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.store.contract import CommitUnknown, Deregister, Outcome, Revoke, Session, StoreError
from dpe_server.store.postgresql import database
from dpe_server.store.postgresql import store as store_module
from dpe_server.store.postgresql.store import PostgresqlStore
from dpe_server.store.questions import Questions
from dpe_tools.cluster.group import Group, running
from tests.postgresql import Cluster
from tests.postgresql_proxy import Cut, proxy

Make = Callable[..., Session]
PATIENT = 30.0
WRITES = "SELECT connections FROM server"


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.emptied()


@pytest.fixture
def store(url: str) -> Iterator[PostgresqlStore]:
    with closing(PostgresqlStore(url, one_machine=True)) as made:
        yield made


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write was acknowledged lately."""
    monkeypatch.setattr(database, "FRESH", -1.0)


def writes(postgresql: Cluster, url: str) -> int:
    """Return how many writes were made for nothing but their acknowledgement."""
    with closing(postgresql.connection(url)) as owner:
        row = owner.execute(WRITES).fetchone()
        assert row
        return int(row[0])


@pytest.mark.usefixtures("always")
def test_a_read_is_vouched_for_by_a_write_when_the_last_one_was_long_ago(
    postgresql: Cluster, url: str, store: PostgresqlStore
) -> None:
    store.look(Questions(holders={1}))
    before = writes(postgresql, url)
    store.look(Questions(holders={1}))
    store.stats(0)
    assert writes(postgresql, url) == before + 2


def test_under_load_a_read_costs_no_write(
    postgresql: Cluster, url: str, store: PostgresqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "FRESH", PATIENT)
    store.look(Questions(holders={1}))
    before = writes(postgresql, url)
    store.look(Questions(holders={1}))
    assert writes(postgresql, url) == before


@pytest.mark.usefixtures("always")
def test_a_commit_that_writes_vouches_for_itself_and_one_that_only_reads_does_not(
    postgresql: Cluster, url: str, store: PostgresqlStore, make: Make
) -> None:
    session = make()
    before = writes(postgresql, url)
    assert store.commit([session]) == [Outcome.COMMITTED]
    assert writes(postgresql, url) == before
    assert store.commit([session]) == [Outcome.COMMITTED], "it was there"
    assert writes(postgresql, url) == before + 1


@pytest.mark.usefixtures("always")
def test_where_no_standby_acknowledges_nothing_is_told(
    postgresql: Cluster, store: PostgresqlStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a primary that was cut off: it still has all rows, and says read-write."""
    session = make()
    store.commit([session])
    asked = Questions(holders={session.client_id})
    assert store.look(asked).holders == {session.client_id: session.device}
    monkeypatch.setattr(store_module, "LOOK_PATIENCE", 0.1)
    with postgresql.setting("synchronous_standby_names", "nobody"):
        with pytest.raises(StoreError, match="does not answer"):
            store.look(asked)
        with pytest.raises(CommitUnknown):
            store.commit([session], patience=0.1)
        with pytest.raises(StoreError, match="the database does not answer"):
            store.commit([Deregister(session.client_id, session.ordinal + 1, 1)], patience=0.1)
    monkeypatch.setattr(store_module, "LOOK_PATIENCE", PATIENT)
    assert store.look(asked).holders == {session.client_id: session.device}
    assert store.commit([session], patience=PATIENT) == [Outcome.COMMITTED]


def test_the_host_that_hangs_is_tried_last(
    tmp_path: Path, postgresql: Cluster, url: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets itself be connected to, and its first write hangs."""
    monkeypatch.setattr(database, "ACKNOWLEDGED_WITHIN", 0.1)
    with proxy(tmp_path, postgresql.folder) as hanging:
        both = url.replace("host=", f"host={postgresql.url('x', folder=tmp_path).split('host=')[1].split('&')[0]},")
        with closing(PostgresqlStore(both, one_machine=True)) as store:
            assert hanging.connections == 1
            hanging.cut(b"connections + 1", Cut.HOLD)
            session = make()
            assert store.commit([session]) == [Outcome.COMMITTED], "over the connection that was there"
            asked = Questions(holders={session.client_id})
            monkeypatch.setattr(store_module, "LOOK_PATIENCE", PATIENT)
            assert store.look(asked).holders, "over a new one, to the other host"
            assert hanging.held.is_set()
            assert hanging.connections == 2
            with closing(postgresql.connection()) as owner:
                owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dpe-coap'"
                )
            assert store.commit([make()], patience=PATIENT) == [Outcome.COMMITTED], "to the other one, too"
            assert hanging.connections == 2


@pytest.fixture(scope="module")
def group(postgresql_programs: Path) -> Iterator[Group]:
    with (
        tempfile.TemporaryDirectory(prefix="dpe-pg-") as made,
        running(postgresql_programs, Path(made), standbys=2) as group,
    ):
        yield group


def test_a_primary_that_was_stopped_and_goes_on_is_not_read(
    group: Group, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LOOK_PATIENCE", PATIENT)
    session = make()
    with closing(PostgresqlStore(group.url)) as store:
        store.commit([session])
        asked = Questions(holders={session.client_id}, restrictions={session.device}, number=True)
        before = store.look(asked)
        assert before.holders == {session.client_id: session.device}
        old = group.primary
        old.freeze()
        group.fail_over()
        with closing(PostgresqlStore(group.url)) as operator:
            assert operator.commit([Revoke(session.device, 1)]) == [Outcome.SESSION_ENDED]
        old.thaw()
        assert old.sql("SELECT client_id FROM device WHERE client_id IS NOT NULL") == [[str(session.client_id)]]
        after = store.look(asked)
        assert after.holders == {}
        assert after.restrictions[session.device].revoked
        assert after.number > before.number
