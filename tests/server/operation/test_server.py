"""The server around the registrar: start and stop, reload, housekeeping."""

import asyncio
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dpe_coap.errors import DpeError
from dpe_coap.messages import Version
from dpe_server import policy
from dpe_server.coap.subjects import Crowds
from dpe_server.net.udp import ListenError, listen
from dpe_server.operation import loaded
from dpe_server.operation import server as server_file
from dpe_server.operation.loaded import Loaded
from dpe_server.operation.server import Server, Worker
from dpe_server.operation.state_dir import StateDir, StateDirError
from dpe_server.policy import PolicyError
from dpe_server.registration.ordinals import Ordinals
from dpe_server.store.changes import KEPT
from dpe_server.store.contract import (
    End,
    Expired,
    Outcome,
    Session,
    Store,
    StoreError,
)
from dpe_server.store.opening import open_store
from dpe_server.store.questions import Questions
from dpe_server.store.sqlite import store as sqlite
from dpe_server.store.sqlite.store import SqliteStore
from tests.coap import Client
from tests.end_to_end.running import running_on


@pytest.fixture
def state_dir(tmp_path: Path) -> StateDir:
    return StateDir.create(tmp_path / "state", "realm", "coap://127.0.0.1")


def session(number: int, expires_at: int | None) -> Session:
    return Session(
        client_id=number,
        device=number.to_bytes(16, "big"),
        sealed_imei=bytes(36),
        version=Version(1, 0),
        firmware=None,
        suite=1,
        rule="rule",
        ordinal=number,
        established_at=1,
        lifetime=None,
        expires_at=expires_at,
        th3=bytes(32),
        success_hash=bytes(32),
        confirm=bytes(23),
        sealed_keys=bytes(52),
    )


def client_ids(store: Store) -> set[int]:
    return store.look(Questions(in_use={(1, 9)})).in_use[1, 9]


def start_and_stop(state_dir: StateDir, *addresses: str) -> list[str]:
    async def main() -> list[str]:
        async with Server(state_dir.path, addresses or ("127.0.0.1:0",)) as server:
            return server.uris

    return asyncio.run(main())


def test_it_starts_and_stops_and_starts_again(state_dir: StateDir) -> None:
    with capture_logs() as logs:
        for _ in range(3):
            (uri,) = start_and_stop(state_dir)
            assert uri.startswith("coap://127.0.0.1:")
    assert logs == []


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (lambda state_dir: state_dir.policy_path.write_text("x"), PolicyError),
        (lambda state_dir: state_dir.policy_path.unlink(), StateDirError),
        (lambda state_dir: (state_dir.path / "dpe.sqlite").write_bytes(b"no database" * 99), DpeError),
    ],
)
def test_a_start_that_fails_leaves_nothing_behind(
    state_dir: StateDir, harm: Callable[[StateDir], object], error: type[DpeError]
) -> None:
    files = {path: path.read_bytes() for path in state_dir.path.iterdir()}
    harm(state_dir)
    with pytest.raises(error):
        start_and_stop(state_dir)
    for path, content in files.items():
        path.write_bytes(content)
        path.chmod(0o600)
    start_and_stop(state_dir)


def test_a_port_in_use_leaves_nothing_behind(state_dir: StateDir, tmp_path: Path) -> None:
    other = StateDir.create(tmp_path / "other", "realm", "coap://127.0.0.1")
    with running_on(other) as running:
        with pytest.raises(ListenError):
            start_and_stop(state_dir, "127.0.0.1:0", running.uri.removeprefix("coap://"))
        start_and_stop(state_dir)


@pytest.mark.parametrize(
    ("retention", "kept"),
    [(10_000, 9_000), (0, 3_500)],  # never less than the hour in which a SUCCESS may come late
)
def test_sessions_that_are_over_end_and_their_traces_go_after_the_retention(
    state_dir: StateDir, retention: int, kept: int
) -> None:
    (state_dir.path / "config.toml").write_text(f'realm = "realm"\nuri = "coap://127.0.0.1"\nretention = {retention}\n')
    now = int(time.time())
    with closing(open_store(state_dir.store_url)) as store:
        sessions = [
            session(1, now - 2_000),
            session(2, now + 2_000),
            session(3, None),
            session(4, None),
            session(5, None),
        ]
        store.commit([*sessions, End(sessions[3].device, now - kept), End(sessions[4].device, now - 20_000)])
        with running_on(state_dir) as running:
            for _ in range(2):
                running.loop.run(running.server._batcher.exclusively(lambda: None))  # behind the first look
                running.loop.run(asyncio.sleep(0))
        assert [(log["event"], log["count"]) for log in running.logs] == [
            ("sessions expired", 1),
            ("traces of sessions pruned", 1),
        ]
        assert client_ids(store) == {2, 3}
        assert store.commit([sessions[0], sessions[3], sessions[4]]) == [
            Outcome.ENDED,
            Outcome.ENDED,
            Outcome.COMMITTED,
        ]


def test_very_many_sessions_end_with_batches_in_between(state_dir: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PRUNE_CHUNK", 2)
    monkeypatch.setattr(server_file, "PRUNE_CHUNK", 2)
    store = open_store(state_dir.store_url)
    store.commit([session(number, int(time.time()) - 10**8) for number in range(1, 6)])
    left: list[int] = []
    somebody_waits = threading.Event()
    expire = SqliteStore.expire

    def expire_then(store: SqliteStore, now: int) -> list[Expired]:
        somebody_waits.wait()
        return expire(store, now)

    async def look() -> None:
        looking = asyncio.ensure_future(
            running.server._batcher.exclusively(lambda: left.append(len(client_ids(store))))
        )
        await asyncio.sleep(0)  # it is in line now
        somebody_waits.set()
        await looking

    monkeypatch.setattr(SqliteStore, "expire", expire_then)
    with running_on(state_dir) as running:
        for _ in range(3):
            running.loop.run(look())
        running.loop.run(asyncio.sleep(0))
    assert left == [3, 1, 0]
    assert running.logs == [{"event": "sessions expired", "count": 5, "log_level": "info"}]
    store.close()


@pytest.mark.parametrize("fails", [False, True])
def test_others_have_their_turn_while_a_purge_is_prepared(
    state_dir: StateDir, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(server_file, "HOUSEKEEPING", 0)
    begun, may_end, purged = threading.Event(), threading.Event(), threading.Event()
    prepare_purge, purge = SqliteStore.prepare_purge, SqliteStore.purge

    def prepare(store: SqliteStore) -> None:
        purged.clear()  # which the start has done
        begun.set()
        may_end.wait()
        if fails:
            raise StoreError("the disk gives errors")
        prepare_purge(store)

    def purge_then(store: SqliteStore) -> bool:
        purged.set()
        return purge(store)

    monkeypatch.setattr(SqliteStore, "prepare_purge", prepare)
    monkeypatch.setattr(SqliteStore, "purge", purge_then)
    with running_on(state_dir) as running:
        try:
            running.loop.run(asyncio.to_thread(begun.wait))
            running.loop.run(running.server._batcher.exclusively(lambda: None))
            assert not purged.is_set()
        finally:
            may_end.set()
        running.loop.run(asyncio.to_thread(purged.wait))
    assert running.logs == []


def test_of_several_workers_the_first_keeps_house_and_none_takes_the_lock(state_dir: StateDir) -> None:
    store = open_store(state_dir.store_url)
    store.commit([session(1, int(time.time()) - 10**8)])

    async def run(number: int) -> None:
        sockets, _ = listen(["127.0.0.1:0"])
        async with Server(state_dir.path, worker=Worker(number, sockets, Ordinals(0), Crowds())) as server:
            assert server.uris == [socket.uri for socket in sockets]
            await asyncio.sleep(0)  # housekeeping begins
            await server._batcher.exclusively(lambda: None)

    with state_dir.lock(), capture_logs() as logs:
        asyncio.run(run(1))
        assert client_ids(store) == {1}
        asyncio.run(run(0))
        assert client_ids(store) == set()
    assert [log["event"] for log in logs] == ["sessions expired"]
    store.close()


def test_housekeeping_goes_on_when_the_store_fails(state_dir: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_file, "HOUSEKEEPING", 0)
    calls: list[int] = []

    def prune(store: SqliteStore, before: int) -> int:
        calls.append(before)
        if len(calls) == 1:
            raise StoreError("the disk is full")
        return 1 if len(calls) == 2 else 0

    monkeypatch.setattr(SqliteStore, "prune", prune)
    with running_on(state_dir) as running:
        while len(calls) < 3:
            running.loop.run(asyncio.sleep(0))
    assert [log["event"] for log in running.logs] == ["housekeeping failed", "traces of sessions pruned"]


def test_housekeeping_drops_changes_seldom_and_goes_on_when_that_fails(
    state_dir: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_file, "HOUSEKEEPING", 0)
    monkeypatch.setattr(server_file, "CHANGES_EVERY", 3)
    calls: list[str | int] = []

    def prune(store: SqliteStore, before: int) -> int:
        calls.append("prune")
        return 0

    def drop(store: SqliteStore, after: int, before: int) -> int | None:
        assert abs(time.time() - KEPT - before) < 3600
        calls.append(after)
        if calls.count(0) == 2:
            raise StoreError("the disk is full")
        return None if after == 8 else after + 4

    monkeypatch.setattr(SqliteStore, "prune", prune)
    monkeypatch.setattr(SqliteStore, "drop_changes", drop)
    with running_on(state_dir) as running:
        while calls.count(0) < 3:
            running.loop.run(asyncio.sleep(0))
    assert calls[:12] == ["prune", 0, 4, 8, "prune", "prune", "prune", 0, "prune", "prune", "prune", 0]
    assert [log["event"] for log in running.logs] == ["housekeeping failed"]


def test_a_reload_that_fails_keeps_everything_as_it_was(state_dir: StateDir) -> None:
    with running_on(state_dir) as running, Client(running.uri) as client:
        keys = state_dir.path / "keys.json"
        content = keys.read_text()
        keys.write_text("{}")
        running.loop.run(running.server.reload())
        keys.unlink()
        running.loop.run(running.server.reload())
        keys.write_text(content)
        keys.chmod(0o600)
        running.loop.run(running.server.reload())
        assert client.discover().dotted == "2.05"
    events = [log["event"] for log in running.logs]
    assert events == ["not reloaded, the old policy and keys stay"] * 2 + ["policy and keys reloaded"]
    assert "keys.json" in running.logs[0]["reason"]


def test_a_reload_reads_in_a_thread(state_dir: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy of thousands of rules takes a while."""
    threads: list[int] = []
    load = policy.load

    def note(path: Path) -> policy.Policy:
        threads.append(threading.get_ident())
        return load(path)

    with running_on(state_dir) as running:
        monkeypatch.setattr(policy, "load", note)
        running.loop.run(running.server.reload())
        assert len(threads) == 1
        assert threads[0] != running.loop.call(threading.get_ident)


def test_a_reload_says_which_keys_of_the_configuration_it_does_not_take(state_dir: StateDir) -> None:
    config = state_dir.path / "config.toml"
    before = config.read_text()
    with running_on(state_dir) as running:
        for text in (
            before.replace("retry_after = 60", "retry_after = 61").replace("# listen", "listen"),
            before + "# a remark\n",
        ):
            config.write_text(text)
            running.loop.run(running.server.reload())
        running.loop.run(running.server.reload())
    assert [(log["event"], log.get("changed")) for log in running.logs] == [
        ("policy and keys reloaded", None),
        ("config.toml not reloaded, restart the server", "listen, retry_after"),
        ("policy and keys reloaded", None),
        ("policy and keys reloaded", None),
    ]


# -- what a running server has loaded --


def test_it_writes_down_what_it_has_loaded_and_no_key(state_dir: StateDir) -> None:
    file = state_dir.path / "loaded-0.json"
    (state_dir.path / "loaded-7.json").write_text("of a server that was killed")
    assert loaded.read(state_dir) == []
    with running_on(state_dir) as running:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert loaded.read(state_dir) == [Loaded.of(state_dir, [running.uri])]
        assert not (state_dir.path / "loaded-7.json").exists()
        keys = [*state_dir.keys.master.values(), *state_dir.keys.handle.values(), state_dir.keys.at_rest]
        assert not any(key.hex() in file.read_text() for key in keys)
        StateDir.open(state_dir.path)
    assert not file.exists()


def test_what_it_lacks_until_it_reloads(state_dir: StateDir) -> None:
    with running_on(state_dir) as running:
        assert loaded.lacking(state_dir) == []
        state_dir.rotate("master")
        state_dir.rotate("handle")
        now = StateDir.open(state_dir.path)
        assert loaded.lacking(now) == ["handle key 2", "master key 2"]
        state_dir.policy_path.write_text(state_dir.policy_path.read_text() + "# changed\n")
        (config := now.path / "config.toml").write_text(config.read_text() + "# changed\n")
        running.loop.run(running.server.reload())
        assert loaded.lacking(now) == []
        (had,), current = loaded.read(now), Loaded.of(now, [])
        assert had.files["policy.toml"] == current.files["policy.toml"]
        assert had.files["config.toml"] != current.files["config.toml"]
    state_dir.rotate("master")
    assert loaded.lacking(StateDir.open(state_dir.path)) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"keys": 1, "files": {}, "uris": []}'])
def test_what_is_not_readable_says_nothing(state_dir: StateDir, text: str) -> None:
    with state_dir.lock():
        (state_dir.path / "loaded-0.json").write_text(text)
        assert loaded.read(state_dir) == []


def test_it_serves_where_it_cannot_write_down_what_it_has_loaded(
    state_dir: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loaded, "write", fail)
    with running_on(state_dir) as running, Client(running.uri) as client:
        assert client.discover().dotted == "2.05"
    (log,) = running.logs
    assert (log["event"], log["reason"]) == ("what is loaded is not written down", "No space left on device")
