"""`dpe store copy`: all that a SQLite store has is in the database, and nobody notices that it is another one."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.messages import Version
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import (
    Contact,
    Deregister,
    End,
    Outcome,
    OverridePolicies,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Store,
    StoreError,
    Unrevoke,
)
from dpe_server.store.listing import ALL
from dpe_server.store.opening import make_store, open_store
from dpe_server.store.postgresql import filling
from dpe_server.store.questions import Questions
from dpe_tools.server_process import ServerProcess, free_port
from tests.postgresql import Cluster
from tests.tools.conftest import IMEI, Invoke
from tests.tools.test_sessions_wanted import session

NOW = int(time.time())
COPY = ("store", "copy")
MANY = 10**12
ATTEMPT = b"this is one only"


def contact(of: Session, number: int, value: int | None = None, attempt: bytes = bytes(16)) -> Contact:
    return Contact(of.client_id, of.ordinal, number, attempt, {b"\x00": bytes([value])} if value else {}, 3600)


@pytest.fixture
def held(state: Path) -> list[Session]:
    """Sessions of all kinds, in the order of their numbers; what operators have imposed; and what has changed."""
    made = [
        session(0, firmware="a\0\N{GREEK SMALL LETTER MU}", version=Version(1, 7), lifetime=60, expires_at=NOW + 9999),
        session(1, epoch=None, suite=2, rule="\N{GREEK SMALL LETTER MU}"),
        session(2, expires_at=NOW - 5, lifetime=5),
        *(session(number) for number in range(3, 8)),
    ]
    with closing(open_store(StateDir.open(state).store_url)) as store:
        store.commit(made)
        store.commit([contact(made[0], 5, 7, ATTEMPT), contact(made[1], 1, 8)])
        store.commit([contact(made[1], 2, 9), contact(made[3], 2**40 - 1)])
        store.commit([End(made[4].device, NOW), Revoke(made[5].device, NOW - 7), Deregister(made[6].client_id, 7, 1)])
        store.commit([Revoke(os.urandom(16), 3), RestrictEpoch(made[0].device, 1), RestrictEpoch(os.urandom(16), 2)])
        store.commit([OverridePolicies(made[1].device, b"\xa0"), SetMinimumEpoch(1), RestrictEpoch(made[4].device, 9)])
        store.commit([Revoke(made[4].device, 4), Unrevoke(made[4].device)])
    # As in a store that has seen many commits: PostgreSQL's own numbers are lower.
    with closing(sqlite3.connect(StateDir.open(state).store_path, isolation_level=None)) as database:
        database.execute("UPDATE change SET number = number + ?", (MANY,))
        database.execute("UPDATE session SET changed = changed + ?", (MANY,))
    return made


def told(store: Store, made: list[Session]) -> dict[str, Any]:
    """All that a store says of what it holds."""
    facts = store.look(
        Questions(
            contexts={one.client_id for one in made},
            restrictions={one.device for one in made},
            client_ids_of={one.device for one in made},
            confirmed={one.client_id for one in made},
        )
    )
    return {
        "live": list(store.live(0)),
        "listed": list(store.listed(ALL, 0)),
        "measures": list(store.measures()),
        "ordinal": store.last_ordinal(),
        "standing": store.standing(),
        "changes": store.changes(0, 1000),
        "stats": store.stats(NOW),
        "facts": facts,
    }


def test_all_that_there_is_is_copied(dpe: Invoke, state: Path, held: list[Session], url: str) -> None:
    with closing(StateDir.open(state).open_store()) as store:
        before = told(store, held)
    said = dpe(*COPY, state, "--to", url, "--one-machine", "--node", "n")
    assert said.stdout.splitlines()[:4] == [
        "copied:",
        "  5 sessions, 3 traces of ended ones",
        "  6 devices on which operators have imposed something",
        "  3 changes for those who follow them",
    ]
    assert "postgresql" not in said.output
    opened = StateDir.open(state)
    assert (opened.config.store, opened.config.node, opened.one_machine) == (url, "n", True)
    assert [file.name for file in state.glob("dpe.sqlite*")] == ["dpe.sqlite.copied"]
    assert (state / "dpe.sqlite.copied").stat().st_mode & 0o777 == 0o600
    with closing(opened.open_store()) as store:
        assert told(store, held) == before
        # A request that was accepted is known again, and one with an old number is not accepted.
        again = [
            contact(held[0], 5, 7, ATTEMPT),
            contact(held[0], 5, 7, b"another"),
            contact(held[1], 2),
        ]
        assert store.commit(again) == [Outcome.COMMITTED, Outcome.NOT_ACCEPTED, Outcome.COMMITTED]
        # The trace of a session refuses the SUCCESS that began it.
        assert store.commit([held[4], held[5], held[0]]) == [Outcome.ENDED, Outcome.REVOKED, Outcome.COMMITTED]
        newest = before["standing"].newest
        store.commit([contact(held[3], 2**40 - 1), contact(held[1], 3, 11)])
        *_, change = store.changes(newest, 10)
        assert all(one.number > newest for one in store.changes(newest, 10))
        assert [one.client_id for one in change.changed] == [held[1].client_id]
        assert store.standing() == before["standing"]._replace(newest=change.number)
        assert [one.client_id for one in store.expire(NOW)] == [held[2].client_id]


def test_devices_and_followers_go_on(dpe: Invoke, tmp_path: Path, url: str) -> None:
    state, port = tmp_path / "state", free_port()
    dpe("init", state, "--uri", f"coap://127.0.0.1:{port}")
    device = tmp_path / "device.cbor"
    dpe("provision", state, IMEI, "--file", device)
    with ServerProcess(state, tmp_path / "log", port=port):
        dpe("register", device)
        dpe("session", "report", device, "battery=86")
        said = dpe(*COPY, state, "--to", url, "--one-machine", status=1).stderr
        assert "is in use by another server" in said
        cursor = dpe("properties", state).stdout.splitlines()[-1].removeprefix("cursor ")
    dpe(*COPY, state, "--to", url, "--one-machine", "--node", "first")
    with ServerProcess(state, tmp_path / "log", port=port):
        dpe("session", "report", device, "battery=85")
        (news, _) = dpe("properties", state, "--since", cursor).stdout.splitlines()
        assert "battery 85 %" in news
        dpe("register", device)  # its new session is newer than the one that was copied
        assert dpe("sessions", "list", state, "--count").stdout == "1\n"
    dpe("init", tmp_path / "b", "--join", state, "--node", "b")
    assert dpe("sessions", "list", tmp_path / "b", "--count").stdout == "1\n"


def test_a_database_in_which_something_is_stays_as_it_is(
    dpe: Invoke, first: Path, state: Path, held: list[Session], url: str
) -> None:
    before = (state / "config.toml").read_bytes()
    said = dpe(*COPY, state, "--to", url, "--one-machine", status=1).stderr
    assert "there is something in it" in said
    assert "give the URL of an empty database" in said
    assert (state / "config.toml").read_bytes() == before
    assert dpe("sessions", "list", first, "--count").stdout == "0\n"
    assert dpe("sessions", "list", state, "--count").stdout == "4\n"


def test_a_copy_that_fails_changes_nothing(
    dpe: Invoke, state: Path, held: list[Session], postgresql: Cluster, url: str
) -> None:
    assert "no synchronous standby" in dpe(*COPY, state, "--to", url, status=1).stderr
    with closing(postgresql.connection(url)) as owner:
        dpe(*COPY, shutil.copytree(state, state.parent / "other"), "--to", url, "--one-machine")
        owner.execute("DROP TABLE node")
    said = dpe(*COPY, state, "--to", url, "--one-machine", status=1).stderr
    assert "there is something in it" in said
    assert dpe("sessions", "list", state, "--count").stdout == "4\n"


def test_a_copy_that_is_broken_off_leaves_nothing(
    dpe: Invoke, state: Path, held: list[Session], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (state / "config.toml").read_bytes()

    def broken(*_: object) -> bytes:
        raise StoreError("made to fail")  # when all devices are copied, and the changes come

    with monkeypatch.context() as broken_off:
        broken_off.setattr(filling, "packed", broken)
        assert "made to fail" in dpe(*COPY, state, "--to", url, "--one-machine", status=1).stderr
    assert (state / "config.toml").read_bytes() == before
    assert dpe("sessions", "list", state, "--count").stdout == "4\n"
    with closing(make_store(url, one_machine=True)) as store:
        assert (list(store.live(0)), list(store.measures())) == ([], [])
    dpe(*COPY, state, "--to", url, "--one-machine")
    assert dpe("sessions", "list", state, "--count").stdout == "4\n"


def test_who_is_in_a_database_already_is_not_copied(dpe: Invoke, first: Path, url: str) -> None:
    assert "is in PostgreSQL already" in dpe(*COPY, first, "--to", url, status=1).stderr
    assert "PGPASSFILE" in dpe(*COPY, first, "--to", "postgresql://a:b@h/d", status=2).stderr
    assert "Missing option '--to'" in dpe(*COPY, first, status=2).stderr
