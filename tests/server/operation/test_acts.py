"""Operators' acts in the audit log."""

from pathlib import Path

import pytest

from dpe_coap.imei import Imei
from dpe_server.operation import acts, audit
from dpe_server.operation.state_dir import StateDir
from tests.audit import lines, locked

IMEI = "490154203237518"


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.create(tmp_path / "state", "realm", "coap://127.0.0.1")


def without_time(state: StateDir) -> list[dict[str, object]]:
    return [{name: value for name, value in line.items() if name != "time"} for line in lines(state.audit_path)]


def test_an_act_is_a_line(state: StateDir) -> None:
    acts.note(state, "key-added", kind="master", generation=2)
    assert without_time(state) == [{"event": "key-added", "kind": "master", "generation": 2}]


def test_a_device_is_named_as_its_credential_file_is(state: StateDir) -> None:
    device = state.at_rest.device_id(Imei.parse(IMEI))
    acts.note(state, "revoked", [device, bytes(16)], below_epoch=2)
    assert without_time(state) == [
        {"event": "revoked", "device": name, "below_epoch": 2} for name in (device.hex()[:16], "0" * 16)
    ]
    assert IMEI[:14] not in state.audit_path.read_text()


def test_of_a_long_list_only_the_number_is_noted(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "NAMED", 1)
    acts.note(state, "revoked", [bytes(16)] * 2)
    assert without_time(state) == [{"event": "revoked", "count": 2}]


def test_a_log_that_stays_locked_is_a_warning_and_nothing_on_standard_output(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "PATIENCE", 0.0)
    with locked(state.audit_path):
        acts.note(state, "key-added")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        f"dpe: warning: done, but not noted in {state.audit_path}: its file is locked, or the disk hangs\n"
    )


def test_a_log_that_cannot_be_written_is_a_warning(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    state.audit_path.mkdir()
    acts.note(state, "key-added")
    shown = capsys.readouterr()
    assert (shown.out, shown.err.rpartition(": ")[2]) == ("", "Is a directory\n")
