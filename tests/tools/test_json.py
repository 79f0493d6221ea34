"""What commands tell a program: a JSON object of what they have done."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from dpe_tools.cli import COMMANDS, main
from tests.tools.conftest import IMEI, IMEIS, Invoke, Running

SILENT = {
    "serve": "--json-log",
    "demo": "is for people",
    "completion": "prints a script",
    "web": "serves a page",
    "message report": "writes a message",
    "message request": "writes a message",
    "message success": "writes a message",
    "device keys": "writes a file for another program",
}
"""The commands without --json, and why."""


def _commands(group: click.Group, name: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    context = click.Context(group)
    for one in group.list_commands(context):
        command = group.get_command(context, one)
        assert command is not None
        whole = f"{name} {one}".strip()
        found |= _commands(command, whole) if isinstance(command, click.Group) else {whole: command}
    return found


def test_every_command_has_json_unless_it_is_said_why_not() -> None:
    commands = {name: command for name, command in _commands(main).items() if not name.startswith("bench")}
    assert len(commands) > len(COMMANDS)
    without = {name for name, command in commands.items() if not any("--json" in one.opts for one in command.params)}
    assert without == set(SILENT)


def _object(dpe: Invoke, *arguments: object, status: int = 0) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(dpe(*arguments, "--json", status=status).stdout)
    return told


def test_a_state_directory_and_its_keys(dpe: Invoke, tmp_path: Path) -> None:
    state = tmp_path / "state"
    told = _object(dpe, "init", state, "--realm", "here", "--uri", "coap://127.0.0.1:5799")
    assert told == {"state": str(state), "realm": "here", "uri": "coap://127.0.0.1:5799", "node": None}
    assert _object(dpe, "keys", "rotate", "master", state) == {
        "kind": "master",
        "generation": 2,
        "server_runs": False,
        "active": True,
    }
    assert _object(dpe, "keys", "minimum-epoch", state, 2) == {"minimum_epoch": 2}
    assert _object(dpe, "keys", "list", state)["minimum_epoch"] == 2


def test_a_backup_and_its_way_back(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert _object(dpe, "backup", state, copy) == {"file": str(copy), "bytes": copy.stat().st_size}
    dpe("revoke", state, IMEI)
    told = _object(dpe, "restore", state, copy)
    assert told.pop("backup_made_at") > 1_700_000_000
    assert told == {"event": "database-restored", "sessions": 0, "revoked": 1, "lifted": 0, "epochs": 0}
    told = _object(dpe, "recover", state)
    assert (told["event"], told["backup_made_at"]) == ("database-recovered", None)
    told = _object(dpe, "recover", state, "--keep-sessions", status=1)
    assert "there is nothing to recover" in told["error"]["message"]
    (state / "beat.json").unlink()
    assert _object(dpe, "recover", state, "--keep-sessions") == {"event": "database-accepted"}


def test_revocations(dpe: Invoke, state: Path) -> None:
    told = _object(dpe, "revoke", state, *IMEIS)
    assert told == {"devices": 3, "never_seen": 3, "dry_run": False, "sessions_ended": 0}
    told = _object(dpe, "revoke", state, IMEI, "--below-epoch", 5, "--dry-run")
    assert told == {"devices": 1, "never_seen": 0, "dry_run": True, "below_epoch": 5}
    told = _object(dpe, "unrevoke", state, *IMEIS[:2])
    assert told == {"devices": 2, "lifted": 2, "below_epoch": False, "dry_run": False}


def test_a_device_with_a_session(dpe: Invoke, server: Running, credential: Path, tmp_path: Path) -> None:
    client_id = _object(dpe, "register", credential)["client_id"]
    (tmp_path / "report.toml").write_text("[report]\nbattery = { st = 5 }\n")
    told = _object(dpe, "policy", "set", server.state, client_id, tmp_path / "report.toml")
    assert told == {"policies": {"battery": {"st": 5}}, "dry_run": False}
    told = _object(dpe, "policy", "clear", server.state, client_id)
    assert told == {"cleared": True, "rule": told["rule"], "dry_run": False}
    assert _object(dpe, "policy", "clear", server.state, client_id)["cleared"] is False
    assert _object(dpe, "sessions", "end", server.state, client_id) == {"sessions_ended": 1, "dry_run": False}
    told = json.loads(dpe("device", "forget", server.state, "--imei-stdin", "--json", stdin=IMEI).stdout)
    assert told == {"known": True, "session_ended": False, "revoked": False}


def test_a_policy_and_its_faults(dpe: Invoke, state: Path) -> None:
    told = _object(dpe, "policy", "check", state)
    assert told["allow_clear_imei"] is False
    assert [rule["line"] for rule in told["rules"]] == sorted(rule["line"] for rule in told["rules"])
    assert all(rule.keys() == {"line", "name", "for", "answer"} for rule in told["rules"])
    (state / "policy.toml").write_text('[[rule]]\nname = "a"\naction = "x"\n[[rule]]\nname = "b"\naction = "y"\n')
    done = dpe("policy", "check", state, "--json", status=1)
    (line,) = done.stdout.splitlines()
    error = json.loads(line)["error"]
    assert len(error["faults"]) == 2
    assert error["status"] == 1
    assert all(fault in done.stderr for fault in error["faults"])


@pytest.mark.parametrize("command", ["revoke", "unrevoke"])
def test_a_list_at_fault_is_an_error_in_json(command: str, dpe: Invoke, state: Path) -> None:
    told = json.loads(dpe(command, state, "--stdin", "--json", stdin=f"{IMEI}\nabc\n", status=1).stdout)
    assert told["error"]["message"] == "1 of 2 IMEIs are at fault; nothing done"
