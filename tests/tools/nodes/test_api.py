"""The HTTP API of a node whose store is in PostgreSQL: it tells of all nodes, and its access tokens are its own."""

import json
import re
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from dpe_server.operation.state_dir import StateDir
from dpe_server.web.app import build
from tests.server.web.sites import site_of
from tests.tools.conftest import Invoke


def test_a_node_tells_of_devices_of_another(dpe: Invoke, first: Path, second: Path, device: Path) -> None:
    access = dpe("access", "create", first, "ops", "--role", "operator").stdout.strip()
    assert json.loads(dpe("access", "list", second, "--json").stdout) == []
    site = site_of(StateDir.open(first))
    client = TestClient(build(site), base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {access}"})

    def ask(method: str, path: str, **options: Any) -> Any:
        answer = client.request(method, f"/api/v1{path}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert ask("GET", "/health") == {"status": "ok"}
    (session,) = ask("GET", "/sessions")["sessions"]
    begun = ask("GET", "/changes")
    assert [one["snapshot"] for one in begun["changes"]] == ["begin", "end"]
    dpe("session", "report", device, "battery=86")
    (change,) = ask("GET", f"/changes?since={begun['cursor']}")["changes"]
    assert (change["client_id"], change["properties"]["battery"]["value"]) == (session["client_id"], 86)
    shown = ask("GET", f"/devices/{session['client_id']}")
    assert shown["properties"] == change["properties"]
    body = {"client_id": session["client_id"], "reason": "lost"}
    assert ask("POST", "/revoke", json=body)["sessions_ended"] == 1
    (ended,) = ask("GET", f"/changes?since={change['cursor']}")["changes"]
    assert ended["ended"] is True
    site.stores.close()
    audit = (first / "audit.jsonl").read_text(encoding="utf-8")
    assert re.search(r'"event":"revoked","device":"[0-9a-f]{16}","reason":"lost","by":"access-ops"', audit)
    other = site_of(StateDir.open(second))
    stranger = TestClient(build(other), base_url="http://127.0.0.1")
    assert stranger.get("/api/v1/sessions", headers={"Authorization": f"Bearer {access}"}).status_code == 401
    other.stores.close()
