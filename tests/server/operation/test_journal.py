"""The operators' journal: what they do is on the disk before the database changes, and can be repeated."""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.operation import journal
from dpe_server.operation.journal import JournalError, begin, enact, read
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import (
    OPERATOR_PATIENCE,
    End,
    Forget,
    Measure,
    Outcome,
    OverridePolicies,
    RestrictEpoch,
    Revoke,
    SetMinimumEpoch,
    Store,
    StoreError,
    Unrevoke,
)
from dpe_tools.simulation.memory_store import Disk, MemoryStore

ONE, TWO = b"1" * 16, b"2" * 16
EVERY: list[Measure] = [
    Revoke(ONE, 5),
    Unrevoke(ONE),
    End(ONE, 6),
    Forget(TWO, -7),
    RestrictEpoch(TWO, 255),
    SetMinimumEpoch(0),
    OverridePolicies(ONE, b"\xa0"),
    OverridePolicies(ONE, None),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    begin(tmp_path / journal.NAME)
    return tmp_path / journal.NAME


@pytest.fixture
def store() -> Store:
    return MemoryStore(Disk())


class Broken(MemoryStore):
    """Fails at each commit, and keeps what the journal had in it by then."""

    def __init__(self, path: Path) -> None:
        super().__init__(Disk())
        self.seen: list[Measure] = []
        self._path = path

    def commit(self, changes: Sequence[object], *, patience: float = 0.0) -> list[Outcome]:
        self.seen = list(read([self._path]))
        assert patience == OPERATOR_PATIENCE
        raise StoreError("made to fail")


def test_every_act_comes_back_as_it_was(path: Path, store: Store) -> None:
    assert len(enact(path, store, EVERY[:4])) == 4
    assert enact(path, store, EVERY[4:]) == [Outcome.COMMITTED] * 4
    assert enact(path, store, []) == []
    assert list(read([path])) == EVERY
    assert list(store.measures()) == [RestrictEpoch(TWO, 255)]
    kinds = {type(measure) for measure in EVERY}
    assert kinds == set(Measure.__args__), "every kind is tried"


def test_an_act_is_in_the_journal_before_the_database(path: Path) -> None:
    broken = Broken(path)
    with pytest.raises(StoreError, match="made to fail"):
        enact(path, broken, EVERY)
    assert broken.seen == EVERY


def test_a_journal_is_for_its_owner_and_names_no_device_but_by_its_hash(path: Path, store: Store) -> None:
    enact(path, store, [Revoke(ONE, 5)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (line,) = path.read_text().splitlines()
    told = json.loads(line)
    assert told.pop("at") > 1_700_000_000
    assert told == {"act": "revoke", "device": ONE.hex(), "since": 5}


def test_it_is_on_the_disk(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.pread(descriptor, 1000, 0)))
    enact(path, store, [Revoke(ONE, 5)])
    assert synced == [path.read_bytes()]


def test_without_a_journal_nothing_is_done(tmp_path: Path, store: Store) -> None:
    with pytest.raises(JournalError, match=r"operators\.jsonl is missing") as caught:
        enact(tmp_path / journal.NAME, store, EVERY)
    assert "dpe recover STATE --new-journal" in caught.value.hint
    assert list(store.measures()) == []
    with pytest.raises(JournalError, match="is missing"):
        list(read([tmp_path / journal.NAME]))


def test_a_journal_is_never_made_over_another(path: Path, store: Store) -> None:
    enact(path, store, EVERY)
    before = path.read_bytes()
    with pytest.raises(JournalError, match="is there already"):
        begin(path, [Revoke(TWO, 1)])
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [journal.NAME]


def test_a_new_journal_may_begin_with_what_holds_already(tmp_path: Path) -> None:
    begin(tmp_path / "new", iter(EVERY))
    assert list(read([tmp_path / "new"])) == EVERY


@pytest.mark.parametrize("half", [b'{"at": 1, "act"', b"\0\0\0", b"x" * 10_000])
def test_half_a_line_of_a_power_cut_is_no_act_and_is_overwritten(path: Path, store: Store, half: bytes) -> None:
    enact(path, store, EVERY[:1])
    with path.open("ab") as file:
        file.write(half)
    assert list(read([path])) == EVERY[:1]
    enact(path, store, EVERY[1:2])
    assert list(read([path])) == EVERY[:2]


def test_an_act_that_cannot_be_written_is_not_done_and_leaves_nothing(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    enact(path, store, EVERY[:1])
    before = path.read_bytes()
    write = os.pwrite
    sizes: list[int] = []

    def full(descriptor: int, data: bytes, offset: int) -> int:
        sizes.append(len(data))
        if len(sizes) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:150], offset)  # a whole line and a half

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(JournalError, match="No space left") as caught:
        enact(path, store, [Unrevoke(ONE), Revoke(TWO, 1)])
    assert caught.value.hint
    assert path.read_bytes() == before
    assert list(store.measures()) == [Revoke(ONE, 5)]


def test_another_command_is_waited_for(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(journal, "PATIENCE", 0.0)
        with pytest.raises(JournalError, match="another program holds a lock"):
            enact(path, store, EVERY)
        monkeypatch.setattr(journal, "PATIENCE", 5.0)
        monkeypatch.setattr("dpe_server.operation.locking.time.sleep", lambda _: fcntl.flock(other, fcntl.LOCK_UN))
        enact(path, store, EVERY)
    assert list(read([path])) == EVERY


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        "[]",
        "{}",
        '{"at": 1, "act": "fly"}',
        '{"at": 1, "act": "revoke", "device": "00", "since": 1}',
        '{"at": 1, "act": "revoke", "device": "zz", "since": 1}',
        f'{{"at": 1, "act": "revoke", "device": "{"00" * 16}"}}',
        f'{{"at": 1, "act": "revoke", "device": "{"00" * 16}", "since": "x"}}',
        f'{{"at": 1, "act": "unrevoke", "device": "{"00" * 16}", "since": 1}}',
        f'{{"at": 1, "act": "unrevoke", "device": {16}}}',
        '{"at": 1.5, "act": "minimum-epoch", "minimum_epoch": 1}',
        '{"at": 1, "act": "minimum-epoch", "minimum_epoch": 256}',
        '{"at": 1, "act": "minimum-epoch", "minimum_epoch": true}',
        "\xe9",
    ],
)
def test_what_is_no_line_of_a_journal_is_an_error_that_names_it(path: Path, store: Store, line: str) -> None:
    enact(path, store, EVERY[:2])
    with path.open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(JournalError, match=r"operators\.jsonl(:3: not a line of a journal|: not UTF-8)"):
        list(read([path]))


def test_several_journals_are_read_as_one_in_the_order_of_their_times(tmp_path: Path) -> None:
    def write(name: str, *acts: tuple[int, Measure]) -> Path:
        (tmp_path / name).write_text("".join(journal._text(measure, at) for at, measure in acts))
        return tmp_path / name

    one = write("one", (10, EVERY[0]), (30, EVERY[2]), (20, EVERY[3]))  # its clock was set back: the lines count
    two = write("two", (15, EVERY[1]), (40, EVERY[4]))
    assert list(read([one, two])) == [EVERY[0], EVERY[1], EVERY[2], EVERY[3], EVERY[4]]


@pytest.fixture
def opened(tmp_path: Path) -> StateDir:
    return StateDir.create(tmp_path / "state", "r", "coap://h")


def test_a_new_state_directory_has_an_empty_journal(opened: StateDir) -> None:
    assert list(read([opened.journal_path])) == []
    with closing(MemoryStore(Disk())) as store:
        enact(opened.journal_path, store, EVERY)
    assert StateDir.open(opened.path) == opened


@pytest.mark.parametrize("mode", [0o622, 0o602])
def test_a_journal_that_others_can_write_is_refused(opened: StateDir, mode: int) -> None:
    opened.journal_path.chmod(mode)
    with pytest.raises(Exception, match=r"operators\.jsonl"):
        StateDir.open(opened.path)
