"""The file store on the machine's own file system."""

import stat
from pathlib import Path

import pytest

from dpe_device.store import FileStore


def test_two_files_that_nobody_else_can_read(tmp_path: Path) -> None:
    path = tmp_path / "state"
    records = [b"one", b"two", b"three"]
    for record in records:
        FileStore(str(path)).save(record)
        assert FileStore(str(path)).load() == record
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["state", "state.2"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    path.unlink()  # it held the third record
    assert FileStore(str(path)).load() is None, "an older record never comes back"


def test_a_name_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FileStore("state").save(b"one")
    assert FileStore("state").load() == b"one"


def test_no_folder(tmp_path: Path) -> None:
    keeper = FileStore(str(tmp_path / "none" / "state"))
    assert keeper.load() is None
    with pytest.raises(OSError, match="none"):
        keeper.save(b"one")
