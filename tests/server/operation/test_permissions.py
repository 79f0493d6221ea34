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
from dpe_server.operation.state_dir import StateDir, StateDirError

EDITED = ["config.toml", "policy.toml"]
SECRET = ["keys.json", "dpe.sqlite", "dpe.sqlite-wal", "dpe.sqlite-shm", "access.json"]
NO_SECRET = [*EDITED, "audit.jsonl", "serve.lock", "operators.jsonl", "beat.json", "metrics.json"]
ALL = [*SECRET, *NO_SECRET]
ME, SOMEBODY = os.geteuid(), 4_242_424
needs_root = pytest.mark.skipif(ME != 0, reason="only root may give files away")


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


def mend(error: PermissionsError) -> None:
    """Do what the hint says; behind ";" it has another way."""
    subprocess.run(error.hint.partition(";")[0].split(), check=True)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o4640])
@pytest.mark.parametrize("name", SECRET)
def test_a_secret_open_to_others(path: Path, name: str, mode: int) -> None:
    (path / name).chmod(mode)
    error = refused(path)
    assert str(error) == f"{path / name} is open to other users (mode {mode:04o})"
    mend(error)
    StateDir.open(path)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.parametrize("name", NO_SECRET)
def test_a_file_that_others_can_change(path: Path, name: str, mode: int) -> None:
    (path / name).chmod(mode)
    error = refused(path)
    assert str(error) == f"{path / name} can be changed by other users (mode {mode:04o})"
    mend(error)
    StateDir.open(path)


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o444])
@pytest.mark.parametrize("name", NO_SECRET)
def test_a_file_without_secrets_that_others_can_read(path: Path, name: str, mode: int) -> None:
    """As after logrotate's ``create 0640``."""
    (path / name).chmod(mode)
    StateDir.open(path)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o711, 0o720])
def test_a_directory_open_to_others(path: Path, mode: int) -> None:
    path.chmod(mode)
    error = refused(path)
    assert str(error) == f"{path} is open to other users (mode {mode:04o})"
    mend(error)
    StateDir.open(path)


# -- a group that the operator trusts --


def as_a_volume(path: Path, group: int) -> None:
    """Set the modes as Kubernetes does for fsGroup: the group may do what the owner may."""
    for place in (path, *path.iterdir()):
        os.chown(place, -1, group)
        place.chmod(0o2775 if place == path else place.stat().st_mode | 0o060)


@needs_root
def test_a_volume_of_a_group_is_refused_until_the_operator_trusts_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_a_volume(path, SOMEBODY)
    error = refused(path)
    assert str(error) == f"{path} is open to other users (mode 2775)"
    assert f"DPE_TRUSTED_GROUPS={SOMEBODY}" in error.hint, "a volume's mode cannot be changed"
    monkeypatch.setenv("DPE_TRUSTED_GROUPS", f"1, {SOMEBODY}")
    StateDir.open(path)
    (path / "keys.json").chmod(0o664)
    assert str(refused(path)) == f"{path / 'keys.json'} is open to other users (mode 0664)"
    (path / "keys.json").chmod(0o660)
    path.chmod(0o2777)
    assert str(refused(path)) == f"{path} can be changed by other users (mode 2777)"


@needs_root
def test_the_hint_for_a_group_can_be_followed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(path / "keys.json", -1, SOMEBODY)
    (path / "keys.json").chmod(0o660)
    hint = refused(path).hint
    assert "docs/how-to/containers.md" in hint
    (setting,) = (word for word in hint.split() if word.startswith("DPE_"))
    monkeypatch.setenv(*setting.split("="))
    StateDir.open(path)


@needs_root
def test_a_directory_made_in_a_volume_of_a_trusted_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, -1, SOMEBODY)
    tmp_path.chmod(0o2775)
    (tmp_path / "lost+found").mkdir(mode=0o700)
    with pytest.raises(PermissionsError, match="can be changed by a group of users"):
        StateDir.create(tmp_path / "state", "realm", "coap://127.0.0.1")
    monkeypatch.setenv("DPE_TRUSTED_GROUPS", str(SOMEBODY))
    StateDir.open(StateDir.create(tmp_path / "state", "realm", "coap://127.0.0.1").path)


def test_a_trusted_group_may_have_a_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = grp.getgrgid(os.getegid()).gr_name
    os.chown(path / "keys.json", -1, os.getegid())
    (path / "keys.json").chmod(0o640)
    refused(path)
    monkeypatch.setenv("DPE_TRUSTED_GROUPS", name)
    StateDir.open(path)
    monkeypatch.setenv("DPE_TRUSTED_GROUPS", "no such group")
    assert str(refused(path)) == "DPE_TRUSTED_GROUPS: there is no group 'no such group' here"


# -- links --


@pytest.mark.parametrize("name", [*SECRET, "audit.jsonl", "serve.lock", "operators.jsonl", "beat.json", "metrics.json"])
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


@pytest.fixture
def config_map(path: Path, tmp_path: Path) -> Path:
    """A folder like a mounted ConfigMap, which has config.toml and policy.toml behind two links each."""
    volume = tmp_path / "volume"
    data = volume / "..2026_01_01"
    data.mkdir(parents=True, mode=0o755)
    volume.chmod(0o755)
    (volume / "..data").symlink_to(data.name)
    for name in EDITED:
        (path / name).rename(data / name)
        (data / name).chmod(0o644)
        (volume / name).symlink_to(f"..data/{name}")
        (path / name).symlink_to(volume / name)
    return volume


def test_what_operators_write_may_be_links_to_a_config_map(path: Path, config_map: Path) -> None:
    assert StateDir.open(path).config.realm == "realm"


@pytest.mark.parametrize("where", [".", "..data/."])
def test_a_link_by_way_of_a_folder_that_others_can_change(
    path: Path, config_map: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = (config_map / where).resolve()
    folder.chmod(0o777)
    error = refused(path)
    what = f"{path / 'config.toml'}, a symbolic link"
    assert str(error) == f"{folder}, where {what} is, can be changed by every user (mode 0777)"
    # Nobody can write to a read-only file system, whatever its modes say.
    read_only = os.statvfs_result((0,) * 8 + (os.ST_RDONLY, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    StateDir.open(path)


def test_a_link_to_a_file_that_others_can_change(path: Path, config_map: Path) -> None:
    (config_map / "policy.toml").chmod(0o666)
    assert str(refused(path)) == f"{path / 'policy.toml'} can be changed by other users (mode 0666)"


def test_a_link_to_nothing(path: Path, config_map: Path) -> None:
    (config_map / "..data").unlink()
    assert str(refused(path)) == f"{path / 'config.toml'} is a symbolic link to nothing"


def test_a_link_that_leads_to_itself(path: Path) -> None:
    (path / "policy.toml").unlink()
    (path / "policy.toml").symlink_to(path / "policy.toml")
    with pytest.raises(StateDirError, match="Too many levels of symbolic links"):
        StateDir.open(path)


@pytest.mark.parametrize("name", ["keys.json", "serve.lock"])
def test_what_is_no_file(path: Path, name: str) -> None:
    (path / name).unlink()
    os.mkfifo(path / name, 0o600)
    assert str(refused(path)) == f"{path / name} is no regular file"


# -- owners --


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
    assert f"runAsUser: {SOMEBODY}" in error.hint


@needs_root
def test_another_owner_for_real(path: Path) -> None:
    os.chown(path / "keys.json", SOMEBODY, -1)
    assert "belongs to the user" in str(refused(path))


@needs_root
def test_what_operators_write_may_belong_to_root(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server of another user sees it."""
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    for place in (path, *(path / name for name in ALL if name not in EDITED)):
        os.chown(place, SOMEBODY, -1)
    StateDir.open(path)
    os.chown(path / "audit.jsonl", 0, -1)
    assert str(refused(path)) == f"{path / 'audit.jsonl'} belongs to the user root, and this runs as #{SOMEBODY}"


# -- the way to the directory --


@pytest.mark.parametrize(("mode", "who"), [(0o777, "every user"), (0o757, "every user"), (0o775, "a group of users")])
@pytest.mark.parametrize("by_link", [False, True])
@pytest.mark.parametrize("up", [1, 2])
def test_a_folder_above_it_that_others_may_change(
    path: Path, tmp_path: Path, mode: int, who: str, by_link: bool, up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permissions, "_is_own", lambda group: False)
    (tmp_path / "link").symlink_to(path)
    folder = path.parents[up - 1]
    folder.chmod(mode)
    error = refused(tmp_path / "link" if by_link else path)
    assert str(error) == f"{folder}, where the state directory is, can be changed by {who} (mode {mode:04o})"
    while "can be changed" in str(error):
        mend(error)
        try:
            StateDir.open(path)
        except PermissionsError as still:
            error = still
        else:
            break
    StateDir.open(path)


def test_a_link_that_others_can_exchange(path: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "link").symlink_to(path)
    assert str(tmp_path / "open") in str(refused(tmp_path / "open" / "link"))


@needs_root
@pytest.mark.parametrize("up", [1, 2])
def test_a_folder_above_it_of_another_user(path: Path, up: int) -> None:
    folder = path.parents[up - 1]
    os.chown(folder, SOMEBODY, -1)
    error = refused(path)
    assert str(error) == (f"{folder}, where the state directory is, belongs to the user #{SOMEBODY}, who can change it")


@needs_root
def test_a_folder_of_another_user_in_one_like_tmp(path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    os.chown(path.parent, SOMEBODY, -1)
    assert f"{path.parent}, where the state directory is, belongs to the user #{SOMEBODY}" in str(refused(path))


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
