"""`dpe policy set` and `dpe policy clear`: what one device is to report, whatever its rule says."""

import json
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.imei import Imei
from dpe_server.keys.at_rest import device_text
from dpe_server.operation import journal
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import OverridePolicies
from tests.audit import lines, until
from tests.tools.conftest import IMEI, Invoke, Running

OWN = {"battery": {"pmin": 5}, "signal": {"lt": -100}}


@pytest.fixture
def device(dpe: Invoke, credential: Path) -> Path:
    dpe("register", credential)
    return credential


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.toml"
    path.write_text("[report]\nbattery = { pmin = 5 }\nsignal = { lt = -100 }\n", encoding="utf-8")
    return path


def holder(dpe: Invoke, server: Running) -> str:
    ((one),) = json.loads(dpe("sessions", server.state, "--json").stdout)
    return str(one["client_id"])


def shown(dpe: Invoke, server: Running) -> Any:
    return json.loads(dpe("device", "show", server.state, holder(dpe, server), "--json").stdout)


def told(dpe: Invoke, device: Path) -> Any:
    return json.loads(dpe("session", "report", device, "battery=1", "--json").stdout)["policies"]


def events(server: Running) -> list[str]:
    name = device_text(StateDir.open(server.state).at_rest.device_id(Imei.parse(IMEI)))
    log = StateDir.open(server.state).audit_path
    until(log.exists)
    return [line["event"] for line in lines(log) if line.get("device") == name and line["event"].startswith("policies")]


def test_a_device_reports_by_its_own_policies_until_they_are_cleared(
    dpe: Invoke, server: Running, device: Path, report: Path
) -> None:
    usual = told(dpe, device)
    before = events(server)
    done = dpe("policy", "set", server.state, holder(dpe, server), report)
    assert done.stdout.splitlines() == [
        "at its next report, the device is told to report:",
        "  battery (%): when it changes, at most every 5 s",
        "  signal (dBm): when it becomes lower than -100 or no longer is",
    ]
    assert told(dpe, device) == OWN
    assert (shown(dpe, server)["override"], shown(dpe, server)["policies"]) == (True, OWN)
    dpe("register", device)
    assert told(dpe, device) == OWN, "it belongs to the device, not to its session"
    cleared = dpe("policy", "clear", server.state, holder(dpe, server))
    assert cleared.stdout == 'cleared: from its next report on, the device reports by its rule, "DPE 1.x"\n'
    assert told(dpe, device) == usual
    assert shown(dpe, server)["override"] is False
    again = dpe("policy", "clear", server.state, holder(dpe, server))
    assert again.stdout == 'nothing was set: the device reports by its rule, "DPE 1.x"\n'
    assert events(server)[len(before) :] == ["policies-set", "policies-cleared"]


def test_it_stands_in_the_journal(dpe: Invoke, server: Running, device: Path, report: Path) -> None:
    dpe("policy", "set", server.state, holder(dpe, server), report)
    dpe("policy", "clear", server.state, holder(dpe, server))
    opened = StateDir.open(server.state)
    name = opened.at_rest.device_id(Imei.parse(IMEI))
    found = [one for one in journal.read([opened.journal_path]) if isinstance(one, OverridePolicies)]
    assert [one.device for one in found[-2:]] == [name, name]
    assert [one.policies is None for one in found[-2:]] == [False, True]


def test_an_empty_table_has_the_device_report_nothing(dpe: Invoke, server: Running, device: Path, report: Path) -> None:
    report.write_text("[report]\n", encoding="utf-8")
    done = dpe("policy", "set", server.state, holder(dpe, server), report)
    assert done.stdout == "at its next report, the device is told to report nothing unasked\n"
    assert "nothing is to be reported unasked" in dpe("session", "report", device).stdout
    dpe("policy", "clear", server.state, holder(dpe, server))


def test_a_dry_run_changes_nothing(dpe: Invoke, server: Running, device: Path, report: Path) -> None:
    before = (server.state / "operators.jsonl").read_bytes(), events(server)
    done = dpe("policy", "set", server.state, holder(dpe, server), report, "--dry-run")
    assert done.stdout.startswith("at its next report, the device would be told to report:\n  battery (%): ")
    assert done.stderr == "nothing was changed\n"
    assert shown(dpe, server)["override"] is False
    assert ((server.state / "operators.jsonl").read_bytes(), events(server)) == before
    dpe("policy", "set", server.state, holder(dpe, server), report)
    done = dpe("policy", "clear", server.state, holder(dpe, server), "--dry-run")
    assert done.stdout == 'cleared: from its next report on, the device would report by its rule, "DPE 1.x"\n'
    assert shown(dpe, server)["override"] is True
    dpe("policy", "clear", server.state, holder(dpe, server))


def test_every_fault_of_the_file_is_told(dpe: Invoke, server: Running, device: Path, report: Path) -> None:
    before = (server.state / "operators.jsonl").read_bytes()
    report.write_text("lifetime = 60\n[report]\nbatery = {}\nbattery = { pmin = 0 }\n", encoding="utf-8")
    *faults, hint = dpe("policy", "set", server.state, holder(dpe, server), report, status=1).stderr.splitlines()
    assert [fault.split(": ")[2] for fault in faults] == [f"{report}:1", f"{report}:3", f"{report}:4"]
    assert hint.startswith("hint: ")
    missing = dpe("policy", "set", server.state, holder(dpe, server), report.with_name("none"), status=1)
    assert "cannot be read: No such file" in missing.stderr
    assert (server.state / "operators.jsonl").read_bytes() == before


@pytest.mark.parametrize("command", ["set", "clear"])
@pytest.mark.parametrize(("client_id", "status"), [("12", 2), ("00000000000000", 1)])
def test_a_client_id_that_no_session_has(
    dpe: Invoke, server: Running, report: Path, command: str, client_id: str, status: int
) -> None:
    file = [report] if command == "set" else []
    assert "rror: " in dpe("policy", command, server.state, client_id, *file, status=status).stderr
