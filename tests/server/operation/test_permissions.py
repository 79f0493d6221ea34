"""A state directory is its owner's alone: each way in which it is not is refused, with what mends it."""

import grp
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dpe_server.operation import permissions
from dpe_server.operation.permissions import PermissionsError
from dpe_server.operation.state_dir import StateDir

FILES = ["config.toml", "policy.toml", "keys.json", "dpe.sqlite"]
ALL = [*FILES, "dpe.sqlite-wal", "dpe.sqlite-shm", "audit.jsonl", "serve.lock"]
ME, SOMEBODY = os.geteuid(), 4_242_424


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state directory in use, in a folder of its own."""
    path = tmp_path / "folder" / "state"
    path.parent.mkdir(mode=0o755)
    StateDir.create(path, "realm", "coap://127.0.0.1:5683")
    for name in ALL:
        (path / name).touch(mode=0o600)
    StateDir.open(path)
    return path


def refused(path: Path) -> PermissionsError:
    with pytest.raises(PermissionsError) as caught:
        StateDir.open(path)
    return caught.value


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o4640])
@pytest.mark.parametrize("name", ALL)
def test_a_file_open_to_others(path: Path, name: str, mode: int) -> None:
    (path / name).chmod(mode)
    error = refused(path)
    assert str(error) == f"{path / name} is open to other users (mode {mode:04o})"
    subprocess.run(error.hint.split(), check=True)  # the hint is the command that mends it
    StateDir.open(path)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o711, 0o720])
def test_a_directory_open_to_others(path: Path, mode: int) -> None:
    path.chmod(mode)
    error = refused(path)
    assert str(error) == f"{path} is open to other users (mode {mode:04o})"
    subprocess.run(error.hint.split(), check=True)
    StateDir.open(path)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("target", ["a file", "nothing"])
def test_a_symbolic_link(path: Path, tmp_path: Path, name: str, target: str) -> None:
    elsewhere = tmp_path / name
    (path / name).rename(elsewhere)
    (path / name).symlink_to(elsewhere)
    if target == "nothing":
        elsewhere.unlink()
    error = refused(path)
    assert str(error) == f"{path / name} is a symbolic link"
    assert error.hint == "put the file itself there"


@pytest.mark.parametrize("name", ["keys.json", "serve.lock"])
def test_what_is_no_file(path: Path, name: str) -> None:
    (path / name).unlink()
    os.mkfifo(path / name, 0o600)
    assert str(refused(path)) == f"{path / name} is no regular file"


@pytest.mark.parametrize("which", [".", *ALL])
def test_another_owner(path: Path, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to the process, as giving files away takes a privilege."""
    place = path if which == "." else path / which
    look = Path.stat if which == "." else Path.lstat

    def owned_by_another(self: Path, **options: Any) -> os.stat_result:
        found = look(self, **options)
        if self != place:
            return found
        values = list(found)
        values[4] = SOMEBODY
        return os.stat_result(values)

    monkeypatch.setattr(Path, look.__name__, owned_by_another)
    error = refused(path)
    assert str(error) == f"{place} belongs to the user #{SOMEBODY}, and this runs as {pwd.getpwuid(ME).pw_name}"
    assert f"sudo -u #{SOMEBODY}" in error.hint


@pytest.mark.skipif(ME != 0, reason="only root may give files away; another user's are told to the process above")
def test_another_owner_for_real(path: Path) -> None:
    os.chown(path / "keys.json", SOMEBODY, -1)
    assert "belongs to the user" in str(refused(path))


@pytest.mark.parametrize(("mode", "who"), [(0o777, "every user"), (0o757, "every user"), (0o775, "a group of users")])
@pytest.mark.parametrize("by_link", [False, True])
def test_a_parent_that_others_may_change(
    path: Path, tmp_path: Path, mode: int, who: str, by_link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permissions, "_is_own", lambda group: False)
    (tmp_path / "link").symlink_to(path)
    path.parent.chmod(mode)
    shown = path.parent.resolve()
    error = refused(tmp_path / "link" if by_link else path)
    assert str(error) == f"{shown}, where the state directory is, can be changed by {who} (mode {mode:04o})"
    while "can be changed" in str(error):
        subprocess.run(error.hint.split(), check=True)
        try:
            StateDir.open(path)
        except PermissionsError as still:
            error = still
        else:
            break
    StateDir.open(path)


def test_a_parent_like_tmp(path: Path) -> None:
    path.parent.chmod(0o1777)
    StateDir.open(path)


def test_none_is_made_where_others_could_exchange_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionsError, match="can be changed by every user"):
        StateDir.create(tmp_path / "state", "realm", "coap://127.0.0.1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "members", "own"),
    [("me", [], True), ("me", ["me"], True), ("me", ["me", "other"], False), ("users", [], False), (None, [], False)],
)
def test_a_group_of_the_user_alone(
    path: Path, name: str | None, members: list[str], own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def group(number: int) -> grp.struct_group:
        if name is None:
            raise KeyError(number)
        return grp.struct_group((name, "x", number, members))

    monkeypatch.setattr("grp.getgrgid", group)
    monkeypatch.setattr("pwd.getpwuid", lambda number: pwd.struct_passwd(("me", "x", number, 0, "", "", "")))
    path.parent.chmod(0o775)
    if own:
        StateDir.open(path)
    else:
        assert "a group of users" in str(refused(path))
