"""`dpe sessions` with filters, and `dpe sessions end`: which sessions are meant, and that just these are ended."""

import json
import time
from contextlib import closing
from os import urandom
from pathlib import Path
from typing import Any

import cbor2
import pytest

from dpe_coap.client_ids import client_id_text
from dpe_coap.messages import Version
from dpe_server.keys.at_rest import device_text
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import imposing
from dpe_server.store.contract import Outcome, Session
from dpe_server.store.opening import open_store
from dpe_server.store.record import merge
from tests.tools.conftest import Invoke, Running

FIRST = 0x10000000000000
NOW = int(time.time())
OWN = '\n[property.temperature]\nwire = 24\ntype = "number"\nunit = "°C"\n'


def session(number: int, **fields: Any) -> Session:
    made: dict[str, Any] = {
        "client_id": FIRST + number,
        "device": urandom(16),
        "sealed_imei": urandom(35),
        "version": Version(1, 0),
        "firmware": None,
        "suite": 1,
        "rule": "DPE 1.x",
        "ordinal": number + 1,
        "established_at": NOW - 5,
        "lifetime": None,
        "expires_at": None,
        "th3": bytes(32),
        "success_hash": urandom(32),
        "confirm": b"",
        "sealed_keys": urandom(52),
        "epoch": 2,
    }
    return Session(**made | fields)


@pytest.fixture
def held(state: Path) -> dict[str, Session]:
    """Sessions of many kinds in the store, by what is special about each."""
    items = {cbor2.dumps(0): cbor2.dumps(86), cbor2.dumps(24): cbor2.dumps(21.5)}
    made = {
        "plain": session(0),
        "lab": session(1, rule="lab", record=merge(b"", items, NOW - 7) or b""),
        "old": session(2, epoch=1),
        "older": session(3, epoch=None),
        "newer": session(4, version=Version(1, 3), firmware="fw-7"),
        "silent": session(5, established_at=NOW - 90_000, seen_at=NOW - 7300),
        "over": session(6, epoch=1, expires_at=NOW - 1),
    }
    opened = StateDir.open(state)
    with closing(open_store(opened.store_url)) as store:
        assert set(store.commit(list(made.values()))) == {Outcome.COMMITTED}
    return made


FILTERS = [
    (["--rule", "lab"], ["lab"]),
    (["--rule", "no such rule"], []),
    (["--epoch", 1], ["old"]),
    (["--epoch", "unknown"], ["older"]),
    (["--below-epoch", 2], ["old"]),
    (["--below-epoch", 3], ["plain", "lab", "old", "newer", "silent"]),
    (["--version", "1.3"], ["newer"]),
    (["--firmware", "fw-7"], ["newer"]),
    (["--silent-for", "2h"], ["silent"]),
    (["--silent-for", "86400"], []),
    (["--below-epoch", 3, "--rule", "DPE 1.x", "--silent-for", "120min"], ["silent"]),
]
ALL = ["plain", "lab", "old", "older", "newer", "silent"]


def names(held: dict[str, Session], listed: str) -> list[str]:
    by_client_id = {client_id_text(one.client_id): name for name, one in held.items()}
    return [by_client_id[one["client_id"]] for one in json.loads(listed)]


@pytest.mark.parametrize(("options", "expected"), [([], ALL), *FILTERS])
def test_a_list_has_what_is_asked_for(
    options: list[object], expected: list[str], dpe: Invoke, state: Path, held: dict[str, Session]
) -> None:
    assert names(held, dpe("sessions", state, *options, "--json").stdout) == expected
    assert dpe("sessions", state, *options, "--count").stdout == f"{len(expected)}\n"
    assert json.loads(dpe("sessions", "list", state, *options, "--count", "--json").stdout) == {"count": len(expected)}
    table = dpe("sessions", state, *options).stdout.splitlines()[1:]
    assert [line.split()[0] for line in table] == [client_id_text(held[name].client_id) for name in expected]


def test_a_list_may_be_cut_and_may_begin_with_an_option(dpe: Invoke, state: Path, held: dict[str, Session]) -> None:
    assert names(held, dpe("sessions", "--json", "--limit", 2, state).stdout) == ["plain", "lab"]
    assert dpe("sessions", state, "--limit", 4, "--count").stdout == "4\n"
    assert dpe("sessions", state, "--limit", 0, "--json").stdout == "[]\n"
    assert dpe("sessions", state, "--limit", 0).stdout == "no live session\n"


def test_what_was_reported_is_shown_on_request(dpe: Invoke, state: Path, held: dict[str, Session]) -> None:
    with (state / "policy.toml").open("a", encoding="utf-8") as policy:
        policy.write(OWN)
    head, row = dpe("sessions", state, "--rule", "lab", "--properties").stdout.splitlines()
    assert head.split()[-1] == "properties"
    assert row.endswith("battery 86 %, temperature 21.5 °C")
    (one,) = json.loads(dpe("sessions", state, "--rule", "lab", "--properties", "--json").stdout)
    assert one["properties"] == {
        "battery": {"value": 86, "time": NOW - 7},
        "temperature": {"value": 21.5, "time": NOW - 7},
    }
    (one,) = json.loads(dpe("sessions", state, "--rule", "lab", "--json").stdout)
    assert (one["reported"], one["epoch"], "properties" in one) == (2, 2, False)
    assert " 2  lab" in dpe("sessions", state, "--rule", "lab").stdout.splitlines()[1]


def acts(state: Path) -> list[dict[str, Any]]:
    lines = (state / "operators.jsonl").read_text(encoding="utf-8").splitlines()
    return [act for act in map(json.loads, lines) if act["act"] == "end"]


def audited(state: Path) -> list[str]:
    lines = (state / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    ended = [one for one in map(json.loads, lines) if one["event"] == "session-ended"]
    assert {one["why"] for one in ended} <= {"operator"}
    return [one["device"] for one in ended]


@pytest.mark.parametrize(("options", "expected"), FILTERS)
def test_just_the_sessions_that_are_meant_are_ended(
    options: list[object], expected: list[str], dpe: Invoke, state: Path, held: dict[str, Session]
) -> None:
    said = f"{len(expected)} session{'' if len(expected) == 1 else 's'}"
    tried = dpe("sessions", "end", state, *options, "--dry-run")
    assert (tried.stdout, tried.stderr) == (f"{said} would be ended\n", "nothing was changed\n")
    assert names(held, dpe("sessions", state, "--json").stdout) == ALL
    assert not acts(state)
    assert dpe("sessions", "end", state, *options).stdout == f"{said} ended\n"
    assert names(held, dpe("sessions", state, "--json").stdout) == [name for name in ALL if name not in expected]
    ended = {held[name].device for name in expected}
    assert {act["device"] for act in acts(state)} == {device.hex() for device in ended}
    assert set(audited(state) if expected else []) == {device_text(device) for device in ended}


def test_sessions_are_ended_by_client_id(dpe: Invoke, state: Path, held: dict[str, Session]) -> None:
    given = [client_id_text(held[name].client_id) for name in ("plain", "lab", "plain")]
    nobodys = client_id_text(FIRST + 99)
    refused = dpe("sessions", "end", state, *given, nobodys, status=1)
    assert refused.stderr.startswith(f"dpe: error: no session holds the Client ID {nobodys}\n")
    assert names(held, dpe("sessions", state, "--json").stdout) == ALL
    assert dpe("sessions", "end", state, *given, "--dry-run").stdout == "2 sessions would be ended\n"
    assert dpe("sessions", "end", state, *given).stdout == "2 sessions ended\n"
    assert names(held, dpe("sessions", state, "--json").stdout) == ALL[2:]
    assert len(audited(state)) == 2


def test_many_sessions_are_ended_a_part_at_a_time(
    dpe: Invoke, state: Path, held: dict[str, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imposing, "AT_ONCE", 2)
    assert dpe("sessions", "end", state, "--below-epoch", 3).stdout == "5 sessions ended\n"
    assert names(held, dpe("sessions", state, "--json").stdout) == ["older"]
    assert len(audited(state)) == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["end"], "give Client IDs, or options"),
        (["end", "10000000000000", "--rule", "lab"], "give Client IDs, or options"),
        (["end", "1000"], "a Client ID is 14 hex digits"),
        (["list", "--epoch", "0"], "a key epoch is 1 to 255, or unknown"),
        (["list", "--epoch", "new"], "a key epoch is 1 to 255, or unknown"),
        (["list", "--silent-for", "1week"], "a duration is a number with s, min, h or d"),
        (["list", "--version", "one"], "write major.minor"),
        (["list", "--limit", "-1"], "--limit"),
    ],
)
def test_what_nobody_can_mean_is_a_usage_error(words: list[str], told: str, dpe: Invoke, state: Path) -> None:
    command, *rest = words
    assert told in dpe("sessions", command, state, *rest, status=2).stderr


def test_the_list_is_what_is_meant_without_a_command(dpe: Invoke) -> None:
    assert "Missing argument 'STATE'" in dpe("sessions", "list", status=2).stderr
    assert "end" in dpe("sessions", "--help").stdout


def test_an_ended_device_registers_anew(dpe: Invoke, server: Running, credential: Path) -> None:
    dpe("register", credential)
    (one,) = json.loads(dpe("sessions", server.state, "--json").stdout)
    assert one["epoch"] == 1
    assert dpe("sessions", "end", server.state, "--epoch", 1).stdout == "1 session ended\n"
    refused = dpe("session", "report", credential, "battery=5", status=4)
    assert "does not know this session" in refused.stderr
    dpe("register", credential)
    dpe("session", "report", credential, "battery=5")
    assert dpe("sessions", server.state, "--count").stdout == "1\n"
