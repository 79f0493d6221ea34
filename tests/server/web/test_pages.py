"""What the pages show and do."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dpe_coap.messages import Version
from dpe_server.keys.at_rest import device_text
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import searching
from dpe_server.store.contract import Revoke, Session, Store, StoreError
from dpe_server.store.questions import Questions
from dpe_server.web.site import Site
from tests.audit import lines, locked
from tests.server.web.conftest import IMEI, POLICY

Put = Callable[..., Session]
Post = Callable[..., Any]


def text_of(html: str) -> str:
    """Return what a person reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def events(opened: StateDir) -> list[dict[str, Any]]:
    """Return what the audit log has, but for the login."""
    return [line for line in lines(opened.audit_path) if line["event"] != "web-login"]


def look(opened: StateDir, asked: Callable[[Store], Any]) -> Any:
    with closing(opened.open_store()) as store:
        return asked(store)


# -- sessions --


def test_sessions_are_listed_and_searched(client: TestClient, put: Put) -> None:
    put(0x10000000000000)
    put(0x20000000000000, version=Version(1, 3), rule="lab", firmware=None)
    put(0x21000000000000, established_at=int(time.time()) - 90_000, seen_at=None, firmware="5.0 <b>")

    def found(**asked: str) -> list[str]:
        return re.findall(r'href="/devices/([0-9a-f]{14})"', client.get("/sessions", params=asked).text)

    everything = ["10000000000000", "20000000000000", "21000000000000"]
    assert found() == everything
    assert found(id="2") == everything[1:]
    assert found(id="20000000000000") == everything[1:2]
    assert found(id="A") == []
    assert found(version="1.3") == everything[1:2]
    assert found(rule="lab") == everything[1:2]
    assert found(firmware="4.2") == everything[:1]
    assert found(silent="1d") == everything[2:]
    assert found(rule="lab", version="1.0") == []
    assert found(after="10000000000000") == everything[1:]
    assert found(id="1", after="10000000000000") == []
    page = client.get("/sessions").text
    assert "5.0 &lt;b&gt;" in page
    assert "3 sessions looked at." in text_of(page)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"version": "one"}, "major.minor"),
        ({"silent": "long"}, "a duration is a number with s, min, h or d"),
        ({"id": "xyz"}, "14 hex digits"),
        ({"after": "-1"}, "14 hex digits"),
    ],
)
def test_what_cannot_be_searched_for_is_told(client: TestClient, asked: dict[str, str], told: str) -> None:
    answer = client.get("/sessions", params=asked)
    assert answer.status_code == 400
    assert told in answer.text


def test_a_search_goes_on_from_page_to_page(client: TestClient, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpe_server.web.pages.sessions.AT_ONCE", 2)
    for number in range(5):
        put(number)
    seen, path = [], "/sessions"
    while path:
        page = client.get(path).text
        seen += re.findall(r'href="/devices/([0-9a-f]{14})"', page)
        following = re.search(r'href="(/sessions\?[^"]*)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == [f"{number:014x}" for number in range(5)]


def test_a_search_without_a_find_can_be_gone_on_with(
    client: TestClient, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "AT_ONCE", 2)
    monkeypatch.setattr(searching, "ROUNDS", 1)
    for number in range(5):
        put(number, rule="rare" if number == 4 else "everyone")
    page = client.get("/sessions", params={"rule": "rare"}).text
    assert "None among these." in page
    assert "Search on" in page
    following = re.search(r'href="(/sessions\?[^"]*)"', page)
    assert following is not None
    assert "2 sessions looked at; there are more" in text_of(page)
    assert "None among these." in client.get(following[1].replace("&amp;", "&")).text


# -- a device --


def test_a_device_is_shown_without_its_imei(client: TestClient, put: Put, opened: StateDir) -> None:
    session = put(1, imei=IMEI, seen_at=int(time.time()) - 10)
    answer = client.get("/devices/00000000000001")
    told = text_of(answer.text)
    assert IMEI not in answer.text
    assert answer.text.count(device_text(session.device)) >= 1
    for part in ("ESTABLISHED", "battery", "86 %", "plain", "4.2", "line 6", "when it changes, at least every 3600 s"):
        assert part in told
    assert events(opened) == []


def test_a_device_that_is_not_there(client: TestClient) -> None:
    for name in ("00000000000001", "0000000000000g", "1", "0" * 31):
        answer = client.get(f"/devices/{name}")
        assert answer.status_code == 404
        assert "What" not in answer.text
    assert "without a session" in client.get(f"/devices/{'0' * 32}").text
    assert client.get("/devices/00000000000001/nothing").status_code == 404


def test_a_session_whose_rule_is_gone_says_so(client: TestClient, put: Put) -> None:
    put(1, rule="of last year")
    assert "The policy has no such rule any more" in client.get("/devices/00000000000001").text


def test_a_policy_with_a_fault_hides_no_device(client: TestClient, put: Put, opened: StateDir) -> None:
    put(1)
    opened.policy_path.write_text("[[rule]]\naction = 'perhaps'\n")
    page = client.get("/devices/00000000000001")
    assert page.status_code == 200
    assert "86 %" in page.text
    assert "The policy file has a fault." in page.text
    assert "perhaps" in client.get("/policy").text


# -- acts --


def test_every_act_asks_first_and_changes_nothing(client: TestClient, put: Put, opened: StateDir) -> None:
    session = put(1)
    for act in ("end", "revoke", "lift", "override", "clear", "imei"):
        answer = client.get(f"/devices/00000000000001/{act}")
        assert answer.status_code == 200
        assert "?</h1>" in answer.text
        assert 'method="post"' in answer.text
    assert look(opened, lambda store: store.session(1)) == session
    assert events(opened) == []


def test_a_session_is_ended(client: TestClient, put: Put, opened: StateDir, post: Post) -> None:
    session = put(1)
    answer = post("/devices/00000000000001/end")
    assert answer.status_code == 303
    assert look(opened, lambda store: store.session(1)) is None
    (line,) = events(opened)
    assert (line["event"], line["why"], line["device"]) == ("session-ended", "operator", device_text(session.device))
    assert re.fullmatch("page-[0-9a-f]{8}", line["by"])
    assert "A device without a session" in client.get(answer.headers["location"]).text
    assert post("/devices/00000000000001/end").status_code == 404
    assert '"end"' in opened.journal_path.read_text()


def test_a_device_is_revoked_and_lifted(client: TestClient, put: Put, opened: StateDir, post: Post) -> None:
    session = put(1)
    place = post("/devices/00000000000001/revoke").headers["location"]

    def revoked(store: Store) -> bool:
        return store.look(Questions(restrictions={session.device})).restrictions[session.device].revoked

    assert look(opened, revoked)
    page = client.get(place)
    assert "Lift the revocation" in page.text
    assert "revoked" in text_of(page.text)
    assert post(f"/devices/{session.device.hex()}/lift").status_code == 303
    assert "Revoke the device" in client.get(place).text
    told = events(opened)
    assert [line["event"] for line in told] == ["revoked", "session-ended", "unrevoked"]
    assert {line["device"] for line in told} == {device_text(session.device)}
    assert len({line["by"] for line in told}) == 1
    post(f"/devices/{session.device.hex()}/lift")  # it is not revoked any more
    assert len(events(opened)) == 3


def test_policies_of_its_own_are_set_and_cleared(client: TestClient, put: Put, opened: StateDir, post: Post) -> None:
    put(1)
    assert post("/devices/00000000000001/override", report="[report]\nsignal = { pmax = 60 }\n").status_code == 303
    page = text_of(client.get("/devices/00000000000001").text)
    assert "signal (dBm): when it changes, at least every 60 s" in page
    assert "An operator has set these policies" in page
    assert post("/devices/00000000000001/clear").status_code == 303
    assert "battery (%): when it changes" in text_of(client.get("/devices/00000000000001").text)
    assert [line["event"] for line in events(opened)] == ["policies-set", "policies-cleared"]
    assert all(line["by"].startswith("page-") for line in events(opened))


def test_policies_with_a_fault_are_told_and_kept_in_the_form(
    client: TestClient, put: Put, opened: StateDir, post: Post
) -> None:
    put(1)
    answer = post("/devices/00000000000001/override", report="[report]\nbatery = {}\n<script>")
    assert answer.status_code == 400
    assert "report" in text_of(answer.text)
    assert "&lt;script&gt;" in answer.text
    answer = post("/devices/00000000000001/override", report="[report.battery]\nstt = 5\n")
    assert answer.status_code == 400
    assert "stt" in answer.text
    assert events(opened) == []


def test_an_imei_is_shown_with_a_reason_which_is_noted(
    client: TestClient, put: Put, opened: StateDir, post: Post
) -> None:
    session = put(1, imei=IMEI)
    for reason in ("", "   ", "x" * 201, "two\nlines"):
        answer = post("/devices/00000000000001/imei", reason=reason)
        assert answer.status_code == 400
        assert IMEI not in answer.text
        assert "a reason is needed" in answer.text
    assert events(opened) == []
    answer = post("/devices/00000000000001/imei", reason="it was reported stolen, case 7")
    assert f"{IMEI}8" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    (line,) = events(opened)
    assert (line["event"], line["reason"]) == ("imei-shown", "it was reported stolen, case 7")
    assert line["device"] == device_text(session.device)
    assert line["by"].startswith("page-")
    assert IMEI not in opened.audit_path.read_text()


def test_no_imei_is_shown_that_cannot_be_noted(
    client: TestClient, put: Put, opened: StateDir, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpe_server.operation.audit.PATIENCE", 0.05)
    put(1, imei=IMEI)
    with locked(opened.audit_path):
        answer = post("/devices/00000000000001/imei", reason="a reason")
    assert answer.status_code == 400
    assert IMEI not in answer.text
    assert "the audit log could not be written" in answer.text


def test_a_device_is_found_by_its_imei(client: TestClient, put: Put, opened: StateDir, post: Post) -> None:
    session = put(1, imei=IMEI)
    answer = post("/find", imei="490154203237518", reason="a call")
    assert answer.headers["location"] == f"/devices/{session.device.hex()}"
    assert "00000000000001" in client.get(answer.headers["location"]).text
    (line,) = events(opened)
    assert (line["event"], line["reason"]) == ("device-looked-up", "a call")
    for imei, reason in (("490154203237519", "a call"), ("4901542032375", "a call"), (IMEI, "")):
        answer = post("/find", imei=imei, reason=reason)
        assert answer.status_code == 400
        assert imei not in answer.text
    assert len(events(opened)) == 1


# -- policy --


def test_the_policy_is_shown_and_explains_itself(client: TestClient, opened: StateDir) -> None:
    told = text_of(client.get("/policy").text)
    assert "withdrawn line 1 TAC 35209900 refuse" in told
    assert "for every request" not in told
    told = text_of(client.get("/policy", params={"version": "1.0", "tac": "35209900"}).text)
    assert "withdrawn line 1 matches TAC 35209900: refuse" in told
    told = text_of(client.get("/policy", params={"version": "1.0", "tac": "49015420", "firmware": "4.2"}).text)
    assert "TAC 49015420 does not begin with 35209900" in told
    assert "everyone line 6 matches every request: accept" in told
    assert "battery (%): when it changes, at least every 3600 s" in told


@pytest.mark.parametrize(("asked", "told"), [({"version": "x"}, "major.minor"), ({"tac": "123"}, "first 8 digits")])
def test_what_the_policy_cannot_be_asked_is_told(client: TestClient, asked: dict[str, str], told: str) -> None:
    answer = client.get("/policy", params={"version": "1.0", **asked})
    assert answer.status_code == 400
    assert told in answer.text


def test_a_policy_that_has_changed_is_read_again(client: TestClient, opened: StateDir) -> None:
    assert "withdrawn" in client.get("/policy").text
    opened.policy_path.write_text(POLICY.replace("withdrawn", "taken back"))
    page = client.get("/policy").text
    assert "taken back" in page
    assert "withdrawn" not in page


def test_how_often_rules_have_decided_is_counted_in_the_audit_log_without_metrics(
    client: TestClient, opened: StateDir
) -> None:
    line = '{"time":"2026-01-01T00:00:00.000+00:00","event":"response","status":"ok","rule":"everyone"}\n'
    with opened.audit_path.open("a") as file:
        file.write(3 * line + line.replace("everyone", "default"))
    told = text_of(client.get("/policy").text)
    assert "no reports 3" in told or "reports of battery 3" in told
    assert "every request refuse 1" in told
    assert "among the last 4 RESPONSEs of the audit log" in told


# -- audit log, health, overview --


def test_the_audit_log_is_shown_filtered_and_paged(
    client: TestClient, opened: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpe_server.web.pages.audit.AT_ONCE", 2)
    with opened.audit_path.open("a") as file:
        for number in range(5):
            event = "established" if number % 2 else "response"
            file.write(
                f'{{"time":"2026-01-01T00:00:0{number}.000+00:00","event":"{event}","device":"{"a" * 16}",'
                f'"registration":{2**60 + number},"client_id":"{"c" * 14}","rule":"<i>"}}\n'
            )

    def numbers(page: str) -> list[int]:
        return [int(number) - 2**60 for number in re.findall(r"/audit\?registration=(\d+)", page)]

    page = client.get("/audit").text
    assert numbers(page) == [4, 3]
    assert "&lt;i&gt;" in page
    older = re.search(r'class="button" href="(/audit\?[^"]*)"', page)
    assert older is not None
    page = client.get(older[1].replace("&amp;", "&")).text
    assert numbers(page) == [2, 1]
    assert 'id="log"' not in page  # what comes has no place there
    assert numbers(client.get("/audit", params={"event": "established"}).text) == [3, 1]
    assert numbers(client.get("/audit", params={"registration": str(2**60 + 2)}).text) == [2]
    assert numbers(client.get("/audit", params={"device": "b" * 16}).text) == []
    assert numbers(client.get("/audit", params={"id": "C" * 14}).text) == [4, 3]
    assert "No line fits." in client.get("/audit", params={"event": "nothing"}).text
    assert client.get("/audit", params={"registration": "x"}).status_code == 400
    assert client.get("/audit", params={"before": "x"}).status_code == 400
    assert client.get("/audit", params={"before": "1-1"}).status_code == 404


def test_what_is_wrong_is_shown(client: TestClient, opened: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nothing that was found." in client.get("/").text
    opened.policy_path.write_text("[[rule]]\n")
    assert "Nothing that was found." in client.get("/").text  # an examination is good for a while
    monkeypatch.setattr("dpe_server.web.findings.KEPT", 0.0)
    page = client.get("/").text
    assert "Nothing that was found." not in page
    assert "action" in page
    page = client.get("/health").text
    assert page.index("dot fail") < page.index("dot ok")


# -- faults --


def test_a_store_that_does_not_answer_is_told(
    client: TestClient, put: Put, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk gives errors", hint="look in the system's log for the cause")

    monkeypatch.setattr("dpe_server.store.sqlite.store.SqliteStore.next_listed", fail)
    answer = client.get("/sessions")
    assert answer.status_code == 503
    assert "The database does not answer: the disk gives errors" in answer.text.replace("&#39;", "'")
    monkeypatch.undo()
    assert client.get("/sessions").status_code == 200


def test_a_defect_is_told_without_anything_of_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("dpe_server.web.pages.sessions.search", fail)
    answer = client.get("/sessions")
    assert answer.status_code == 500
    assert "Something went wrong here that should not." in answer.text
    assert "secret of the house" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"]
    logged = "".join(capfd.readouterr())
    assert "a page failed" in logged
    assert "test_pages" in logged
    assert "secret of the house" not in logged


def test_a_database_that_was_put_back_is_opened_again(client: TestClient, put: Put, opened: StateDir) -> None:
    put(1)
    assert "00000000000001" in client.get("/sessions").text
    copy = opened.path / "copy"
    copy.write_bytes(opened.store_path.read_bytes())
    copy.chmod(0o600)
    for name in ("-wal", "-shm"):
        beside = Path(f"{opened.store_path}{name}")
        if beside.exists():
            beside.unlink()
    copy.replace(opened.store_path)
    put(2)
    assert "00000000000002" in client.get("/sessions").text


def test_a_revocation_by_a_command_is_seen_at_once(client: TestClient, put: Put, opened: StateDir) -> None:
    session = put(1)
    look(opened, lambda store: store.commit([Revoke(session.device, 1)]))
    assert client.get("/devices/00000000000001").status_code == 404
    assert "Lift the revocation" in client.get(f"/devices/{session.device.hex()}").text
