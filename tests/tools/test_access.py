"""`dpe access`: access tokens of the HTTP API, shown once and noted in the audit log."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dpe_server.operation.access import Role
from dpe_server.operation.state_dir import StateDir
from tests.audit import lines
from tests.tools.conftest import Invoke

FORM = r"dpe_[0-9a-f]{64}"


def acts(state: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "time"} for line in lines(state / "audit.jsonl")]


def test_one_is_created_used_listed_and_revoked(dpe: Invoke, state: Path) -> None:
    created = dpe("access", "create", state, "billing", "--role", "reader", "--expires", "30d")
    assert re.fullmatch(FORM + "\n", created.stdout), "nothing else is on standard output"
    assert "it is not shown again, and expires 20" in created.stderr
    text = created.stdout.strip()
    admitted = StateDir.open(state).access.admit(text, 0)
    assert admitted is not None
    assert admitted.role is Role.READER
    assert admitted.expires_at == admitted.created_at + 30 * 86_400
    listed = dpe("access", "list", state)
    assert listed.stdout.splitlines()[1].startswith("billing  reader  20")
    assert text not in listed.stdout
    assert dpe("access", "revoke", state, "billing").stdout == "revoked: the access token billing\n"
    assert StateDir.open(state).access.admit(text, 0) is None
    assert dpe("access", "list", state).stdout == "no access token\n"
    assert acts(state) == [
        {"event": "access-created", "access": "billing", "role": "reader"},
        {"event": "access-revoked", "access": "billing"},
    ]
    assert text not in (state / "audit.jsonl").read_text()


def test_for_a_program(dpe: Invoke, state: Path) -> None:
    told = json.loads(dpe("access", "create", state, "ops", "--role", "operator", "--json").stdout)
    assert re.fullmatch(FORM, told.pop("access_token"))
    created_at = told.pop("created_at")
    assert isinstance(created_at, int)
    assert told == {"name": "ops", "role": "operator", "expires_at": None, "used_at": None}
    (one,) = json.loads(dpe("access", "list", state, "--json").stdout)
    assert one == told | {"created_at": created_at, "expired": False}
    assert json.loads(dpe("access", "revoke", state, "ops", "--json").stdout) == {"revoked": "ops"}
    assert json.loads(dpe("access", "list", state, "--json").stdout) == []


def test_one_that_has_expired_is_said_so(dpe: Invoke, state: Path) -> None:
    StateDir.open(state).access.create("old", Role.READER, 1, 1)
    assert "  expired  never" in dpe("access", "list", state).stdout
    assert json.loads(dpe("access", "list", state, "--json").stdout)[0]["expired"] is True


def test_into_a_file_of_ones_own(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    out = tmp_path / "secret"
    created = dpe("access", "create", state, "ops", "--role", "operator", "--out", out)
    assert not re.search(FORM, created.output)
    assert re.fullmatch(FORM + "\n", out.read_text())
    assert out.stat().st_mode & 0o777 == 0o600
    failed = dpe("access", "create", state, "more", "--role", "reader", "--out", out, status=1)
    assert "is there already" in failed.stderr
    assert [one.name for one in StateDir.open(state).access.all()] == ["ops"], "nobody could have used it"
    told = json.loads(dpe("access", "create", state, "x", "--role", "reader", "--out", tmp_path / "2", "--json").stdout)
    assert "access_token" not in told


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("create", "a b", "--role", "reader"), 1, "cannot be named 'a b'"),
        (("create", "a", "--role", "root"), 2, "'root' is not one of"),
        (("create", "a"), 2, "Missing option '--role'"),
        (("create", "a", "--role", "reader", "--expires", "soon"), 2, "a duration is a number with s, min, h or d"),
        (("create", "a", "--role", "reader", "--expires", "0"), 2, "it would have expired already"),
        (("revoke", "nobody"), 1, "there is no access token 'nobody'"),
    ],
)
def test_mistakes(dpe: Invoke, state: Path, arguments: tuple[str, ...], status: int, says: str) -> None:
    command, *rest = arguments
    assert says in dpe("access", command, state, *rest, status=status).stderr
    assert not (state / "audit.jsonl").exists()


def test_a_file_that_others_may_read_is_refused(dpe: Invoke, state: Path) -> None:
    dpe("access", "create", state, "a", "--role", "reader")
    (state / "access.json").chmod(0o640)
    assert "is open to other users (mode 0640)" in dpe("access", "list", state, status=1).stderr
