"""`dpe backup`, `restore`, `recover` and `device forget`, as an operator types them."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.operation.state_dir import StateDir
from dpe_server.store.sqlite import schema
from dpe_tools.server_process import ServerProcess
from tests.tools.conftest import IMEI, IMEIS, Invoke

DONE = """\
  {} ended: the devices register again
  {} revoked again, {} lifted again
  {} set again
next: dpe serve {}
"""


@pytest.fixture
def credentials(dpe: Invoke, state: Path, tmp_path: Path) -> list[Path]:
    """Credentials of the devices ``IMEIS``, in this order."""
    made: list[Path] = []
    for number, imei in enumerate(IMEIS):
        dpe("provision", state, imei, "--out", tmp_path / str(number))
        made += (tmp_path / str(number)).glob("*.cbor")
    return made


def running(state: Path, log: Path) -> ServerProcess:
    return ServerProcess(state, log, port=int(StateDir.open(state).config.uri.rpartition(":")[2]))


def audited(state: Path, event: str) -> list[dict[str, object]]:
    lines = (state / "audit.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [{k: v for k, v in one.items() if k != "time"} for one in found if one["event"] == event]


def test_a_backup_is_put_back_and_the_revoked_stay_revoked(
    dpe: Invoke, state: Path, credentials: list[Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    with running(state, tmp_path / "log"):
        dpe("register", credentials[0])
        dpe("register", credentials[1])
        said = dpe("backup", state, copy).output
        assert said.startswith(f"{copy}: a sound copy of the database, 0.")
        assert said.endswith(f"put it back with: dpe restore {state} {copy}\n")
        dpe("register", credentials[2])
        dpe("revoke", state, IMEI)
        dpe("keys", "minimum-epoch", state, 1)
        assert "in use by another server" in dpe("restore", state, copy, status=1).output
    said = dpe("restore", state, copy).output
    first, _, rest = said.partition("\n")
    assert first.startswith(f"restored: {copy}, a backup of 20")
    assert rest == DONE.format("2 sessions", "1 device", "0 revocations", "1 minimum epoch", state)
    assert audited(state, "database-restored") == [
        {"event": "database-restored", "sessions": 2, "revoked": 1, "lifted": 0, "epochs": 1}
    ]
    with running(state, tmp_path / "log"):
        dpe("register", credentials[0], "--timeout", 2, status=4)
        dpe("register", credentials[1])
        dpe("register", credentials[2])
        assert len(json.loads(dpe("sessions", state, "--json").output)) == 2


def test_a_database_that_was_put_back_by_hand_is_refused_and_recovered(
    dpe: Invoke, state: Path, credentials: list[Path], tmp_path: Path
) -> None:
    """Back up a running server, register, revoke, stop, put the file back: refused; recovered: still revoked."""
    with running(state, tmp_path / "log"):
        dpe("register", credentials[0])
        dpe("backup", state, tmp_path / "copy")
        dpe("register", credentials[1])
        dpe("revoke", state, IMEI)
    shutil.copy(tmp_path / "copy", state / "dpe.sqlite")
    for arguments in (
        ["serve", state],
        ["sessions", state],
        ["revoke", state, IMEI],
        ["device", "show", state, "0" * 14],
    ):
        said = dpe(*arguments, status=1).output
        assert "it is a copy that dpe backup made" in said
        assert "dpe recover STATE" in said
    assert dpe("recover", state).output == "recovered:\n" + DONE.format(
        "1 session", "1 device", "0 revocations", "0 minimum epochs", state
    )
    with running(state, tmp_path / "log"):
        dpe("register", credentials[0], "--timeout", 2, status=4)
        dpe("register", credentials[1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backup", "STATE", "STATE/keys.json"], "is there already"),
        (["backup", "nowhere", "FILE"], "no such directory"),
        (["restore", "STATE", "nothing"], "nothing: there is no such file"),
        (["restore", "STATE", "STATE/policy.toml"], "file is not a database"),
        (["restore", "STATE", "STATE/dpe.sqlite", "--journal", "nothing"], "nothing is missing"),
        (["restore", "STATE", "STATE/dpe.sqlite", "--new-journal"], "operators.jsonl is there already"),
        (["recover", "STATE", "--journal", "STATE/policy.toml"], "policy.toml:1: not a line of a journal"),
        (["recover", "STATE", "--keep-sessions"], "there is nothing to recover"),
        (["recover", "nowhere"], "no such directory"),
    ],
)
def test_what_cannot_be_done_is_said_in_two_lines_and_changes_nothing(
    dpe: Invoke, state: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(state.parent)
    before = {file.name: file.read_bytes() for file in state.iterdir()}
    result = dpe(*(argument.replace("STATE", "state") for argument in arguments), status=1)
    error, hint = result.output.splitlines()
    assert error.startswith("dpe: error: ")
    assert said in error
    assert hint.startswith("hint: ")
    after = {file.name: file.read_bytes() for file in state.iterdir() if not file.name.startswith("dpe.sqlite-")}
    assert after == {**before, "serve.lock": b""} or after == before


def test_keep_sessions_goes_alone(dpe: Invoke, state: Path) -> None:
    assert "goes alone" in dpe("recover", state, "--keep-sessions", "--new-journal", status=2).output


def test_a_backup_of_an_older_schema_is_possible_and_only_the_server_migrates(
    dpe: Invoke, root: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    shutil.copytree(root / "tests" / "fixtures" / "schema-2" / "state", state)
    state.chmod(0o700)
    for file in state.iterdir():
        file.chmod(0o600)
    before = (state / "dpe.sqlite").read_bytes()
    newest = len(schema.STEPS)
    for arguments in (
        ["sessions", state],
        ["revoke", state, IMEI],
        ["keys", "list", state],
        ["device", "show", state, "0" * 14],
    ):
        said = dpe(*arguments, status=1).output
        assert f"schema version 2, and this program works with {newest}" in said
        assert "hint: make a backup with dpe backup, then start this version's server once" in said
    dpe("backup", state, tmp_path / "copy")
    assert (state / "dpe.sqlite").read_bytes() == before
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert schema.version_of(copy) == 2
    said = dpe("restore", state, tmp_path / "copy", "--new-journal").output
    assert DONE.format("2 sessions", "0 devices", "0 revocations", "0 minimum epochs", state) in said
    with closing(sqlite3.connect(state / "dpe.sqlite")) as database:
        assert schema.version_of(database) == newest


def test_a_device_is_forgotten_with_its_session_its_imei_and_its_keys(
    dpe: Invoke, state: Path, credentials: list[Path], tmp_path: Path
) -> None:
    with running(state, tmp_path / "log"):
        dpe("register", credentials[0])
        dpe("register", credentials[1])
        (session, _) = json.loads(dpe("sessions", state, "--json").output)
        client_id = session["client_id"]
        imei = json.loads(dpe("device", "show", state, client_id, "--json").output)["imei"]
        assert dpe("device", "forget", state, client_id).output == "forgotten: its session has ended\n"
        assert (
            f"no session holds the Client ID {client_id}" in dpe("device", "forget", state, client_id, status=1).output
        )
        assert len(json.loads(dpe("sessions", state, "--json").output)) == 1
        assert dpe("device", "forget", state, "--imei-stdin", stdin=imei).output == "forgotten: it had no session\n"
        dpe("revoke", state, "--stdin", stdin=imei)
        again = dpe("device", "forget", state, "--imei-stdin", stdin=imei).output
        assert again == "forgotten: it had no session; its revocation stays\n"
        shown = dpe("device", "show", state, "--imei-stdin", stdin=imei).output
        assert "revoked" in shown
    (name,) = {line["device"] for line in audited(state, "device-forgotten")}
    assert len(str(name)) == 16
    lines = [json.loads(line) for line in (state / "operators.jsonl").read_text().splitlines()]
    assert [line["act"] for line in lines] == ["forget", "forget", "revoke", "forget"]
    with closing(sqlite3.connect(state / "dpe.sqlite")) as database:
        rows = database.execute(
            "SELECT sealed_imei, sealed_keys, client_id FROM session WHERE ended_at NOT NULL"
        ).fetchall()
    assert rows == [(None, None, None)]
    unknown = dpe("device", "forget", state, "--imei-stdin", stdin=IMEIS[2]).output
    assert unknown == "nothing was known of this device\n"


@pytest.mark.parametrize("retention", [0, 3600, 10**6])
def test_the_trace_of_a_forgotten_device_goes_after_an_hour_whatever_the_retention(
    dpe: Invoke, state: Path, credentials: list[Path], tmp_path: Path, retention: int
) -> None:
    config = state / "config.toml"
    config.write_text(config.read_text().replace("retention = 3600", f"retention = {retention}"))
    with running(state, tmp_path / "log"):
        dpe("register", credentials[0])
        (session,) = json.loads(dpe("sessions", state, "--json").output)
        dpe("device", "forget", state, session["client_id"])
    (line,) = (state / "operators.jsonl").read_text().splitlines()
    act = json.loads(line)
    assert act["since"] - (act["at"] + 3600 - max(retention, 3600)) in (0, -1)


def test_a_device_is_named_once(dpe: Invoke, state: Path) -> None:
    dpe("device", "forget", state, status=2)
    dpe("device", "forget", state, "0" * 14, "--imei-stdin", status=2)
    dpe("device", "forget", state, "xyz", status=2)
