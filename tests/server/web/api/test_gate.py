"""Who may ask the HTTP API, what is refused, and that every refusal is a problem which shows nothing."""

import asyncio
import json
import time
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from dpe_server.operation.access import COARSE, Role
from dpe_server.web.api import context, gate
from dpe_server.web.api.gate import Gate, WrongOnes
from dpe_server.web.api.problems import Problem
from dpe_server.web.app import build
from tests.server.web.api.held import Held
from tests.server.web.sites import site_of

WRONG = "dpe_" + "0" * 64
JSON = {"Content-Type": "application/json"}


def is_problem(held: Held, answer: Any, status: int) -> Any:
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = answer.json()
    assert (told["type"], told["status"]) == ("about:blank", status)
    assert told["title"]
    assert told["detail"]
    assert told["hint"]
    assert [one for one in held.hidden if one in answer.text] == []
    return told


def test_without_an_access_token_nothing_is_told(held: Held) -> None:
    for path in ("/sessions", "/changes", "/policy", "/no-such-thing"):
        answer = held.ask("GET", path, access=None, status=401)
        is_problem(held, answer, 401)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="dpe"'
    assert held.ask("GET", "/openapi.json", access=None).json()["openapi"].startswith("3.1")


def test_a_wrong_one_is_refused_and_so_is_one_that_has_expired_or_was_revoked(held: Held) -> None:
    _, old = held.opened.access.create("old", Role.READER, int(time.time()) - 10, 5)
    for text in (WRONG, old, held.reader.upper(), held.reader[:-1], ""):
        answer = held.ask("GET", "/sessions", access=None, headers={"Authorization": f"Bearer {text}"}, status=401)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="dpe", error="invalid_token"'
        assert is_problem(held, answer, 401)["detail"].endswith("it is wrong, has expired or was revoked")
    held.get("/sessions", access=held.reader)
    held.opened.access.revoke("billing")
    held.get("/sessions", access=held.reader, status=401)


def test_another_scheme_or_place_does_not_count(held: Held) -> None:
    for headers in ({"Authorization": f"Basic {held.reader}"}, {"Authorization": held.reader}):
        held.get("/sessions", access=None, headers=headers, status=401)
    held.get(f"/sessions?access_token={held.reader}", access=None, status=401)
    held.get("/sessions", access=None, headers={"authorization": f"bearer  {held.reader}"})


def test_the_cookie_of_the_page_does_not_open_it(held: Held) -> None:
    entered = held.site.door.enter(held.site.door.new_link())
    assert entered is not None
    for name in ("dpe", "__Host-dpe", "session"):
        held.get("/sessions", access=None, headers={"Cookie": f"{name}={entered[0]}"}, status=401)


def test_a_reader_may_read_and_nothing_else(held: Held) -> None:
    for method, path in (
        ("DELETE", f"/sessions/{held.name(0)}"),
        ("POST", "/revoke"),
        ("POST", "/devices/find"),
        ("PUT", f"/devices/{held.name(0)}/override"),
    ):
        answer = held.ask(method, path, access=held.reader, status=403)
        assert "operator" in is_problem(held, answer, 403)["detail"]
    assert len(held.get("/sessions", access=held.reader)["sessions"]) == 3


def test_nobody_changes_anything_where_it_is_read_only(held: Held) -> None:
    site = site_of(held.opened, Role.READER)
    client = TestClient(build(site), base_url="http://127.0.0.1")
    headers = {"Authorization": f"Bearer {held.operator}"}
    answer = client.delete(f"/api/v1/sessions/{held.name(0)}", headers=headers)
    assert "--read-only" in is_problem(held, answer, 403)["hint"]
    assert client.get(f"/api/v1/sessions/{held.name(0)}", headers=headers).status_code == 200
    site.stores.close()


async def answered(app: Gate, access: str, method: str, body: list[Message] | None = None, **headers: str) -> list[Any]:
    """Have an application answer without anything around it."""
    sent: list[Any] = []
    messages = body or [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": method,
        "path": "/x",
        "root_path": "",
        "client": ("192.0.2.1", 1),
        "headers": [(b"authorization", f"Bearer {access}".encode())]
        + [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    return sent


def test_wrong_ones_are_slowed_down_and_right_ones_always_come_in(held: Held) -> None:
    for _ in range(gate.WRONG):
        held.get("/sessions", access=WRONG, status=401)
    answer = held.ask("GET", "/sessions", access=WRONG, status=429)
    assert 1 <= int(answer.headers["Retry-After"]) <= gate.PAUSE + 1
    is_problem(held, answer, 429)
    held.get("/sessions", access=held.reader)
    held.get("/sessions", access=None, status=401)


def test_how_many_wrong_ones_an_address_may_show() -> None:
    now = [0.0]
    wrong = WrongOnes(lambda: now[0])
    assert [wrong.wait("192.0.2.1") for _ in range(gate.WRONG + 1)] == [0.0] * gate.WRONG + [gate.PAUSE]
    assert wrong.wait("192.0.2.2") == 0
    now[0] = gate.PAUSE
    assert wrong.wait("192.0.2.1") == 0
    assert wrong.wait("192.0.2.1") > 0
    now[0] = 10_000
    assert [wrong.wait("192.0.2.1") for _ in range(gate.WRONG)] == [0.0] * gate.WRONG


def test_addresses_of_one_network_count_together_and_not_too_many_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = WrongOnes(lambda: 0.0)
    for number in range(gate.WRONG):
        assert wrong.wait(f"2001:db8::{number:x}") == 0
    assert wrong.wait("2001:db8::ffff") > 0
    assert wrong.wait("2001:db8:0:1::1") == 0
    monkeypatch.setattr(gate, "ADDRESSES", 2)
    assert wrong.wait("192.0.2.1") == wrong.wait("192.0.2.2") == 0
    assert len(wrong._until) == 2 or wrong.wait("not an address") == 0


def test_when_it_was_last_used_is_kept(held: Held) -> None:
    held.get("/sessions", access=held.reader)
    (used,) = (one.used_at for one in held.opened.access.all() if one.name == "billing")
    assert used is not None
    assert used % COARSE == 0


def test_if_the_access_tokens_cannot_be_read_nobody_comes_in(held: Held) -> None:
    (held.opened.path / "access.json").write_text("{")
    is_problem(held, held.ask("GET", "/sessions", status=503), 503)


def test_what_is_not_there_and_what_is_not_done(held: Held) -> None:
    is_problem(held, held.ask("GET", "/no-such-thing", status=404), 404)
    answer = held.ask("PATCH", "/sessions", status=405)
    is_problem(held, answer, 405)
    assert answer.headers["Allow"] == "GET"
    is_problem(held, held.ask("GET", "/sessions/", status=404), 404)
    is_problem(held, held.ask("GET", "/a%0Ab", status=404), 404)
    is_problem(held, held.ask("GET", "/sessions/a%0Ab", status=422), 422)


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=1", "application/json;q=0", "application/json;q=x"])
def test_who_does_not_accept_json_gets_none(held: Held, accept: str) -> None:
    answer = held.ask("GET", "/sessions", headers={"Accept": accept}, status=406)
    assert "application/json" in is_problem(held, answer, 406)["detail"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/event-stream"),
        ("text/event-stream, application/json;q=0.5", "text/event-stream"),
        ("text/event-stream;q=0.1, application/*", "application/json"),
        ("application/json;q=0, */*", "text/event-stream"),
    ],
)
def test_what_a_client_accepts_most(accept: str, chosen: str) -> None:
    from starlette.requests import Request

    request = Request({"type": "http", "headers": [(b"accept", accept.encode())]})
    assert context.accepts(request, "application/json", "text/event-stream") == chosen
    with pytest.raises(Problem):
        context.accepts(Request({"type": "http", "headers": [(b"accept", b"image/png")]}), "application/json")


def test_a_body_is_json_and_says_so(held: Held) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = held.ask("POST", "/revoke", content=b"{}", headers={"Content-Type": kind}, status=415)
        is_problem(held, answer, 415)
    for text in (b"{", b"\xff", b"[" * 9_000, b'{"client_id": NaN, "x": ' + b"9" * 5_000 + b"}"):
        answer = held.ask("POST", "/revoke", content=text, headers=JSON, status=400)
        is_problem(held, answer, 400)
    value: Any
    for value in ([], None, 1, "x", {"client_id": 1}, {"imei": "x" * 99}, {"client_id": "\ud800"}, {"dry_run": "yes"}):
        answer = held.ask("POST", "/revoke", content=json.dumps(value), headers=JSON, status=422)
        assert is_problem(held, answer, 422)["faults"]


def test_a_fault_shows_no_name_that_only_the_sender_knows(held: Held) -> None:
    answer = held.ask("POST", "/revoke", json={"490154203237518": 1, "a b": 2}, status=422)
    assert [fault["where"] for fault in is_problem(held, answer, 422)["faults"]] == ["body.…", "body.…"]
    answer = held.ask("GET", "/sessions?limit=0&version=x&silent_for=-1", status=422)
    assert [one["where"] for one in is_problem(held, answer, 422)["faults"]] == [
        "query.version",
        "query.silent_for",
        "query.limit",
    ]


def test_a_body_is_not_too_long(held: Held) -> None:
    body = json.dumps({"report": {"x": "y" * gate.LONGEST}})
    path = f"/devices/{held.name(0)}/override"
    is_problem(held, held.ask("PUT", path, content=body, headers=JSON, status=413), 413)
    for length in ("9" * 5_000, "-1", "x"):
        headers = JSON | {"Content-Length": length}
        is_problem(held, held.ask("PUT", path, content=b"{}", headers=headers, status=413), 413)
    pieces = (body[at : at + 1000].encode() for at in range(0, len(body), 1000))
    is_problem(held, held.ask("PUT", path, content=pieces, headers=JSON, status=413), 413)


def test_a_body_comes_soon_and_whole(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was let in")

    monkeypatch.setattr(gate, "PATIENCE", 0.01)
    open_to = Gate(inner, held.opened.access, read_only=False)
    begun: Message = {"type": "http.request", "body": b"{", "more_body": True}
    sent = asyncio.run(answered(open_to, held.operator, "POST", [begun], content_length="9"))
    assert sent[0]["status"] == 408
    sent = asyncio.run(
        answered(open_to, held.operator, "POST", [begun, {"type": "http.disconnect"}], content_length="9")
    )
    assert sent[0]["status"] == 400


def test_a_defect_is_told_without_its_text(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"{held.reader} {held.opened.path}")

    monkeypatch.setattr("dpe_server.operators.searching.search", broken)
    is_problem(held, held.ask("GET", "/sessions", status=500), 500)


def test_a_store_that_does_not_answer_is_not_the_clients_fault(held: Held) -> None:
    held.opened.store_path.write_bytes(b"no database" * 100)
    for path in ("/sessions", f"/devices/{held.name(0)}", "/changes"):
        answer = held.ask("GET", path, status=503)
        is_problem(held, answer, 503)
        assert answer.headers["Retry-After"] == "2"


def test_no_answer_is_kept_by_anybody_on_the_way(held: Held) -> None:
    for path in ("/sessions", "/changes", "/no-such-thing"):
        answer = held.client.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {held.operator}"})
        assert answer.headers["Cache-Control"] == "no-store"
