"""The resources of the HTTP API: what they tell is what the commands tell, and what they do stands in the audit log."""

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner

from dpe_coap.imei import Imei
from dpe_server.keys.at_rest import device_text
from dpe_server.store.contract import OverridePolicies, Store
from dpe_server.store.questions import Questions
from dpe_tools.cli import main
from tests.audit import lines
from tests.server.web.api.held import IMEIS, Held, session, without


def command(*arguments: object) -> Any:
    """Return what a command tells as JSON."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def acts(held: Held) -> list[dict[str, Any]]:
    return [without(line, "time") for line in lines(held.opened.audit_path)]


def named(held: Held, number: int) -> str:
    return device_text(held.sessions[number].device)


def test_sessions_are_told_as_the_command_tells_them(held: Held) -> None:
    told = held.get("/sessions", access=held.reader)
    assert told["next"] is None
    asked = command("sessions", held.opened.path)
    assert [without(one, "age") for one in told["sessions"]] == [without(one, "age") for one in asked]
    assert [one["reported"] for one in told["sessions"]] == [2, 1, 0]
    whole = held.get("/sessions?properties=true")["sessions"]
    asked = command("sessions", held.opened.path, "--properties")
    assert [one["properties"] for one in whole] == [one["properties"] for one in asked]
    assert whole[0]["properties"]["battery"]["value"] == 86


def test_sessions_come_a_part_at_a_time(held: Held) -> None:
    first = held.get("/sessions?limit=2")
    assert [one["client_id"] for one in first["sessions"]] == [held.name(0), held.name(1)]
    rest = held.get(f"/sessions?limit=2&cursor={first['next']}")
    assert [one["client_id"] for one in rest["sessions"]] == [held.name(2)]
    assert rest["next"] is None


def test_sessions_by_each_filter(held: Held, store: Store) -> None:
    now = int(time.time())
    others = [
        session(held.opened, 10, "350000000000022", rule="lab"),
        session(held.opened, 11, "350000000000030", version=(1, 3)),
        session(held.opened, 12, "350000000000048", firmware="fw-2"),
        session(held.opened, 13, "350000000000055", epoch=7),
        session(held.opened, 14, "350000000000063", epoch=None),
        session(held.opened, 15, "350000000000071", established_at=now - 9_000),
        session(held.opened, 16, "350000000000089", expires_at=now - 1),
    ]
    from dpe_coap.messages import Version

    others[1] = session(held.opened, 11, "350000000000030", version=Version(1, 3))
    store.commit(others)

    def found(query: str) -> list[int]:
        told = held.get(f"/sessions?{query}")["sessions"]
        return [int(one["client_id"], 16) - held.sessions[0].client_id for one in told]

    assert found("rule=lab") == [10]
    assert found("version=1.3") == [11]
    assert found("firmware=fw-2") == [12]
    assert found("epoch=7") == [13]
    assert found("unknown_epoch=true") == [14]
    assert found("silent_for=8000") == [15]
    assert found("below_epoch=2&rule=lab") == [10]
    assert found("rule=none") == []
    assert 16 not in found(""), "it is over"


def test_one_session(held: Held) -> None:
    told = held.get(f"/sessions/{held.name(0)}", access=held.reader)
    (asked, *_) = command("sessions", held.opened.path)
    assert without(told, "age") == without(asked, "age")
    assert held.get(f"/sessions/{held.name(0).upper()}") == told | {"age": pytest.approx(told["age"], abs=9)}
    assert "no session holds this Client ID" in held.get("/sessions/00000000000000", status=404)["detail"]


def test_a_session_is_ended(held: Held) -> None:
    assert held.ask("DELETE", f"/sessions/{held.name(0)}").json() == {"sessions_ended": 1}
    held.ask("DELETE", f"/sessions/{held.name(0)}", status=404)
    assert [one["client_id"] for one in held.get("/sessions")["sessions"]] == [held.name(1), held.name(2)]
    assert acts(held) == [{"event": "session-ended", "device": named(held, 0), "why": "operator", "by": "access-ops"}]


def test_a_device_as_the_command_shows_it_but_for_the_imei(held: Held) -> None:
    told = held.get(f"/devices/{held.name(0)}", access=held.reader)
    asked = command("device", "show", held.opened.path, held.name(0))
    assert asked.pop("imei") == IMEIS[0]
    for one in (told, asked):
        one["session"].pop("age")
    assert without(told, "reporting", "why") == asked
    assert told["why"] == "its rule says so: DPE 1.x"
    assert any("battery" in line for line in told["reporting"])
    held.get("/devices/00000000000000", status=404)


def test_a_device_of_a_policy_with_a_fault(held: Held) -> None:
    held.opened.policy_path.write_text("wrong = 1\n")
    told = held.get(f"/devices/{held.name(0)}")
    assert told["policies"] is None
    assert told["why"] == "the policy of this server has a fault"
    for path in ("/policy", "/policy/explain?version=1.0&model=49015420"):
        assert held.get(path, status=409)["detail"] == "the policy of this server has a fault"
    held.ask("PUT", f"/devices/{held.name(0)}/override", json={"report": {}}, status=409)


def test_an_imei_is_shown_for_a_reason_that_is_kept(held: Held) -> None:
    path = f"/devices/{held.name(1)}/imei"
    assert held.ask("POST", path, json={"reason": " ticket 7 "}).json() == {"imei": IMEIS[1]}
    shown = {"event": "imei-shown", "device": named(held, 1), "reason": "ticket 7", "by": "access-ops"}
    assert acts(held) == [shown]
    held.ask("POST", path, json={"reason": "ticket 7"}, access=held.reader, status=403)
    for wrong in ({}, {"reason": ""}, {"reason": "  "}, {"reason": "a\nb"}, {"reason": "x" * 201}, {"reason": 1}):
        assert IMEIS[1] not in held.ask("POST", path, json=wrong, status=422).text
    held.ask("POST", "/devices/00000000000000/imei", json={"reason": "x"}, status=404)
    assert acts(held) == [shown]


def test_an_imei_is_not_shown_if_that_cannot_be_noted(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpe_server.operators.disclosing.note", lambda *_, **__: "the disk is full")
    answer = held.ask("POST", f"/devices/{held.name(1)}/imei", json={"reason": "x"}, status=503)
    assert answer.json()["detail"] == "not shown: the audit log could not be written"
    assert IMEIS[1] not in answer.text


def test_a_device_is_found_by_its_imei_for_a_reason(held: Held) -> None:
    told = held.ask("POST", "/devices/find", json={"imei": IMEIS[0], "reason": "ticket 8"}).json()
    assert told["session"]["client_id"] == held.name(0)
    assert IMEIS[0] not in json.dumps(told)
    noted = {"event": "device-looked-up", "device": named(held, 0), "reason": "ticket 8", "by": "access-ops"}
    assert acts(held) == [noted]
    unknown = held.ask("POST", "/devices/find", json={"imei": "35-000000-000009-7", "reason": "x"}).json()
    assert (unknown["session"], unknown["revoked"], unknown["why"]) == (None, False, "it has no session")
    wrong = held.ask("POST", "/devices/find", json={"imei": "490154203237519", "reason": "x"}, status=422)
    assert wrong.json()["faults"] == [
        {"where": "body.imei", "what": "not an IMEI: the check digit (the 15th) is wrong"}
    ]
    assert "49015" not in wrong.text


def test_revoked_and_lifted_by_client_id_and_by_imei(held: Held, store: Store) -> None:
    body = {"client_id": held.name(0), "reason": "stolen"}
    assert held.ask("POST", "/revoke", json=body | {"dry_run": True}).json() == {
        "devices": 1,
        "never_seen": 0,
        "dry_run": True,
        "sessions_ended": 1,
    }
    assert not held.opened.audit_path.exists()
    done = {"devices": 1, "never_seen": 0, "dry_run": False, "sessions_ended": 1}
    assert held.ask("POST", "/revoke", json=body).json() == done
    held.ask("POST", "/lift", json=body, status=404)
    assert held.ask("POST", "/lift", json={"imei": IMEIS[0]}).json() == {
        "devices": 1,
        "lifted": 1,
        "below_epoch": False,
        "dry_run": False,
    }
    who = {"device": named(held, 0), "by": "access-ops"}
    assert acts(held) == [
        {"event": "revoked", "reason": "stolen", **who},
        {"event": "session-ended", "why": "revoked", **who},
        {"event": "unrevoked", **who},
    ]
    told = held.ask("POST", "/revoke", json={"imei": IMEIS[1], "below_epoch": 3}).json()
    assert told == {"devices": 1, "never_seen": 0, "dry_run": False, "below_epoch": 3}
    assert held.get(f"/devices/{held.name(1)}")["minimum_epoch"] == 3
    assert held.ask("POST", "/lift", json={"client_id": held.name(1), "below_epoch": True}).json()["lifted"] == 1
    assert held.get(f"/devices/{held.name(1)}")["minimum_epoch"] == 0
    for wrong in ({}, {"client_id": held.name(1), "imei": IMEIS[1]}):
        assert held.ask("POST", "/revoke", json=wrong, status=422).json()["faults"][0]["where"] == "body"


def test_no_reason_with_an_imei_is_kept(held: Held) -> None:
    reason = f"it is {IMEIS[0][:6]} {IMEIS[0][6:]}"
    for method, path, body in (
        ("POST", "/revoke", {"client_id": held.name(0)}),
        ("POST", "/lift", {"imei": IMEIS[0]}),
        ("POST", "/devices/find", {"imei": IMEIS[0]}),
        ("POST", f"/devices/{held.name(0)}/imei", {}),
        ("PUT", f"/devices/{held.name(0)}/override", {"report": {}}),
    ):
        told = held.ask(method, path, json=body | {"reason": reason}, status=422).json()
        assert told["faults"][0] == {
            "where": "body.reason",
            "what": "the reason has an IMEI in it, and the audit log keeps none",
        }
    assert not held.opened.audit_path.exists()
    assert held.get(f"/devices/{held.name(0)}")["revoked"] is False


def test_a_device_reports_by_policies_of_its_own(held: Held, store: Store) -> None:
    path = f"/devices/{held.name(0)}/override"
    body = {"report": {"battery": {"pmin": 5}}}
    told = held.ask("PUT", path, json=body | {"dry_run": True}).json()
    assert told == {"policies": {"battery": {"pmin": 5}}, "dry_run": True}
    assert list(store.measures()) == []
    held.ask("PUT", path, json=body | {"reason": "trial"})
    (measure,) = store.measures()
    assert isinstance(measure, OverridePolicies)
    shown = held.get(f"/devices/{held.name(0)}")
    assert (shown["override"], shown["policies"]) == (True, {"battery": {"pmin": 5}})
    assert shown["why"] == "an operator has set policies of its own"
    assert held.ask("DELETE", path).json() == {"cleared": True, "rule": "DPE 1.x", "dry_run": False}
    assert held.ask("DELETE", path).json()["cleared"] is False
    who = {"device": named(held, 0), "by": "access-ops"}
    assert acts(held) == [{"event": "policies-set", "reason": "trial", **who}, {"event": "policies-cleared", **who}]
    wrong = held.ask("PUT", path, json={"report": {"batery": {}, "battery": {"pmin": -1}}}, status=422).json()
    assert [fault["where"] for fault in wrong["faults"]] == ["body", "body"]
    assert 'did you mean "battery"?' in wrong["faults"][0]["what"] + wrong["faults"][1]["what"]
    never: Any
    for never in (
        {"report": 1},
        {"report": {"battery": None}},
        {"report": {"\ud800": {}}},
        {"report": {"x" * 9_000: {}}},
    ):
        held.ask("PUT", path, content=json.dumps(never), headers={"Content-Type": "application/json"}, status=422)


def test_the_policy_and_what_it_says(held: Held) -> None:
    told = held.get("/policy", access=held.reader)
    assert told == without(command("policy", "check", held.opened.path), "file")
    said = held.get(f"/policy/explain?version=1.0&model={IMEIS[0][:8]}&firmware=4.2&x25519=true")
    options = ("--imei", IMEIS[0], "--version", "1.0", "--firmware", "4.2", "--x25519")
    assert said == command("policy", "explain", held.opened.path, *options)
    assert said["steps"][-1]["matched"] is True
    held.get("/policy/explain?version=1.0", status=422)
    held.get("/policy/explain?version=1.999&model=49015420", status=422)
    held.get(f"/policy/explain?version=1.0&model={IMEIS[0]}", status=422)


def test_what_holds_before_the_policy(held: Held) -> None:
    CliRunner().invoke(main, ["keys", "rotate", "master", str(held.opened.path)])
    command("keys", "minimum-epoch", held.opened.path, 2)
    said = held.get("/policy/explain?version=1.0&model=49015420")
    assert said["before"] == "a credential below epoch 2 gets the status reprovision"


def test_the_audit_log_newest_first(held: Held) -> None:
    for number in range(3):
        held.ask("DELETE", f"/sessions/{held.name(number)}")
    told = held.get("/audit?limit=2", access=held.reader)
    assert [line["device"] for line in told["lines"]] == [named(held, 2), named(held, 1)]
    rest = held.get(f"/audit?limit=2&cursor={told['next']}")
    assert [line["device"] for line in rest["lines"]] == [named(held, 0)]
    assert rest["next"] is None
    assert [line["device"] for line in held.get(f"/audit?device={named(held, 1)}")["lines"]] == [named(held, 1)]
    assert held.get("/audit?event=revoked")["lines"] == []
    assert held.get("/audit?cursor=1-1", status=410)["hint"] == "begin anew, without cursor"


def test_there_need_be_no_audit_log_yet(held: Held) -> None:
    assert held.get("/audit") == {"lines": [], "next": None}


def test_health_is_told_to_everybody_and_says_nothing_else(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    assert held.get("/health", access=None) == {"status": "ok"}
    assert held.ask("HEAD", "/health", access=None).content == b""
    held.opened.store_path.unlink()
    assert held.get("/health", access=None) == {"status": "ok"}, "for a second it holds"
    monkeypatch.setattr(time, "monotonic", lambda: 10**9)
    answer = held.ask("GET", "/health", access=None, status=503)
    assert answer.headers["Retry-After"] == "2"
    assert str(held.opened.path) not in answer.text


def test_the_name_of_a_device_is_that_of_its_imei(held: Held, store: Store) -> None:
    held.ask("POST", "/revoke", json={"imei": IMEIS[2]})
    device = held.opened.at_rest.device_id(Imei.parse(IMEIS[2]))
    assert store.look(Questions(restrictions={device})).restrictions[device].revoked
