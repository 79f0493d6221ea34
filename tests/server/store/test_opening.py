"""A store is named by its URL."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from dpe_server.store.contract import Examination, Session, StoreError
from dpe_server.store.opening import examine, file_names, make_store, open_store
from dpe_server.store.sqlite import schema

Make = Callable[..., Session]
NEWEST = len(schema.STEPS)
OPENERS = pytest.mark.parametrize("opener", [open_store, make_store, examine])


@pytest.mark.parametrize("name", ["dpe.sqlite", "with space", "50%25?mode=ro#part", "sqlite:again"])
def test_a_path_is_taken_as_it_is(tmp_path: Path, make: Make, name: str) -> None:
    url = f"sqlite:{tmp_path / name}"
    session = make()
    with closing(make_store(url)) as store:
        store.commit([session])
    assert [file.name for file in tmp_path.iterdir()] == [name]
    with closing(open_store(url)) as store:
        assert list(store.live(0)) == [session]
    assert examine(url) == examine(url, thorough=True) == Examination(NEWEST, NEWEST, [])


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_store("sqlite:here").close()
    assert (tmp_path / "here").is_file()
    assert examine("sqlite:here").faults == []


@OPENERS
@pytest.mark.parametrize("url", ["mysql://user:secret@host/dpe", "/srv/dpe.sqlite", "", "SQLITE:x"])
def test_another_kind_of_store_is_refused_without_what_may_be_secret(opener: Callable[[str], object], url: str) -> None:
    with pytest.raises(LocalError, match="there is no such kind of store") as caught:
        opener(url)
    assert caught.value.hint == "give its URL: sqlite:PATH, or postgresql://USER@HOST/DATABASE"
    assert "secret" not in f"{caught.value!r}{caught.value}"


@OPENERS
def test_a_url_without_a_path_is_refused(opener: Callable[[str], object]) -> None:
    with pytest.raises(LocalError, match="the store's URL has no path") as caught:
        opener("sqlite:")
    assert caught.value.hint == "give its URL: sqlite:PATH"


def test_an_older_or_newer_store_is_examined_and_left_alone(path: Path) -> None:
    newer = (*schema.STEPS, ("CREATE TABLE later (one INTEGER PRIMARY KEY) STRICT",))
    for steps in (schema.STEPS[:1], newer):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            schema.migrate(connection, steps)
        before = path.read_bytes()
        assert examine(f"sqlite:{path}") == Examination(schema=len(steps), newest=NEWEST, faults=[])
        assert path.read_bytes() == before


def test_who_only_uses_a_store_neither_makes_nor_migrates_it(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such file"):
        open_store(f"sqlite:{path}")
    assert not path.exists()
    for older in range(1, NEWEST):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            schema.migrate(connection, schema.STEPS[:older])
        before = path.read_bytes()
        with pytest.raises(StoreError, match=f"schema version {older}, and this program works with {NEWEST}") as caught:
            open_store(f"sqlite:{path}")
        assert "start this version's server once" in caught.value.hint
        assert path.read_bytes() == before
    make_store(f"sqlite:{path}").close()
    open_store(f"sqlite:{path}").close()


def test_the_files_of_a_store_are_those_that_it_makes(path: Path, make: Make) -> None:
    with closing(make_store(f"sqlite:{path}")) as store:
        store.commit([make()])
        assert {file.name for file in path.parent.iterdir()} == set(file_names(path.name))
    assert file_names(path.name)[0] == path.name


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"no database" * 99)])
def test_what_cannot_be_read_is_said_and_not_made(path: Path, harm: Callable[[Path], object]) -> None:
    make_store(f"sqlite:{path}").close()
    harm(path)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(StoreError) as caught:
        examine(f"sqlite:{path}")
    assert caught.value.hint == "put a backup back: dpe restore STATE FILE"
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
