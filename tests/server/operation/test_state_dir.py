"""The state directory."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.errors import LocalError
from dpe_server import policy
from dpe_server.keys.file import KeyFileError
from dpe_server.keys.ring import KeyKind
from dpe_server.operation import locking, state_dir
from dpe_server.operation.config import ConfigError
from dpe_server.operation.permissions import PermissionsError
from dpe_server.operation.state_dir import StateDir, StateDirError
from dpe_server.store.contract import StoreError
from dpe_server.store.opening import open_store

KINDS: tuple[KeyKind, ...] = ("master", "handle")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def opened(path: Path) -> StateDir:
    return StateDir.create(path, "realm", "coap://127.0.0.1:5683")


@pytest.fixture(params=[0o000, 0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(path: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in (path, *path.iterdir())}


@pytest.mark.usefixtures("_umask")
def test_a_new_state_directory_is_whole_and_for_its_owner_only(path: Path) -> None:
    made = StateDir.create(str(path), "my realm", "coap://dpe.example")
    assert modes(path) == {
        "state": 0o700,
        "config.toml": 0o600,
        "policy.toml": 0o600,
        "keys.json": 0o600,
        "dpe.sqlite": 0o600,
        "operators.jsonl": 0o600,
    }
    assert (made.config.realm, made.config.uri) == ("my realm", "coap://dpe.example")
    assert (set(made.keys.master), set(made.keys.handle)) == ({1}, {1})
    assert len({made.keys.at_rest, made.keys.master[1], made.keys.handle[1]}) == 3
    assert StateDir.open(path) == made
    policy.load(made.policy_path)
    with closing(open_store(made.store_url)) as store:
        assert store.last_ordinal() == 0
    with made.lock():
        made.rotate("master")
        assert set(modes(path).values()) == {0o700, 0o600}


def test_every_directory_has_keys_of_its_own(tmp_path: Path) -> None:
    made = [StateDir.create(tmp_path / name, "r", "coap://h").keys for name in "ab"]
    assert not {made[0].at_rest, *made[0].master.values(), *made[0].handle.values()} & {
        made[1].at_rest,
        *made[1].master.values(),
        *made[1].handle.values(),
    }


def test_an_empty_directory_is_taken_and_closed_to_others(path: Path) -> None:
    path.mkdir(mode=0o755)
    StateDir.create(path, "r", "coap://h")
    assert modes(path)["state"] == 0o700


def test_nothing_is_ever_overwritten(path: Path, opened: StateDir) -> None:
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(StateDirError, match="is not empty") as caught:
        StateDir.create(path, "other", "coap://h")
    assert "another path" in caught.value.hint
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_fresh_volume_is_empty(path: Path) -> None:
    path.mkdir()
    (path / "lost+found").mkdir()
    StateDir.open(StateDir.create(path, "r", "coap://h").path)


def test_a_file_in_the_way_is_said(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(StateDirError, match="is not a directory"):
        StateDir.create(path, "r", "coap://h")
    assert path.read_text() == "mine"


@pytest.mark.parametrize(("realm", "uri"), [("", "coap://h"), ("r", "http://h")])
def test_a_bad_realm_or_uri_is_refused_before_anything_is_made(path: Path, realm: str, uri: str) -> None:
    with pytest.raises(ConfigError, match=r"^the (realm|URI): expected ") as caught:
        StateDir.create(path, realm, uri)
    assert "config.toml" not in str(caught.value)  # there is none
    assert not path.exists()


def test_a_parent_that_is_not_there_is_said(path: Path) -> None:
    with pytest.raises(StateDirError, match="No such file or directory"):
        StateDir.create(path / "deeper", "r", "coap://h")


@pytest.mark.parametrize("existed", [False, True])
def test_what_was_begun_is_undone_when_it_fails(path: Path, existed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        assert url == f"sqlite:{path / 'dpe.sqlite'}"
        (path / "dpe.sqlite").write_bytes(b"half")
        raise StoreError("made to fail")

    if existed:
        path.mkdir()
    monkeypatch.setattr(state_dir, "make_store", fail)
    with pytest.raises(StoreError):
        StateDir.create(path, "r", "coap://h")
    assert path.exists() == existed
    assert not existed or list(path.iterdir()) == []


# -- opening --


def test_a_directory_that_is_not_there_is_said(path: Path) -> None:
    with pytest.raises(StateDirError, match="no such directory") as caught:
        StateDir.open(path)
    assert f"dpe init {path}" in caught.value.hint


@pytest.mark.parametrize("name", ["config.toml", "policy.toml", "keys.json", "dpe.sqlite"])
def test_a_missing_file_is_said_and_not_made_anew(path: Path, opened: StateDir, name: str) -> None:
    (path / name).unlink()
    with pytest.raises(StateDirError, match=f"it has no {name}"):
        StateDir.open(path)
    assert not (path / name).exists()
    if name == "dpe.sqlite":
        assert StateDir.open(path, without_store=True) == opened
    else:
        with pytest.raises(StateDirError, match=f"it has no {name}"):
            StateDir.open(path, without_store=True)


def test_the_modes_of_another_folder_are_not_judged(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StateDirError, match="is not a state directory") as caught:
        StateDir.open(tmp_path)
    assert "chmod" not in caught.value.hint


def test_faults_in_the_files_name_the_file(path: Path, opened: StateDir) -> None:
    config = (path / "config.toml").read_text()
    (path / "config.toml").write_text(config + "colour = 1\n")
    line = len(config.splitlines()) + 1
    with pytest.raises(ConfigError, match=f"{path / 'config.toml'}:{line}: colour: unknown key"):
        StateDir.open(path)
    (path / "config.toml").write_bytes(b"\xff")
    with pytest.raises(StateDirError, match=r"config\.toml: not UTF-8"):
        StateDir.open(path)
    (path / "config.toml").write_text(config)
    (path / "keys.json").write_text("{}")
    with pytest.raises(KeyFileError, match=str(path / "keys.json")):
        StateDir.open(path)


@pytest.mark.parametrize("name", ["config.toml", "policy.toml", "keys.json"])
def test_a_byte_order_mark_is_taken(path: Path, opened: StateDir, name: str) -> None:
    file = path / name
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    again = StateDir.open(path)
    assert again == opened
    policy.load(again.policy_path)


def test_the_repr_shows_no_key(opened: StateDir) -> None:
    text = (opened.path / "keys.json").read_text()
    keys = [opened.keys.at_rest, opened.keys.master[1], opened.keys.handle[1]]
    assert all(key.hex() in text for key in keys)
    assert not any(key.hex() in repr(opened) or repr(key) in repr(opened) for key in keys)


# -- rotating --


def test_rotating_adds_a_generation_and_keeps_the_others(path: Path, opened: StateDir) -> None:
    assert [opened.rotate(kind) for kind in ("master", "handle", "master")] == [2, 2, 3]
    now = StateDir.open(path).keys
    assert (now.current_epoch, now.current_hkid) == (3, 2)
    assert now.at_rest == opened.keys.at_rest
    assert now.master[1] == opened.keys.master[1]
    assert now.handle[1] == opened.keys.handle[1]
    assert len({*now.master.values(), *now.handle.values()}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_generation_after_255(path: Path, opened: StateDir, kind: KeyKind) -> None:
    for generation in range(2, 256):
        assert opened.rotate(kind) == generation
    before = (path / "keys.json").read_bytes()
    with pytest.raises(StateDirError, match=f"no {kind} key after generation 255"):
        opened.rotate(kind)
    assert (path / "keys.json").read_bytes() == before


def test_rotations_at_once_lose_none(path: Path, opened: StateDir) -> None:
    made: list[int] = []
    threads = [threading.Thread(target=lambda: made.append(StateDir.open(path).rotate("handle"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(2, 18))
    assert sorted(StateDir.open(path).keys.handle) == list(range(1, 18))


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_rotation_that_fails_leaves_the_keys_as_they_were(
    path: Path, opened: StateDir, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with monkeypatch.context() as broken:
        broken.setattr(failing, fail)
        with pytest.raises(StateDirError, match="No space left on device"):
            opened.rotate("master")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert StateDir.open(path) == opened


def test_new_keys_are_on_the_disk_before_they_take_the_place_of_the_old(
    path: Path, opened: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, then name, then directory: the order that a loss of power cannot spoil."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    opened.rotate("handle")
    assert steps == ["file", "replace", "directory"]


# -- one server at a time --


def test_a_second_server_is_told_of_the_first(path: Path, opened: StateDir) -> None:
    with opened.lock():
        with pytest.raises(StateDirError, match=rf"in use by another server \(process {os.getpid()}\)") as caught:
            StateDir.open(path).lock().__enter__()
        assert caught.value.hint == f"stop it with: kill {os.getpid()}"
        assert (path / "serve.lock").read_text() == f"{os.getpid()}\n"
        assert StateDir.open(path).rotate("master") == 2  # what a running server does not hinder
    assert (path / "serve.lock").read_text() == ""
    with opened.lock():
        pass


def test_a_lock_is_let_go_on_a_disk_that_has_failed(opened: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int, _size: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with opened.lock():
        monkeypatch.setattr(os, "ftruncate", fail)
    monkeypatch.undo()
    with opened.lock():
        pass


def test_the_holder_of_a_lock_is_who_the_kernel_says(path: Path, opened: StateDir) -> None:
    with (path / "serve.lock").open("w") as file:
        file.write("1\n")  # as a server in a container writes
        file.flush()
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(StateDirError, match=rf"\(process {os.getpid()}\)") as caught:
            opened.lock().__enter__()
    assert caught.value.hint == f"stop it with: kill {os.getpid()}"


LOCK = "1: FLOCK  ADVISORY  WRITE {} fe:00:{} 0 EOF\n"


@pytest.mark.parametrize(
    "locks",
    ["", LOCK.format(0, "{0}"), LOCK.format(12, "1{0}"), LOCK.format(12, "{0}").replace("FLOCK", "POSIX"), None],
)
def test_a_lock_of_another_container_has_no_process_to_kill(
    path: Path, opened: StateDir, locks: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_text = Path.read_text

    def read(self: Path, **options: Any) -> str:
        if str(self) != "/proc/locks":
            return read_text(self, **options)
        if locks is None:
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return locks.format((path / "serve.lock").stat().st_ino)

    with opened.lock():
        monkeypatch.setattr(Path, "read_text", read)
        with pytest.raises(StateDirError, match="in use by another server of another container or machine") as caught:
            opened.lock().__enter__()
    assert caught.value.hint == "stop the other server"


def test_whether_a_lock_is_held(path: Path, opened: StateDir) -> None:
    assert not locking.is_held(path / "serve.lock")
    with opened.lock():
        assert locking.is_held(path / "serve.lock")
    assert not locking.is_held(path / "serve.lock")


def test_a_server_starts_though_somebody_looks_whether_one_runs(path: Path, opened: StateDir) -> None:
    tries: list[int] = []
    flock = fcntl.flock

    def look(descriptor: int, operation: int) -> None:
        tries.append(operation)
        if len(tries) < 3:
            raise BlockingIOError
        flock(descriptor, operation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", look)
        with opened.lock():
            assert len(tries) == 3


def test_a_rotation_does_not_wait_for_ever(path: Path, opened: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "PATIENCE", 0.0)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with pytest.raises(StateDirError, match="another program holds a lock on it"):
            opened.rotate("master")
    finally:
        os.close(descriptor)


def test_a_killed_server_leaves_no_lock(path: Path, opened: StateDir) -> None:
    script = "import sys; from dpe_server.operation.state_dir import StateDir\n" \
        "with StateDir.open(sys.argv[1]).lock(): print('locked', flush=True); sys.stdin.read()"  # fmt: skip
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(StateDirError, match=rf"process {child.pid}\b"):
            opened.lock().__enter__()
        child.send_signal(signal.SIGKILL)
    assert (path / "serve.lock").read_text() == f"{child.pid}\n"
    with opened.lock():
        assert (path / "serve.lock").read_text() == f"{os.getpid()}\n"


def test_every_error_of_a_state_directory_is_the_users_to_mend() -> None:
    for kind in (StateDirError, PermissionsError, ConfigError, KeyFileError):
        assert issubclass(kind, LocalError)
