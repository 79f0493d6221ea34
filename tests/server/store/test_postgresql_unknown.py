"""A commit whose answer did not come is unknown, not failed: given again it settles, and nobody ever cancels one."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dpe_server.store.contract import (
    Change,
    CommitUnknown,
    Contact,
    Deregister,
    End,
    Outcome,
    ReplacedError,
    Revoke,
    Session,
    StoreError,
)
from dpe_server.store.postgresql import store as store_module
from dpe_server.store.postgresql.store import PostgresqlStore
from dpe_server.store.questions import Questions
from dpe_server.store.record import entries
from tests.postgresql import Cluster
from tests.postgresql_proxy import Cut, Proxy, proxy

Make = Callable[..., Session]
BATTERY = b"\x00"
PATIENT = 30.0
"""More than any test takes."""


@pytest.fixture
def between(tmp_path: Path, postgresql: Cluster) -> Iterator[Proxy]:
    with proxy(tmp_path, postgresql.folder) as made:
        yield made


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.emptied()


@pytest.fixture
def store(url: str, between: Proxy, postgresql: Cluster, make: Make) -> Iterator[PostgresqlStore]:
    """A store behind the proxy, whose connection has prepared its statements."""
    through = postgresql.url(url.rpartition("%3D")[2], folder=between.folder)
    with closing(PostgresqlStore(through, one_machine=True)) as made:
        first = make(expires_at=None)
        made.commit([first, *[Contact(first.client_id, first.ordinal, 1, bytes(16), {}, None)]])
        made.commit([Contact(first.client_id, first.ordinal, 2, bytes(16), {}, None)])
        made.commit([End(first.device, 1)])
        yield made


@pytest.fixture
def direct(url: str, store: PostgresqlStore) -> Iterator[PostgresqlStore]:
    """The same store without the proxy, as another node has it."""
    with closing(PostgresqlStore(url, one_machine=True)) as made:
        yield made


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_a_registration_whose_connection_is_cut_is_given_again(
    store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make, cut: Cut
) -> None:
    session, old = make(), make()
    direct.commit([old])
    newer = make(device=old.device)
    before = between.connections
    between.cut(session.device, cut)
    outcomes = store.commit([session, newer], patience=PATIENT)
    assert outcomes == [Outcome.COMMITTED, Outcome.REPLACED if cut is Cut.BEFORE else Outcome.COMMITTED]
    assert between.connections == before + 1
    assert set(direct.live(0)) == {session, newer}
    assert between.cancelled == 0


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_a_report_whose_connection_is_cut_is_given_again_and_accepted_once(
    store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make, cut: Cut
) -> None:
    session = make(expires_at=None)
    direct.commit([session])
    attempt = os.urandom(16)
    report = Contact(session.client_id, session.ordinal, 1, attempt, {BATTERY: b"\x14"}, None)
    between.cut(attempt, cut)
    assert store.commit([report], patience=PATIENT) == [Outcome.COMMITTED]
    assert direct.commit([report._replace(attempt=os.urandom(16))]) == [Outcome.NOT_ACCEPTED]
    found = direct.session(session.client_id)
    assert found is not None
    assert found.mark == 1
    assert [entry.value for entry in entries(found.record)] == [b"\x14"]


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_a_session_that_ends_over_a_connection_that_is_cut_has_ended(
    store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make, cut: Cut
) -> None:
    """But who gives it again does not learn that it was his own: the device asks again, and is not answered."""
    session = make(expires_at=None, ordinal=0x0123456789ABCDEF)
    direct.commit([session])
    before = between.connections
    between.cut(session.ordinal.to_bytes(8, "big"), cut)
    end = Deregister(session.client_id, session.ordinal, 1)
    expected = Outcome.SESSION_ENDED if cut is Cut.BEFORE else Outcome.NOT_ACCEPTED
    assert store.commit([end], patience=PATIENT) == [expected]
    assert between.connections == before + 1
    assert direct.session_of(session.device) is None
    assert direct.commit([session]) == [Outcome.ENDED]


def test_when_patience_ends_it_is_unknown_and_a_later_call_tells(
    store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make
) -> None:
    session = make()
    between.cut(session.device, Cut.HOLD)
    with pytest.raises(CommitUnknown, match="not known whether it was committed") as caught:
        store.commit([session], patience=0.0)
    assert isinstance(caught.value, StoreError)
    assert between.held.wait(PATIENT)
    assert set(direct.live(0)) == set()
    between.let_go()
    assert between.done.wait(PATIENT)
    assert set(direct.live(0)) == {session}
    assert store.commit([session], patience=PATIENT) == [Outcome.COMMITTED]
    assert between.cancelled == 0


def test_a_commit_that_comes_late_brings_no_ended_session_back(
    store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make
) -> None:
    session = make()
    between.cut(session.device, Cut.HOLD)
    with pytest.raises(CommitUnknown):
        store.commit([session], patience=0.0)
    assert between.held.wait(PATIENT)
    assert direct.commit([session, End(session.device, 5)]) == [Outcome.COMMITTED, Outcome.SESSION_ENDED]
    between.let_go()
    assert between.done.wait(PATIENT)
    assert set(direct.live(0)) == set()
    assert direct.commit([session]) == [Outcome.ENDED]


def test_a_commit_that_comes_late_takes_no_newer_session_away(
    store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make
) -> None:
    session = make()
    newer = make(device=session.device)
    between.cut(session.device, Cut.HOLD)
    with pytest.raises(CommitUnknown):
        store.commit([session], patience=0.0)
    assert between.held.wait(PATIENT)
    assert direct.commit([newer]) == [Outcome.COMMITTED]
    between.let_go()
    assert between.done.wait(PATIENT)
    assert set(direct.live(0)) == {newer}


def test_a_report_that_comes_late_overwrites_nothing(
    store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make
) -> None:
    session = make(expires_at=None)
    direct.commit([session])
    attempt = os.urandom(16)
    late = Contact(session.client_id, session.ordinal, 1, attempt, {BATTERY: b"\x14"}, None)
    between.cut(attempt, Cut.HOLD)
    with pytest.raises(CommitUnknown):
        store.commit([late], patience=0.5)
    assert between.held.wait(PATIENT)
    assert direct.commit([late._replace(number=2, items={BATTERY: b"\x13"})]) == [Outcome.COMMITTED]
    between.let_go()
    assert between.done.wait(PATIENT)
    found = direct.session(session.client_id)
    assert found is not None
    assert found.mark == 2
    assert [entry.value for entry in entries(found.record)] == [b"\x13"]


def test_a_report_that_comes_late_is_not_taken_for_one_of_the_next_session(
    store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make
) -> None:
    session = make(expires_at=None)
    direct.commit([session])
    attempt = os.urandom(16)
    late = Contact(session.client_id, session.ordinal, 1, attempt, {BATTERY: b"\x14"}, None)
    between.cut(attempt, Cut.HOLD)
    with pytest.raises(CommitUnknown):
        store.commit([late], patience=0.5)
    assert between.held.wait(PATIENT)
    newer = make(device=session.device, client_id=session.client_id, expires_at=None)
    assert direct.commit([newer]) == [Outcome.REPLACED]
    between.let_go()
    assert between.done.wait(PATIENT)
    assert direct.session(newer.client_id) == newer


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_what_an_operator_changes_is_not_given_again(store: PostgresqlStore, between: Proxy, cut: Cut) -> None:
    """It might come after what he has changed since."""
    device = os.urandom(16)
    before = between.connections
    between.cut(device, cut)
    with pytest.raises(CommitUnknown) as caught:
        store.commit([Revoke(device, 1)], patience=PATIENT)
    assert between.connections == before
    assert device.hex() not in f"{caught.value!r}{caught.value.__cause__!r}"
    assert store.commit([Revoke(device, 2)]) == [Outcome.COMMITTED]


def test_ctrl_c_cancels_nothing(store: PostgresqlStore, direct: PostgresqlStore, between: Proxy, make: Make) -> None:
    session = make()
    between.cut(session.device, Cut.HOLD)

    def interrupt() -> None:
        assert between.held.wait(PATIENT)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        store.commit([session], patience=PATIENT)
    thread.join()
    between.let_go()
    assert between.done.wait(PATIENT)
    assert set(direct.live(0)) == {session}
    assert between.cancelled == 0


def test_a_commit_that_somebody_cancels_while_it_waits_for_the_standby_is_not_taken_for_done(
    postgresql: Cluster, url: str, between: Proxy, make: Make
) -> None:
    """PostgreSQL then says that it succeeded, with a warning: it is lost with the primary."""
    through = postgresql.url(url.rpartition("%3D")[2], folder=between.folder)
    session = make()
    outcomes: list[Outcome] = []
    with closing(PostgresqlStore(through, one_machine=True)) as store, closing(postgresql.connection()) as owner:
        with postgresql.setting("synchronous_standby_names", "nobody"):
            committing = threading.Thread(target=lambda: outcomes.extend(store.commit([session], patience=PATIENT)))
            committing.start()
            before = between.connections
            waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            while not (found := owner.execute(waiting).fetchall()):
                pass
            owner.execute("SELECT pg_cancel_backend(%s)", found[0])
            while between.connections == before:
                pass
            assert outcomes == []
        committing.join()
    assert outcomes == [Outcome.COMMITTED], "it was given again when there was somebody to wait for"


def test_nothing_is_read_before_the_standby_has_acknowledged_a_write(
    postgresql: Cluster, url: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make()
    with closing(PostgresqlStore(url, one_machine=True)) as store:
        store.commit([session])
        monkeypatch.setattr(store_module, "LOOK_PATIENCE", 0.1)
        asked = Questions(holders={session.client_id})
        with (
            postgresql.setting("synchronous_standby_names", "nobody"),
            pytest.raises(StoreError, match="does not answer"),
        ):
            store.look(asked)
        monkeypatch.setattr(store_module, "LOOK_PATIENCE", PATIENT)
        assert store.look(asked).holders == {session.client_id: session.device}


def test_a_database_that_has_lost_a_beat_is_refused_on_the_next_connection(
    postgresql: Cluster, url: str, make: Make
) -> None:
    with closing(PostgresqlStore(url, one_machine=True)) as store, closing(postgresql.connection(url)) as owner:
        store.beat(None, b"1" * 8)
        owner.execute("DELETE FROM beat")
        assert store.commit([make()]) == [Outcome.COMMITTED], "the connection is the one that has written it"
        owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dpe-coap'")
        with pytest.raises(ReplacedError, match="beat 1 is missing"):
            store.commit([make()])
        with pytest.raises(ReplacedError, match="beat 1 is missing"):
            store.stats(0)


def test_a_connection_that_was_lost_while_idle_is_made_again(postgresql: Cluster, url: str, make: Make) -> None:
    with closing(PostgresqlStore(url, one_machine=True)) as store, closing(postgresql.connection()) as owner:
        session = make()
        store.commit([session])
        assert store.session(session.client_id) == session
        for _ in range(3):
            owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dpe-coap'")
            assert store.session(session.client_id) == session
            session = replace(session, ordinal=session.ordinal + 1, success_hash=os.urandom(32))
            assert store.commit([session])[0] in (Outcome.REPLACED, Outcome.COMMITTED)


def test_where_nothing_was_sent_nothing_has_happened(
    postgresql: Cluster, store: PostgresqlStore, between: Proxy, make: Make
) -> None:
    between.stop()
    changes: list[Change] = [make()]
    with pytest.raises(StoreError):
        store.commit(changes, patience=0.0)
    with pytest.raises(StoreError, match="nobody listens") as caught:
        store.commit(changes, patience=0.0)
    assert not isinstance(caught.value, CommitUnknown)


def test_a_store_that_is_closed_says_so(url: str) -> None:
    store = PostgresqlStore(url, one_machine=True)
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.last_ordinal()
