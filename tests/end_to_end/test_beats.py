"""A server knows its database again: it ends, or does not start, when that is another."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dpe_coap.errors import DpeError
from dpe_server.coap.subjects import Crowds
from dpe_server.net.udp import listen
from dpe_server.operation import beats, recovery
from dpe_server.operation import server as server_file
from dpe_server.operation.beats import BeatsError
from dpe_server.operation.recovery import RecoveryError
from dpe_server.operation.server import Server, Worker
from dpe_server.operation.state_dir import StateDir
from dpe_server.registration.ordinals import Ordinals
from tests.coap import Client
from tests.end_to_end.devices import Device
from tests.end_to_end.processes import Start
from tests.end_to_end.restoring import live, name_of, offer, refused, register
from tests.end_to_end.running import running_on

WORKERS = pytest.mark.parametrize("workers", [1, 2])


def beat_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_file, "HOUSEKEEPING", 0)


def test_a_running_server_appends_beats_and_remembers_them(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    beat_now(monkeypatch)
    with running_on(state) as running:
        first = beats.remembered(state.beat_path)
        assert first.last is not None
        for _ in range(200):
            running.loop.run(asyncio.sleep(0))
            running.loop.run(running.server._batcher.exclusively(lambda: None))
            later = beats.remembered(state.beat_path)
            if later.last and later.last.number >= first.last.number + 3:
                break
        assert later.last is not None
        assert later.last.number >= first.last.number + 3
        assert later.settled is not None, "it is in the file itself too"
    assert running.logs == []


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_running_server_stops_when_its_database_is_another(
    state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: bool
) -> None:
    device = Device(state)
    with running_on(state) as running, Client(running.uri) as client:
        offered = offer(client, device)
        assert offered is not None
        if exchanged:
            shutil.copy(state.store_path, tmp_path / "copy")
            (tmp_path / "copy").rename(state.store_path)
        else:
            with closing(sqlite3.connect(state.store_path, isolation_level=None)) as database:
                database.execute("UPDATE beat SET random = zeroblob(8)")
        before = state.beat_path.read_bytes()
        assert not running.loop.run(running.server._batcher.exclusively(running.server._beat))

        async def failure() -> DpeError:
            return await running.server.failed

        error = running.loop.run(failure())
        assert isinstance(error, BeatsError)
        assert f"dpe recover {state.path}" in error.hint
        assert state.beat_path.read_bytes() == before
        assert client.post(offered.success()).dotted == "5.03", "it establishes nothing any more"
    with closing(sqlite3.connect(state.store_path)) as database:
        assert database.execute("SELECT count(*) FROM session").fetchone() == (0,)


@WORKERS
def test_the_process_ends_when_its_database_is_another(start: Start, state: StateDir, workers: int) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom dpe_server.operation import app, server\n"
        "from dpe_tools.cli import boundary\nserver.HOUSEKEEPING = 0.1\n"
        f"with boundary(): app.serve(Path(sys.argv[1]), sys.argv[2:], workers={workers})"
    )
    server = start(program=("-c", program))
    server.started()
    with closing(sqlite3.connect(state.store_path, isolation_level=None, timeout=30)) as database:
        database.execute("UPDATE beat SET random = zeroblob(8)")
    assert server.ended() == 1
    log = server.log.read_text()
    assert "beat" in log
    assert f"dpe recover {state.path}" in log
    assert "is another" in str(refused(state))


def test_each_worker_beats_at_its_start_and_is_refused_alike(state: StateDir) -> None:
    async def run(number: int) -> None:
        sockets, _ = listen(["127.0.0.1:0"])
        async with Server(state.path, worker=Worker(number, sockets, Ordinals(0), Crowds())):
            pass

    with state.lock():
        for number in (0, 1, 0):
            asyncio.run(run(number))
        assert beats.remembered(state.beat_path).last[:1] == (3,)  # type: ignore[index]
        with closing(sqlite3.connect(state.store_path, isolation_level=None)) as database:
            database.execute("DELETE FROM beat")
        with pytest.raises(BeatsError, match="beat 3 is missing"):
            asyncio.run(run(1))


def test_a_beat_that_cannot_be_written_stops_nothing(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(state)
    with running_on(state):
        pass
    before = state.beat_path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(beats, "remember", full)
    with running_on(state) as running:
        assert running.loop.run(running.server._batcher.exclusively(running.server._beat))
        assert register(running.uri, device)
    assert [log["event"] for log in running.logs] == ["no beat written"] * 2
    assert state.beat_path.read_bytes() == before
    monkeypatch.undo()
    with running_on(state) as running:
        assert running.logs == []


def test_a_state_directory_older_than_its_database_needs_the_operators_word(state: StateDir) -> None:
    device = Device(state)
    with running_on(state) as running:
        assert register(running.uri, device)
    with pytest.raises(RecoveryError, match="nothing to recover"):
        recovery.keep_sessions(state)
    state.beat_path.unlink()
    said = refused(state)
    assert "remembers none" in str(said)
    assert f"dpe recover {state.path} --keep-sessions" in said.hint
    recovery.keep_sessions(state)
    with running_on(state):
        assert live(state) == {name_of(state, device)}


def test_sessions_are_kept_only_where_the_database_is_newer(state: StateDir, tmp_path: Path) -> None:
    with running_on(state):
        shutil.copy(state.store_path, tmp_path / "copy")
    with running_on(state):
        pass
    shutil.copy(tmp_path / "copy", state.store_path)
    with pytest.raises(RecoveryError, match="sessions cannot be kept"):
        recovery.keep_sessions(state)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"last": null, "settled": null}', '{"last": [0, "00"], "settled": null}', "x"]
)
def test_a_memory_that_cannot_be_read_is_said_and_recovered(state: StateDir, text: str) -> None:
    with running_on(state):
        pass
    state.beat_path.write_text(text)
    said = refused(state)
    assert "beat.json: it does not say which beat was the last" in str(said)
    recovery.recover(state)
    with running_on(state) as running:
        assert running.logs == []
