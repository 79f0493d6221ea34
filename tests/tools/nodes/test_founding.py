"""Several servers on one PostgreSQL database: how their state directories are made, and what they do together."""

import io
import shutil
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.operation import beats
from dpe_server.operation.config import changed
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import make_store
from dpe_server.store.postgresql import database
from dpe_tools.server_process import ServerProcess
from tests.postgresql import Cluster
from tests.tools.conftest import IMEI, Invoke


def archive(state: Path, *names: str) -> bytes:
    """What tar makes of some files of a state directory."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w|gz") as file:
        for name in names:
            file.add(state / name, f"./{name}")
    return made.getvalue()


COPIED = ("config.toml", "policy.toml", "keys.json", "beat.json")


def test_a_further_node_has_the_keys_and_a_name_of_its_own(first: Path, second: Path) -> None:
    one, other = StateDir.open(first), StateDir.open(second)
    assert (one.keys, one.config.realm, one.config.store) == (other.keys, other.config.realm, other.config.store)
    assert (one.config.node, other.config.node) == ("a", "b")
    assert [file.stat().st_mode & 0o777 for file in second.iterdir()] == [0o600] * 5
    assert not other.store_path.exists()
    for opened in (one, other):
        beats.verify(opened)


def test_a_further_node_is_made_from_an_archive(dpe: Invoke, first: Path, tmp_path: Path, url: str) -> None:
    dpe("init", tmp_path / "c", "--join", "-", "--node", "c", stdin=archive(first, *COPIED, "operators.jsonl"))
    assert StateDir.open(tmp_path / "c").keys == StateDir.open(first).keys
    dpe("init", tmp_path / "d", "--join", "-", "--store", f"{url}&application_name=d", stdin=archive(first, *COPIED))
    assert StateDir.open(tmp_path / "d").config.store == f"{url}&application_name=d"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "no whole tar archive"),
        (b"x" * 2000, "no whole tar archive"),
        (COPIED[:3], "there is no beat.json"),
        (COPIED[1:], "there is no config.toml"),
    ],
)
def test_what_is_no_such_archive_is_said(
    dpe: Invoke, first: Path, tmp_path: Path, given: bytes | tuple[str, ...], said: str
) -> None:
    data = given if isinstance(given, bytes) else archive(first, *given)
    result = dpe("init", tmp_path / "c", "--join", "-", stdin=data, status=1)
    assert said in result.stderr
    assert "hint:" in result.stderr
    assert not (tmp_path / "c").exists()


def test_a_name_is_given_once(dpe: Invoke, first: Path, second: Path, tmp_path: Path) -> None:
    result = dpe("init", tmp_path / "c", "--join", first, "--node", "b", status=1)
    assert "there is a node b already" in result.stderr
    assert "--node NAME" in result.stderr
    assert not (tmp_path / "c").exists()
    dpe("init", tmp_path / "c", "--join", first, "--node", "c")


def test_a_database_has_one_store(dpe: Invoke, first: Path, tmp_path: Path, url: str) -> None:
    result = dpe("init", tmp_path / "c", "--store", url, "--one-machine", status=1)
    assert "has the store of the realm r already" in result.stderr
    assert "dpe init STATE --join FROM" in result.stderr
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("command", ["serve", "sessions"])
def test_servers_of_another_realm_or_with_other_keys_are_refused(
    dpe: Invoke, first: Path, tmp_path: Path, command: str
) -> None:
    config = (first / "config.toml").read_text()
    (first / "config.toml").write_text(config.replace('realm = "r"', 'realm = "other"'))
    said = dpe(command, first, status=1).stderr
    assert "has the store of the realm r, and this server is of other" in said
    assert "hint: give the URL of this realm's database" in said
    (first / "config.toml").write_text(config)
    dpe("init", tmp_path / "z")
    shutil.copy(tmp_path / "z" / "keys.json", first)
    said = dpe(command, first, status=1).stderr
    assert "made with another at-rest key" in said
    assert "hint: all nodes have the same keys" in said


def test_what_does_not_go_together_is_wrong_usage(dpe: Invoke, first: Path, tmp_path: Path) -> None:
    c = tmp_path / "c"
    assert "are the other node's" in dpe("init", c, "--join", first, "--realm", "x", status=2).stderr
    assert "go with --store" in dpe("init", c, "--one-machine", status=2).stderr
    assert "go with --store" in dpe("init", c, "--node", "n", status=2).stderr
    said = dpe("init", c, "--store", "postgresql://dpe:secret@h/d", status=2).stderr
    assert "PGPASSFILE" in said
    assert "secret" not in said
    assert not c.exists()


def test_who_has_its_store_in_a_file_has_no_further_nodes(dpe: Invoke, tmp_path: Path) -> None:
    dpe("init", tmp_path / "a")
    (tmp_path / "a" / "beat.json").write_text("{}")
    (tmp_path / "a" / "beat.json").chmod(0o600)
    assert "dpe store copy" in dpe("init", tmp_path / "b", "--join", tmp_path / "a", status=1).stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_device_registers_at_one_node_and_is_seen_at_the_other(
    dpe: Invoke, first: Path, second: Path, tmp_path: Path, workers: int
) -> None:
    port = int(StateDir.open(second).config.uri.rpartition(":")[2])
    options = ("--workers", str(workers))
    with (
        ServerProcess(first, tmp_path / "a.log", options=options),
        ServerProcess(second, tmp_path / "b.log", port=port, options=options),
    ):
        dpe("provision", first, IMEI, "--file", tmp_path / "device.cbor")
        client_id = dpe("register", tmp_path / "device.cbor").stdout
        assert dpe("sessions", "list", first, "--count").stdout == "1\n"
        assert client_id
    for log in ("a.log", "b.log"):
        assert "postgresql" not in (tmp_path / log).read_text()


def test_what_no_standby_acknowledges_is_not_made(
    dpe: Invoke, tmp_path: Path, postgresql: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = ("init", tmp_path / "a", "--store", url, "--node", "a")
    said = dpe(*init, status=1).stderr
    assert "there is no synchronous standby (synchronous_standby_names is empty)" in said
    assert "dpe init --one-machine" in said
    with closing(postgresql.connection(url)) as owner:
        assert owner.execute("SELECT to_regclass('device')").fetchall() == [(None,)]
    monkeypatch.setattr(database, "READ_PATIENCE", 0.3)
    with postgresql.setting("synchronous_standby_names", "nobody"):
        said = dpe(*init, status=1).stderr
        assert "the database does not answer" in said
        assert "its synchronous standby" in said
    assert not (tmp_path / "a").exists()
    monkeypatch.undo()
    with postgresql.standby():
        dpe(*init)
        dpe("sessions", tmp_path / "a")


def test_without_psycopg_it_is_said_what_to_install(
    dpe: Invoke, first: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for command in (("init", tmp_path / "a2", "--store", url), ("serve", first), ("sessions", first)):
        said = dpe(*command, status=1).stderr
        assert said == (
            "dpe: error: what speaks with PostgreSQL is not installed\nhint: pip install 'dpe-coap[postgresql]'\n"
        )
    assert not (tmp_path / "a2").exists()


def test_an_empty_database_is_not_served(dpe: Invoke, first: Path, postgresql: Cluster) -> None:
    config, empty = first / "config.toml", postgresql.url()
    config.write_text(changed(config.read_text(), {"store": empty}))
    for command in ("serve", "sessions"):
        said = dpe(command, first, status=1).stderr
        assert "there is no store in the database yet" in said
        assert "dpe init STATE --store URL" in said
    with closing(postgresql.connection(empty)) as owner:
        assert owner.execute("SELECT to_regclass('device')").fetchall() == [(None,)]


def test_a_store_that_was_not_finished_is_not_served(dpe: Invoke, first: Path, postgresql: Cluster) -> None:
    url = postgresql.url()
    make_store(url, one_machine=True).close()
    (first / "config.toml").write_text(changed((first / "config.toml").read_text(), {"store": url}))
    assert "was not finished: it belongs to no realm yet" in dpe("serve", first, status=1).stderr
