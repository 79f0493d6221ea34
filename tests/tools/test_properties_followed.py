"""`dpe properties`: all that devices have reported, what changes, and cursors that are good or are refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import cbor2
import pytest

from dpe_coap.client_ids import client_id_text
from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import following
from dpe_server.store.changes import Changes
from dpe_server.store.contract import Contact, End, Session, Store
from dpe_server.store.opening import open_store
from tests.tools.conftest import IMEIS, Invoke, Running
from tests.tools.test_sessions_wanted import OWN, session

LATE = 2**40


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    with closing(open_store(StateDir.open(state).store_url)) as opened:
        yield opened


@pytest.fixture
def devices(state: Path, store: Store) -> list[Session]:
    """Three sessions, of which the first two have reported."""
    at_rest = StateDir.open(state).at_rest
    named = [(imei, at_rest.device_id(imei)) for imei in map(Imei.parse, IMEIS)]
    made = [
        session(number, device=device, sealed_imei=at_rest.seal_imei(imei, device))
        for number, (imei, device) in enumerate(named)
    ]
    store.commit(made)
    report(store, made[0], 1, battery=86, firmware="4.2")
    report(store, made[1], 1, battery=20)
    return made


WIRE = {"battery": 0, "firmware": 1, "temperature": 24}


def report(store: Store, of: Session, number: int, **values: Any) -> None:
    items = {cbor2.dumps(WIRE[name]): cbor2.dumps(value) for name, value in values.items()}
    store.commit([Contact(of.client_id, of.ordinal, number, os.urandom(16), items, None)])


def told(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def values(one: dict[str, Any]) -> dict[str, Any]:
    return {name: entry["value"] for name, entry in one["properties"].items()}


def name(of: Session) -> str:
    return client_id_text(of.client_id)


def test_everything_and_where_to_go_on(dpe: Invoke, state: Path, store: Store, devices: list[Session]) -> None:
    first, *rest, last = told(dpe("properties", state, "--json").stdout)
    assert first == {"snapshot": "begin"}
    assert {one["client_id"]: values(one) for one in rest} == {
        name(devices[0]): {"battery": 86, "firmware": "4.2"},
        name(devices[1]): {"battery": 20},
    }
    assert all("cursor" not in one for one in rest)
    assert abs(rest[0]["properties"]["battery"]["time"] - time.time()) < 3600
    assert last == {"snapshot": "end", "cursor": f"{store.standing().history.hex()}-2"}
    assert dpe("properties", state, "--json", "--since", last["cursor"]).stdout == ""


def test_what_has_changed_since(dpe: Invoke, state: Path, store: Store, devices: list[Session]) -> None:
    cursor = told(dpe("properties", state, "--json").stdout)[-1]["cursor"]
    report(store, devices[2], 1, battery=5)
    report(store, devices[0], 2, battery=85)
    store.commit([End(devices[1].device, 1)])
    report(store, devices[0], 3, firmware=None)
    lines = told(dpe("properties", state, "--json", "--since", cursor).stdout)
    history = cursor.split("-")[0]
    assert [(one.get("client_id"), one["cursor"]) for one in lines] == [
        (name(devices[2]), f"{history}-3"),
        (name(devices[1]), f"{history}-5"),
        (name(devices[0]), f"{history}-6"),
    ]
    assert values(lines[0]) == {"battery": 5}
    assert lines[1]["ended"] is True
    assert "properties" not in lines[1]
    assert values(lines[2]) == {"battery": 85}, "of two changes the last; what was taken away is not there any more"
    assert told(dpe("properties", state, "--json", "--since", f"{history}-5").stdout) == lines[2:]


def test_a_cursor_comes_only_after_all_of_a_commit(dpe: Invoke, state: Path, store: Store) -> None:
    made = [session(number) for number in range(3)]
    store.commit(made)
    store.commit(
        [Contact(one.client_id, one.ordinal, 1, os.urandom(16), {b"\x00": b"\x05"}, None) for one in made[:2]]
        + [End(made[2].device, 1)]
    )
    start = f"{store.standing().history.hex()}-0"
    lines = told(dpe("properties", state, "--json", "--since", start).stdout)
    assert [one["cursor"] for one in lines] == [start, start, start[:-1] + "1"]
    assert [one["client_id"] for one in lines] == [name(made[2]), name(made[0]), name(made[1])]


def test_lines_for_a_person(dpe: Invoke, state: Path, store: Store, devices: list[Session]) -> None:
    with (state / "policy.toml").open("a", encoding="utf-8") as policy:
        policy.write(OWN)
    *lines, last = dpe("properties", state).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        f"{name(devices[0])}  battery 86 %, firmware 4.2",
        f"{name(devices[1])}  battery 20 %",
    ]
    cursor = last.removeprefix("cursor ")
    report(store, devices[1], 2, battery=None)
    report(store, devices[2], 1, temperature=21.5)
    store.commit([End(devices[0].device, 1)])
    *lines, last = dpe("properties", state, "--since", cursor).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        f"{name(devices[1])}  nothing any more",
        f"{name(devices[2])}  temperature 21.5 °C",
        f"{name(devices[0])}  ended",
    ]
    assert last == f"cursor {cursor.split('-')[0]}-5"
    assert dpe("properties", state, "--since", last.split()[1]).stdout == f"{last}\n"


def test_many_changes_are_read_a_part_at_a_time(
    dpe: Invoke, state: Path, store: Store, devices: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2, 12):
        report(store, devices[0], number, battery=number)
    monkeypatch.setattr(following, "AT_ONCE", 3)
    start = f"{store.standing().history.hex()}-0"
    lines = told(dpe("properties", state, "--json", "--since", start).stdout)
    assert [one["cursor"] for one in lines] == [f"{start[:-2]}-{number}" for number in (2, 3, 6, 9, 12)]
    assert values(lines[-1]) == {"battery": 11, "firmware": "4.2"}


def test_where_to_go_on_is_told_also_where_nothing_else_is(
    dpe: Invoke, state: Path, store: Store, devices: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = told(dpe("properties", state, "--json").stdout)[-1]["cursor"]
    report(store, devices[2], 1, battery=5)
    store.commit([End(devices[2].device, 1)])
    monkeypatch.setattr(following, "AT_ONCE", 1)
    gone, ended = told(dpe("properties", state, "--json", "--since", cursor).stdout)
    assert gone == {"cursor": f"{cursor[:-2]}-3"}
    assert (ended["ended"], ended["cursor"]) == (True, f"{cursor[:-2]}-4")


def refused(dpe: Invoke, state: Path, cursor: str) -> str:
    result = dpe("properties", state, "--since", cursor, status=1)
    assert result.stdout == ""
    assert "hint: begin anew, without --since: what there is is told as a whole" in result.stderr
    return result.stderr.splitlines()[0]


def test_a_cursor_that_is_too_old_is_refused(dpe: Invoke, state: Path, store: Store, devices: list[Session]) -> None:
    report(store, devices[2], 1, battery=5)
    cursor = f"{store.standing().history.hex()}-1"
    dpe("properties", state, "--since", cursor)
    store.drop_changes(0, LATE)
    assert refused(dpe, state, cursor) == "dpe: error: the cursor is too old: changes are kept for 7 days"
    dpe("properties", state, "--since", f"{store.standing().history.hex()}-2")


class Housekept:
    """A store of which old changes are dropped just before they are read."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.standing = store.standing

    def changes(self, after: int, most: int) -> list[Changes]:
        self.store.drop_changes(0, LATE)
        return self.store.changes(after, most)


def test_changes_that_are_dropped_while_they_are_read_are_not_passed_over(store: Store, devices: list[Session]) -> None:
    cursor = following.Cursor(store.standing().history, 0)
    with pytest.raises(LocalError, match="too old"):
        list(following.since(cast(Store, Housekept(store)), cursor))


def test_a_cursor_of_another_store_is_refused(dpe: Invoke, state: Path, devices: list[Session], tmp_path: Path) -> None:
    dpe("init", tmp_path / "other", "--uri", "coap://127.0.0.1")
    other = dpe("properties", tmp_path / "other").stdout.split()[-1]
    assert refused(dpe, state, other).startswith("dpe: error: the cursor is of another store, or of the time before")


def test_a_cursor_of_before_a_recovery_or_a_restoration_is_refused(
    dpe: Invoke, state: Path, devices: list[Session], tmp_path: Path
) -> None:
    cursor = dpe("properties", state).stdout.split()[-1]
    dpe("backup", state, tmp_path / "copy")
    dpe("recover", state)
    assert refused(dpe, state, cursor).startswith("dpe: error: the cursor is of another store, or of the time before")
    after = dpe("properties", state).stdout
    assert len(after.splitlines()) == 1, "all sessions have ended"
    dpe("restore", state, tmp_path / "copy")
    for earlier in (cursor, after.split()[-1]):
        assert refused(dpe, state, earlier).startswith("dpe: error: the cursor is of another store")


def test_a_cursor_of_changes_that_are_not_there_is_refused(
    dpe: Invoke, state: Path, store: Store, devices: list[Session]
) -> None:
    cursor = f"{store.standing().history.hex()}-3"
    assert refused(dpe, state, cursor).endswith("does not have: was it put back?")


@pytest.mark.parametrize("cursor", ["", "1", "0123456789abcdef", "0123456789abcdef-01", "0123456789ABCDEF-1", "x-1"])
def test_what_is_no_cursor_is_a_usage_error(dpe: Invoke, state: Path, cursor: str) -> None:
    assert "not a cursor" in dpe("properties", state, "--since", cursor, status=2).stderr


def test_following_tells_what_changes_until_it_is_interrupted(
    dpe: Invoke, state: Path, store: Store, devices: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            report(store, devices[2], 1, battery=5)
        elif len(waits) == 3:
            store.commit([End(devices[2].device, 1)])
        elif len(waits) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    lines = told(dpe("properties", state, "--json", "--follow", "--interval", 0.25).stdout)
    assert [one.get("snapshot") for one in lines] == ["begin", None, None, "end", None, None]
    assert values(lines[4]) == {"battery": 5}
    assert (lines[5]["client_id"], lines[5]["ended"]) == (name(devices[2]), True)
    assert waits == [0.25] * 5


def test_following_ends_when_the_database_is_exchanged(
    dpe: Invoke, state: Path, devices: list[Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dpe("backup", state, tmp_path / "copy")
    monkeypatch.setattr(time, "sleep", lambda _: dpe("restore", state, tmp_path / "copy"))
    ended = dpe("properties", state, "--follow", status=1)
    assert "dpe: error: the database was exchanged: a backup was put back" in ended.stderr


def test_following_a_server_that_runs(dpe: Invoke, server: Running, credential: Path) -> None:
    dpe("register", credential)
    command = [sys.executable, "-m", "dpe_tools", "properties", str(server.state), "--json", "--follow"]
    with subprocess.Popen([*command, "--interval", "0.05"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [one["snapshot"] for one in first] == ["begin", "end"]
        dpe("session", "report", credential, "battery=86")
        one = json.loads(process.stdout.readline())
        assert values(one) == {"battery": 86}
        dpe("session", "end", credential)
        one = json.loads(process.stdout.readline())
        assert one["ended"] is True
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
