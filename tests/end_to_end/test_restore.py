"""Backup, restore and recovery of a server that devices use, and databases that were put back in another way."""

import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from dpe_coap.errors import DpeError
from dpe_server.operation import beats, journal, recovery
from dpe_server.operation.journal import JournalError
from dpe_server.operation.recovery import Recovered, RecoveryError
from dpe_server.operation.state_dir import StateDir, StateDirError
from dpe_server.store.contract import (
    Forget,
    RestrictEpoch,
    Revoke,
    SetMinimumEpoch,
    StoreError,
    Unrevoke,
)
from dpe_server.store.opening import open_store
from tests.end_to_end.devices import Device
from tests.end_to_end.processes import Start
from tests.end_to_end.restoring import act, files, live, name_of, refused, register, revoked
from tests.end_to_end.running import running_on

WORKERS = pytest.mark.parametrize("workers", [1, 2])


def test_after_a_restore_the_revoked_stay_revoked_and_the_others_register_again(
    state: StateDir, tmp_path: Path
) -> None:
    known, new, stolen, found = (Device(state) for _ in range(4))
    with running_on(state) as running:
        assert all(register(running.uri, device) for device in (known, stolen))
        act(state, Revoke(name_of(state, found), 1))
        recovery.back_up(state, tmp_path / "copy")
        assert register(running.uri, new)
        act(state, Revoke(name_of(state, stolen), 2), Unrevoke(name_of(state, found)), SetMinimumEpoch(1))
        assert register(running.uri, found)
        with closing(open_store(state.store_url)) as store:
            last = store.last_ordinal()
    done = recovery.restore(state, tmp_path / "copy")
    assert abs(time.time() - (done.made_at or 0)) < 3600
    assert done == Recovered(done.made_at, sessions=2, revoked=1, lifted=1, epochs=1)
    assert {"dpe.sqlite-wal", "dpe.sqlite-shm", "dpe.sqlite.new"} & {
        file.name for file in state.path.iterdir()
    } == set()
    assert revoked(state) == {name_of(state, stolen)}
    with running_on(state) as running:
        assert not register(running.uri, stolen)
        assert all(register(running.uri, device) for device in (known, new, found))
    assert live(state) == {name_of(state, device) for device in (known, new, found)}
    with closing(open_store(state.store_url)) as store:
        assert store.last_ordinal() > last


def test_a_file_put_back_by_hand_is_refused_until_it_is_recovered(state: StateDir, tmp_path: Path) -> None:
    stolen, new = Device(state), Device(state)
    with running_on(state) as running:
        assert register(running.uri, stolen)
    shutil.copy(state.store_path, tmp_path / "copy")
    with running_on(state) as running:
        assert register(running.uri, new)
        act(state, Revoke(name_of(state, stolen), 2))
    shutil.copy(tmp_path / "copy", state.store_path)
    said = refused(state)
    assert "it is not as this server left it" in str(said)
    assert f"dpe recover {state.path}" in said.hint
    done = recovery.recover(state)
    assert done == Recovered(None, sessions=1, revoked=1, lifted=0, epochs=0)
    with running_on(state) as running:
        assert not register(running.uri, stolen)
        assert register(running.uri, new)


def test_a_server_does_not_start_from_a_backup(state: StateDir, tmp_path: Path) -> None:
    device = Device(state)
    with running_on(state) as running:
        assert register(running.uri, device)
    recovery.back_up(state, state.path / "copy")
    (state.path / "copy").rename(state.store_path)
    said = refused(state)
    assert "it is a copy that dpe backup made" in str(said)
    assert "dpe recover STATE" in said.hint
    assert recovery.recover(state).sessions == 1
    with running_on(state) as running:
        assert register(running.uri, device)


def killed_with_a_log(start: Start, state: StateDir) -> Device:
    """Register a device at a server that is killed, so that its write-ahead log stays."""
    device = Device(state)
    server = start()
    assert register(server.started(), device)
    server.process.kill()
    server.ended()
    assert state.path.joinpath("dpe.sqlite-wal").stat().st_size > 0
    return device


def test_after_a_kill_it_starts_again_with_what_the_log_has(start: Start, state: StateDir) -> None:
    device = killed_with_a_log(start, state)
    with running_on(state) as running:
        assert running.logs == []
    assert live(state) == {name_of(state, device)}


@pytest.mark.parametrize("how", ["cp", "sqlite3 .backup"])
def test_a_copy_put_back_beside_a_leftover_log_is_noticed_and_cannot_be_recovered_but_restored(
    start: Start, state: StateDir, tmp_path: Path, how: str
) -> None:
    """The old way: the log would silently undo the restore, or damage the database."""
    first = Device(state)
    with running_on(state) as running:
        assert register(running.uri, first)
    copy = tmp_path / "copy"
    if how == "cp":
        shutil.copy(state.store_path, copy)
    else:
        with closing(sqlite3.connect(state.store_path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    killed_with_a_log(start, state)
    state.store_path.write_bytes(copy.read_bytes())
    said = refused(state)
    assert "put back beside the write-ahead log (dpe.sqlite-wal) of another" in str(said)
    assert said.hint == f"restore a backup: dpe restore {state.path} FILE"
    before = files(state)
    with pytest.raises(DpeError, match="beside the write-ahead log"):
        recovery.recover(state)
    assert files(state) == before
    assert recovery.restore(state, copy).sessions == 1
    with running_on(state) as running:
        assert register(running.uri, first)


def test_a_damaged_database_is_refused_and_not_recovered(state: StateDir, tmp_path: Path) -> None:
    devices = [Device(state) for _ in range(40)]
    with running_on(state) as running:
        assert all(register(running.uri, device) for device in devices)
    recovery.back_up(state, tmp_path / "copy")
    with state.store_path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * 4096 * 4)
    said = refused(state)
    assert "damaged" in str(said) or "malformed" in str(said)
    assert "backup" in said.hint
    before = files(state)
    for fail in (
        lambda: recovery.recover(state),
        lambda: recovery.restore(state, state.store_path),
        lambda: recovery.back_up(state, tmp_path / "of the damaged"),
    ):
        with pytest.raises(StoreError):
            fail()
    assert files(state) == before
    assert not (tmp_path / "of the damaged").exists()
    assert recovery.restore(state, tmp_path / "copy").sessions == 40
    with running_on(state) as running:
        assert register(running.uri, devices[0])


def test_while_the_server_runs_nothing_is_put_back(state: StateDir, tmp_path: Path) -> None:
    with running_on(state):
        recovery.back_up(state, tmp_path / "copy")
        for fail in (
            lambda: recovery.restore(state, tmp_path / "copy"),
            lambda: recovery.recover(state),
            lambda: recovery.keep_sessions(state),
        ):
            with pytest.raises(StateDirError, match="in use by another server"):
                fail()


def test_what_is_forgotten_stays_forgotten(state: StateDir, tmp_path: Path) -> None:
    device = Device(state)
    with running_on(state) as running:
        assert register(running.uri, device)
        act(state, RestrictEpoch(name_of(state, device), 1))
        recovery.back_up(state, tmp_path / "copy")
        act(state, Forget(name_of(state, device), 5))
    recovery.restore(state, tmp_path / "copy")
    with closing(open_store(state.store_url)) as store:
        assert list(store.measures()) == []
        assert store.prune(6) == 1


def test_the_journals_of_other_servers_are_repeated_too(state: StateDir, tmp_path: Path) -> None:
    one, two = Device(state), Device(state)
    journal.begin(tmp_path / "other", [Revoke(name_of(state, two), 7)])
    act(state, Revoke(name_of(state, one), 8))
    assert recovery.recover(state, journals=[tmp_path / "other"]).revoked == 1
    assert revoked(state) == {name_of(state, one), name_of(state, two)}


def test_a_journal_that_is_lost_is_an_error_until_an_operator_begins_a_new_one(state: StateDir) -> None:
    device = Device(state)
    act(state, Revoke(name_of(state, device), 8))
    with running_on(state):
        pass
    with pytest.raises(JournalError, match="is there already"):
        recovery.recover(state, new_journal=True)
    state.journal_path.unlink()
    with running_on(state) as running:
        assert [log["event"] for log in running.logs] == ["operators' journal missing"]
    before = files(state)
    with pytest.raises(JournalError, match="is missing"):
        recovery.recover(state)
    assert files(state) == before
    recovery.recover(state, new_journal=True)
    assert list(journal.read([state.journal_path])) == [Revoke(name_of(state, device), 8)]
    with running_on(state) as running:
        assert running.logs == []


def test_a_journal_with_a_fault_stops_a_recovery_before_it_has_changed_anything(
    state: StateDir, tmp_path: Path
) -> None:
    recovery.back_up(state, tmp_path / "copy")
    with state.journal_path.open("a") as file:
        file.write("no line\n")
    before = files(state)
    with pytest.raises(JournalError, match=":1: not a line"):
        recovery.restore(state, tmp_path / "copy")
    assert files(state) == before


def test_the_backup_of_another_server_is_refused(state: StateDir, tmp_path: Path) -> None:
    other = StateDir.create(tmp_path / "other", "realm", "coap://127.0.0.1")
    with running_on(other) as running:
        assert register(running.uri, Device(other))
    recovery.back_up(other, tmp_path / "copy")
    before = files(state)
    with pytest.raises(RecoveryError, match="of another server"):
        recovery.restore(state, tmp_path / "copy")
    assert files(state) == before


def test_a_lost_database_is_restored_on_a_new_machine(state: StateDir, tmp_path: Path) -> None:
    device = Device(state)
    with running_on(state) as running:
        assert register(running.uri, device)
    recovery.back_up(state, tmp_path / "copy")
    for file in (state.store_path, state.beat_path, state.path / "audit.jsonl"):
        file.unlink()
    recovery.restore(StateDir.open(state.path, without_store=True), tmp_path / "copy")
    with running_on(state) as running:
        assert running.logs == []
        assert register(running.uri, device)


def test_a_backup_has_one_file_for_its_owner_and_replaces_nothing(state: StateDir, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with running_on(state) as running:
        assert register(running.uri, Device(state))
        recovery.back_up(state, folder / "one")
    assert [file.name for file in folder.iterdir()] == ["one"]
    assert (folder / "one").stat().st_mode & 0o777 == 0o600
    before = (folder / "one").read_bytes()
    with pytest.raises(StoreError, match="is there already"):
        recovery.back_up(state, folder / "one")
    with pytest.raises(StoreError, match="No such file or directory"):
        recovery.back_up(state, folder / "none" / "one")
    with pytest.raises(StoreError, match="no such file"):
        recovery.restore(state, folder / "two")
    (folder / "three").write_bytes(b"something else")
    with pytest.raises(StoreError, match="not a database"):
        recovery.restore(state, folder / "three")
    assert (folder / "one").read_bytes() == before


def test_what_fails_half_way_leaves_the_old_database_or_one_that_is_refused(
    state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(state)
    with running_on(state) as running:
        assert register(running.uri, device)
        recovery.back_up(state, tmp_path / "copy")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    before = files(state)
    monkeypatch.setattr("dpe_server.store.opening.put_in_place", cut)
    with pytest.raises(KeyboardInterrupt):
        recovery.restore(state, tmp_path / "copy")
    assert files(state) == before
    monkeypatch.undo()
    with running_on(state):
        pass
    monkeypatch.setattr(beats, "remember", cut)
    with pytest.raises(KeyboardInterrupt):
        recovery.restore(state, tmp_path / "copy")
    monkeypatch.undo()
    assert "it is not as this server left it" in str(refused(state))
    recovery.restore(state, tmp_path / "copy")
    with running_on(state) as running:
        assert register(running.uri, device)


def test_no_file_of_all_this_names_a_device(state: StateDir, tmp_path: Path) -> None:
    device = Device(state)
    with running_on(state) as running:
        assert register(running.uri, device)
        act(state, Revoke(name_of(state, device), 1))
        recovery.back_up(state, tmp_path / "copy")
    recovery.restore(state, tmp_path / "copy")
    digits = device.imei.digits
    for file in (*state.path.iterdir(), tmp_path / "copy"):
        data = file.read_bytes()
        assert digits.encode() not in data
        assert device.imei.packed not in data
    (line,) = state.journal_path.read_text().splitlines()
    assert json.loads(line)["device"] == name_of(state, device).hex()
