"""What `dpe device show` says of a device: reported values by name and unit, and what it is to report, and by whom."""

import json
import time
from dataclasses import replace
from os import urandom
from pathlib import Path
from typing import Any

import cbor2
import pytest

from dpe_coap.imei import Imei
from dpe_coap.messages import Version
from dpe_coap.session_messages import encode_policies
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import (
    Change,
    Contact,
    Outcome,
    OverridePolicies,
    Revoke,
    Session,
)
from dpe_server.store.opening import open_store
from tests.tools.conftest import IMEI, Invoke

REAL = time.time
LATER = 310
"""Seconds by which the commands' clock is ahead of the database's, by which the device has just reported."""
CLIENT_ID = 0x12345678901234
REPORTED = {0: 86, 1: "4.2", 2: None, 3: 20_000, 24: 21.5, "note": "a\x1bb", 25: b"\1\2", 26: True}
POLICY = """
[property.temperature]
wire = 24
type = "number"
unit = "°C"

[[rule]]
name = "all"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 86400
[rule.report]
battery = { pmax = 3600 }
temperature = {}
"""


@pytest.fixture
def opened(dpe: Invoke, state: Path, monkeypatch: pytest.MonkeyPatch) -> StateDir:
    monkeypatch.setattr("time.time", lambda: REAL() + LATER)
    (state / "policy.toml").write_text(POLICY, encoding="utf-8")
    return StateDir.open(state)


def hold(opened: StateDir, *more: Change, silent: bool = False, **other: Any) -> None:
    """Give the device a session, in which it has reported five minutes ago, unless it is ``silent``."""
    now = int(time.time())
    imei = Imei.parse(IMEI)
    at_rest = opened.at_rest
    name = at_rest.device_id(imei)
    items = {cbor2.dumps(key): cbor2.dumps(value) for key, value in REPORTED.items()}
    session = Session(
        client_id=CLIENT_ID,
        device=name,
        sealed_imei=at_rest.seal_imei(imei, name),
        version=Version(1, 0),
        firmware="4.2",
        suite=1,
        rule="all",
        ordinal=1,
        established_at=now - 600,
        lifetime=86_400,
        expires_at=now + 86_100,
        th3=bytes(32),
        success_hash=urandom(32),
        confirm=b"",
        sealed_keys=at_rest.seal_keys(urandom(24), CLIENT_ID),
    )
    session = replace(session, **other)
    said = [] if silent else [Contact(CLIENT_ID, session.ordinal, 1, bytes(16), items, 86_400)]
    store = open_store(opened.store_url)
    outcomes = store.commit([session, *said, *more])
    assert Outcome.NOT_ACCEPTED not in outcomes
    store.close()


def shown(dpe: Invoke, opened: StateDir) -> Any:
    return json.loads(dpe("device", "show", opened.path, f"{CLIENT_ID:014x}", "--json").stdout)


def test_properties_have_their_names_values_and_times(dpe: Invoke, opened: StateDir) -> None:
    hold(opened)
    told = shown(dpe, opened)
    seen_at = told["session"]["seen_at"]
    assert abs(seen_at - REAL()) <= 30
    assert told["properties"] == {
        name: {"value": value, "time": seen_at}
        for name, value in {
            "battery": 86,
            "firmware": "4.2",
            "free_memory": 20_000,
            "temperature": 21.5,
            "25": {"bytes": "0102"},
            "26": True,
            "note": "a\x1bb",
        }.items()
    }


def test_a_person_sees_units_and_how_long_ago(dpe: Invoke, opened: StateDir) -> None:
    hold(opened)
    lines = dpe("device", "show", opened.path, f"{CLIENT_ID:014x}").stdout.splitlines()
    assert lines[lines.index("last contact   5 min ago") :] == [
        "last contact   5 min ago",
        "reported",
        "  battery      86 %         5 min ago",
        "  firmware     4.2          5 min ago",
        "  free_memory  20000 bytes  5 min ago",
        "  temperature  21.5 °C      5 min ago",
        "  25           0102         5 min ago",
        "  26           true         5 min ago",
        '  note         "a\\u001bb"   5 min ago',
        "to report      by its rule",
        "  battery (%): when it changes, at least every 3600 s",
        "  temperature (°C): when it changes",
    ]


def test_nothing_was_reported_yet(dpe: Invoke, opened: StateDir) -> None:
    hold(opened, silent=True)
    lines = dpe("device", "show", opened.path, f"{CLIENT_ID:014x}").stdout.splitlines()
    assert {"last contact   none yet", "reported       nothing yet"} <= set(lines)
    assert shown(dpe, opened)["properties"] == {}


def test_policies_are_those_that_the_device_is_told(dpe: Invoke, opened: StateDir) -> None:
    hold(opened)
    told = shown(dpe, opened)
    assert (told["override"], told["policies"]) == (False, {"battery": {"pmax": 3600}, "temperature": {}})
    name = opened.at_rest.device_id(Imei.parse(IMEI))
    hold(opened, OverridePolicies(name, encode_policies({24: {4: 0.5}, 9: {77: True}})), ordinal=2)
    told = shown(dpe, opened)
    assert (told["override"], told["policies"]) == (True, {"temperature": {"st": 0.5}, "signal": {"77": True}})
    lines = dpe("device", "show", opened.path, f"{CLIENT_ID:014x}").stdout.splitlines()
    assert "to report      by policies of its own" in lines
    assert "  temperature (°C): when it changes by 0.5 or more" in lines


def test_a_rule_that_is_gone_has_nothing_reported(dpe: Invoke, opened: StateDir) -> None:
    hold(opened, rule="gone")
    told = shown(dpe, opened)
    assert (told["override"], told["policies"]) == (False, {})
    lines = dpe("device", "show", opened.path, f"{CLIENT_ID:014x}").stdout.splitlines()
    assert lines[-1] == "to report      nothing unasked, by its rule"


def test_a_policy_with_a_fault_hides_only_what_it_says(dpe: Invoke, opened: StateDir) -> None:
    hold(opened)
    opened.policy_path.write_text("rule = 1\n", encoding="utf-8")
    done = dpe("device", "show", opened.path, f"{CLIENT_ID:014x}", "--json")
    assert done.stderr.startswith(f"dpe: warning: {opened.policy_path}:1: rule: ")
    told = json.loads(done.stdout)
    assert told["properties"]["24"]["value"] == 21.5
    assert told["properties"]["battery"]["value"] == 86
    assert told["policies"] is None


def test_a_device_without_a_session(dpe: Invoke, opened: StateDir) -> None:
    told = json.loads(dpe("device", "show", opened.path, "--imei-stdin", "--json", stdin=IMEI).stdout)
    assert (told["session"], told["properties"], told["policies"], told["override"]) == (None, {}, None, False)
    name = opened.at_rest.device_id(Imei.parse(IMEI))
    others = [OverridePolicies(urandom(16), encode_policies({0: {}})) for _ in range(3)]
    hold(opened, OverridePolicies(name, encode_policies({9: {}})), *others, Revoke(name, int(REAL())))
    told = json.loads(dpe("device", "show", opened.path, "--imei-stdin", "--json", stdin=IMEI).stdout)
    assert (told["session"], told["properties"], told["revoked"]) == (None, {}, True)
    assert (told["override"], told["policies"]) == (True, {"signal": {}})
    lines = dpe("device", "show", opened.path, "--imei-stdin", stdin=IMEI).stdout.splitlines()
    assert lines[1:] == [
        "revoked        yes: it cannot register",
        "session        none",
        "to report      by policies of its own",
        "  signal (dBm): when it changes",
    ]


def test_a_session_past_its_end(dpe: Invoke, opened: StateDir) -> None:
    hold(opened, silent=True, expires_at=int(REAL()))
    assert shown(dpe, opened)["session"]["state"] == "EXPIRED"
