"""One device, and one registration, followed through the audit log of a real server."""

import json
import re
import sqlite3
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from dpe_tools.server_process import ServerProcess
from tests.audit import lines, until
from tests.tools.conftest import IMEI, IMEIS, Invoke


def _device(dpe: Invoke, state: Path, imei: str, uri: str) -> Path:
    path = state.parent / f"device{imei[-2:]}.json"
    path.write_text(json.dumps(json.loads(dpe("provision", state, imei).stdout) | {"server": uri}))
    return path


def _about(found: list[dict[str, Any]], name: str) -> list[tuple[str, Any]]:
    return [(line["event"], line.get("why")) for line in found if line.get("device") == name]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_device_and_a_registration_can_be_followed(workers: str, dpe: Invoke, state: Path) -> None:
    audit = state / "audit.jsonl"
    options = ("--workers", workers, "--audit-peers")
    with ServerProcess(state, state.parent / "log", options=options) as server:
        uri = f"coap://127.0.0.1:{server.address[1]}"
        devices = [_device(dpe, state, imei, uri) for imei in IMEIS[:2]]
        for one in devices:
            dpe("register", one)
            dpe("session", "report", one, "battery=50")
        dpe("session", "end", devices[0])
        dpe("register", devices[0])
        dpe("revoke", state, IMEI)
        dpe("register", devices[0], "--timeout", 20, status=4)
        until(lambda: "unauthenticated" in {line["event"] for line in lines(audit)})
        until(lambda: sum(line["event"] == "established" for line in lines(audit)) == 3)
    found = sorted(lines(audit), key=itemgetter("time"))  # processes write a moment later, each by itself
    names = list(dict.fromkeys(line["device"] for line in found if line["event"] == "established"))
    assert len(names) == 2
    told = _about(found, names[0])
    assert [event for event, _ in told][:5] == ["response", "established", "first-contact", "session-ended", "response"]
    assert [why for event, why in told if event == "session-ended"] == ["deregistered", "revoked"]
    assert ("revoked", None) in told
    assert told[-1] == ("unauthenticated", None)
    assert [event for event, _ in _about(found, names[1])] == ["response", "established", "first-contact"]
    of_first = [line for line in found if line.get("registration") == found[0]["registration"]]
    assert [line["event"] for line in of_first] == ["response", "established", "first-contact", "session-ended"]
    assert len({line["client_id"] for line in of_first}) == 1
    devices_acts = [line for line in found if line["event"] in ("response", "established", "first-contact")]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d{4,5}", line["peer"]) for line in devices_acts)
    # REQUEST and SUCCESS of a registration come from one socket, and a report from another.
    assert of_first[0]["peer"] == of_first[1]["peer"] != of_first[2]["peer"]
    assert "peer" not in next(line for line in found if line["event"] == "revoked")


def test_no_peer_is_named_unless_that_is_asked_for(dpe: Invoke, state: Path) -> None:
    with ServerProcess(state, state.parent / "log") as server:
        dpe("register", _device(dpe, state, IMEI, f"coap://127.0.0.1:{server.address[1]}"))
    assert [line["event"] for line in lines(state / "audit.jsonl")] == ["response", "established"]
    assert "127.0.0.1" not in (state / "audit.jsonl").read_text()


def test_an_expired_session_and_operators_acts_name_the_device(dpe: Invoke, state: Path) -> None:
    with ServerProcess(state, state.parent / "log") as server:
        dpe("register", _device(dpe, state, IMEI, f"coap://127.0.0.1:{server.address[1]}"))
    with closing(sqlite3.connect(state / "dpe.sqlite")) as database:
        database.execute("UPDATE session SET established_at = 1, expires_at = 2, check_at = 2")
        database.commit()
    with ServerProcess(state, state.parent / "log"):
        until(lambda: "session-ended" in {line["event"] for line in lines(state / "audit.jsonl")})
    first, *_, ended = lines(state / "audit.jsonl")
    assert ended.pop("time") > first["time"]
    assert ended == {
        "event": "session-ended",
        "device": first["device"],
        "registration": first["registration"],
        "client_id": first["client_id"],
        "why": "expired",
    }
    (state / "report.toml").write_text("[report]\n")
    dpe("unrevoke", state, IMEI)
    dpe("keys", "rotate", "handle", state)
    dpe("device", "forget", state, "--imei-stdin", stdin=IMEI)
    told = [(line["event"], line.get("device")) for line in lines(state / "audit.jsonl")][-2:]
    assert told == [("key-added", None), ("device-forgotten", first["device"])]
