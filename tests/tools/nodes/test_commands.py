"""Operators' commands at one node, and what they do to devices of another one, whose server runs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from dpe_server.operation import journal
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import End, Forget, OverridePolicies, RestrictEpoch, Revoke, SetMinimumEpoch, Unrevoke
from tests.tools.conftest import IMEI, Invoke


def holder(dpe: Invoke, state: Path) -> str:
    ((one),) = json.loads(dpe("sessions", state, "--json").stdout)
    return str(one["client_id"])


def acts(state: Path) -> list[type]:
    return [type(measure) for measure in journal.read([StateDir.open(state).journal_path])]


def test_a_session_is_listed_shown_and_ended(dpe: Invoke, first: Path, second: Path, device: Path) -> None:
    dpe("session", "report", device, "battery=86")
    client_id = holder(dpe, first)
    assert client_id == holder(dpe, second)
    shown = json.loads(dpe("device", "show", first, client_id, "--json").stdout)
    assert (shown["imei"], shown["properties"]["battery"]["value"]) == (IMEI, 86)
    assert client_id in dpe("device", "keys", first, client_id, "--format", "libcoap").stdout
    assert dpe("sessions", "end", first, client_id).stdout == "1 session ended\n"
    assert dpe("sessions", "list", second, "--count").stdout == "0\n"
    dpe("session", "report", device, "battery=85", status=4)
    assert (acts(first), acts(second)) == ([End], [])


def test_a_device_is_revoked_at_one_node_and_let_in_at_another(
    dpe: Invoke, first: Path, second: Path, device: Path
) -> None:
    assert dpe("revoke", first, IMEI).stdout == "revoked: 1 device, 1 session ended\n"
    dpe("session", "report", device, "battery=86", status=4)
    dpe("register", device, status=4)
    assert "the device is revoked" in dpe("policy", "explain", second, "--imei", IMEI, "--version", "1.0").stdout
    assert dpe("unrevoke", second, IMEI).stdout == "revocation lifted: 1 device\n"
    dpe("register", device)
    assert (acts(first), acts(second)) == ([Revoke], [Unrevoke])


def test_epochs_are_retired_for_all_nodes(dpe: Invoke, first: Path, second: Path, device: Path) -> None:
    dpe("revoke", first, IMEI, "--below-epoch", 2)
    assert "reprovision" in dpe("register", device, status=4).stderr
    dpe("unrevoke", second, IMEI, "--below-epoch")
    dpe("register", device)
    dpe("keys", "minimum-epoch", first, 1)
    assert json.loads(dpe("keys", "list", second, "--json").stdout)["minimum_epoch"] == 1
    assert (acts(first), acts(second)) == ([RestrictEpoch, SetMinimumEpoch], [RestrictEpoch])


def test_a_device_reports_by_policies_that_were_set_at_another_node(
    dpe: Invoke, first: Path, second: Path, device: Path, tmp_path: Path
) -> None:
    (tmp_path / "report.toml").write_text("[report]\nsignal = { lt = -100 }\n")
    client_id = holder(dpe, first)
    dpe("policy", "set", first, client_id, tmp_path / "report.toml")
    told = json.loads(dpe("session", "report", device, "battery=1", "--json").stdout)
    assert told["policies"] == {"signal": {"lt": -100}}
    assert "cleared" in dpe("policy", "clear", second, client_id).stdout
    told = json.loads(dpe("session", "report", device, "battery=1", "--json").stdout)
    assert "battery" in told["policies"]
    assert (acts(first), acts(second)) == ([OverridePolicies], [OverridePolicies])


def test_a_device_is_forgotten(dpe: Invoke, first: Path, second: Path, device: Path) -> None:
    assert dpe("device", "forget", first, holder(dpe, first)).stdout == "forgotten: its session has ended\n"
    assert "it had no session" in dpe("device", "forget", second, "--imei-stdin", stdin=f"{IMEI}\n").stdout
    assert (acts(first), acts(second)) == ([Forget], [Forget])


def test_what_devices_report_at_one_node_is_followed_at_another(
    dpe: Invoke, first: Path, device: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "dpe_tools", "properties", str(first), "--follow", "--interval", "0.05", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as follower:
        assert follower.stdout is not None
        told = iter(map(json.loads, follower.stdout))
        assert next(told) == {"snapshot": "begin"}
        assert next(told)["snapshot"] == "end"
        dpe("session", "report", device, "battery=86")
        one = next(told)
        assert one["properties"]["battery"]["value"] == 86
        dpe("sessions", "end", first, one["client_id"])
        other = next(told)
        assert (other["client_id"], other["ended"]) == (one["client_id"], True)
        follower.send_signal(signal.SIGINT)
        follower.stdout.read()
    assert follower.returncode == 0
    since = dpe("properties", first, "--since", one["cursor"], "--json").stdout.splitlines()
    assert [json.loads(line) for line in since] == [other]


def test_what_is_of_a_file_alone_is_said(dpe: Invoke, first: Path, tmp_path: Path) -> None:
    assert "PostgreSQL's own tools" in dpe("backup", first, tmp_path / "copy", status=1).stderr
    assert not (tmp_path / "copy").exists()
