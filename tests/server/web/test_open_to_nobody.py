"""What stands before every page: the host, the cookie, the origin of a form, and the headers of every answer."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.web.door import Role
from dpe_server.web.headers import HEADERS, LARGEST
from dpe_server.web.pages import ROUTES
from dpe_server.web.site import Site
from tests.audit import lines
from tests.server.web.conftest import HOST, client_of, come_in

PATHS = {"{name}": "00000000000001", "{act}": "end"}


def path_of(route: Route) -> str:
    return re.sub(r"\{\w+\}", lambda found: PATHS[found[0]], route.path)


def routes(method: str) -> list[str]:
    found = [path_of(route) for route in ROUTES if isinstance(route, Route) and method in (route.methods or ())]
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("path", [path for path in routes("GET") if path != "/login"])
def test_no_page_is_open_to_who_has_not_come_in(stranger: TestClient, put: Callable[..., Session], path: str) -> None:
    put(1)
    answer = stranger.get(path)
    assert answer.status_code == 401
    assert "login link" in answer.text
    assert "00000000000001" not in answer.text
    stranger.cookies.set("dpe-8064", "guessed")
    assert stranger.get(path).status_code == 401


@pytest.mark.parametrize("path", routes("POST"))
def test_no_form_is_taken_from_who_has_not_come_in(stranger: TestClient, path: str) -> None:
    assert stranger.post(path, headers={"Origin": HOST}).status_code == 401


@pytest.mark.parametrize("path", routes("POST"))
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:8065"},
        {"Origin": "null"},
        {"Origin": HOST, "Sec-Fetch-Site": "cross-site"},
        {"Origin": HOST, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_no_form_of_another_site_is_taken(
    client: TestClient, opened: StateDir, put: Callable[..., Session], path: str, headers: dict[str, str]
) -> None:
    put(1)
    del client.headers["Origin"]
    answer = client.post(path, data={"form_token": client.form_token, "reason": "x"}, headers=headers)  # type: ignore[attr-defined]
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert [line["event"] for line in lines(opened.audit_path)] == ["web-login"]


@pytest.mark.parametrize("path", routes("POST"))
def test_a_form_that_names_neither_its_origin_nor_its_site_is_not_taken(client: TestClient, path: str) -> None:
    del client.headers["Origin"]
    assert client.post(path, data={"form_token": client.form_token}).status_code == 403  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", routes("POST"))
@pytest.mark.parametrize("token", [{}, {"form_token": ""}, {"form_token": "guessed"}, {"form_token": "é"}])
def test_no_form_without_the_visitors_own_token_is_taken(
    client: TestClient, opened: StateDir, path: str, token: dict[str, str]
) -> None:
    answer = client.post(path, data={"reason": "x", **token})
    assert answer.status_code == 403
    assert "earlier visit" in answer.text
    assert [line["event"] for line in lines(opened.audit_path)] == ["web-login"]


def test_a_reader_may_not_act(make_site: Callable[..., Site], opened: StateDir, put: Callable[..., Session]) -> None:
    put(1)
    site = make_site(Role.READER)
    client = client_of(site)
    token = come_in(site, client)
    page = client.get("/devices/00000000000001")
    assert page.status_code == 200
    assert "End the session" not in page.text
    for path in routes("POST"):
        if path == "/logout":
            continue
        answer = client.post(path, data={"form_token": token, "reason": "x"}, headers={"Origin": HOST})
        assert answer.status_code == 403
        assert "look, and not act" in answer.text
    for act in ("end", "revoke", "imei"):
        assert client.get(f"/devices/00000000000001/{act}").status_code == 403
    assert [line["role"] for line in lines(opened.audit_path)] == ["reader"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8064", 200),
        ("localhost:1", 200),
        ("LOCALHOST", 200),
        ("[::1]:8064", 200),
        ("192.0.2.7", 200),
        ("evil.example", 421),
        ("evil.example:8064", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("user@127.0.0.1", 421),
        ("127.0.0.1/x", 421),
        ("", 421),
    ],
)
def test_only_this_host_is_answered(client: TestClient, host: str, status: int) -> None:
    cookies = {"dpe-8064": client.cookies["dpe-8064"]}
    cookies |= {f"dpe-{port}": cookies["dpe-8064"] for port in ("1", "80")}
    client.cookies.clear()
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = client.get("/find", headers={"Host": host, "Cookie": header})
    assert answer.status_code == status


def test_a_proxy_that_is_named_is_this_host_and_has_a_secure_cookie(make_site: Callable[..., Site]) -> None:
    site = make_site(origins=("https://dpe.example",), secure=True)
    client = client_of(site)
    answer = client.get("/login", params={"secret": site.door.new_link()}, headers={"Host": "dpe.example"})
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-dpe=")
    assert {"httponly", "secure", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    (stay,) = site.door._stays.values()
    sent = {"Host": "dpe.example", "Origin": "https://dpe.example"}
    sent["Cookie"] = answer.headers["set-cookie"].split(";")[0]
    assert client.post("/logout", data={"form_token": stay.visitor.form_token}, headers=sent).status_code == 303


def test_the_cookie_is_strict_and_not_for_scripts(site: Site, stranger: TestClient) -> None:
    answer = stranger.get("/login", params={"secret": site.door.new_link()})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("dpe-8064=")
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/sessions", "/nothing", "/static/style.css", "/static/nothing", "/login"])
@pytest.mark.parametrize("came_in", [True, False])
def test_every_answer_has_its_headers(client: TestClient, path: str, came_in: bool) -> None:
    if not came_in:
        client.cookies.clear()
    answer = client.get(path)
    for name, value in HEADERS.items():
        if path == "/static/style.css" and name == "Cache-Control":
            continue
        assert answer.headers[name] == value
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


def test_a_static_file_may_be_kept_where_its_address_has_its_version(client: TestClient) -> None:
    assert "immutable" in client.get("/static/style.css?1").headers["cache-control"]
    assert client.get("/static/style.css").headers["cache-control"] == "no-store"
    assert client.get("/static/../app.py").status_code in (401, 404)
    assert client.get("/static/%2e%2e/app.py").status_code == 404


def test_a_login_link_is_not_used_up_by_a_browser_that_looks_ahead(site: Site, stranger: TestClient) -> None:
    secret = site.door.new_link()
    assert stranger.get("/login", params={"secret": secret}, headers={"Sec-Purpose": "prefetch"}).status_code == 403
    assert stranger.get("/login", params={"secret": secret}).status_code == 200
    assert stranger.get("/login", params={"secret": secret}).status_code == 403
    secret = site.door.new_link()
    assert stranger.head("/login", params={"secret": secret}).status_code == 405
    assert stranger.get("/login", params={"secret": secret}).status_code == 200


def test_coming_in_and_leaving(client: TestClient, opened: StateDir, post: Callable[..., Any]) -> None:
    (line,) = lines(opened.audit_path)
    assert (line["event"], line["role"]) == ("web-login", "operator")
    assert re.fullmatch("page-[0-9a-f]{8}", line["by"])
    assert client.get("/").status_code == 200
    before = client.cookies["dpe-8064"]
    assert post("/logout").status_code == 303
    client.cookies.set("dpe-8064", before)
    assert client.get("/").status_code == 401


def test_no_request_is_large(client: TestClient) -> None:
    assert client.post("/find", content=b"x" * (LARGEST + 1)).status_code == 413
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    pieces = (b"x" * 1_000 for _ in range(LARGEST // 1_000 + 1))  # of a length that no header says
    assert client.post("/find", content=pieces, headers=kind).status_code == 413
    many = "&".join(f"f{number}=1" for number in range(100))
    assert client.post("/find", content=many, headers=kind).status_code in (400, 403)
    assert client.get("/sessions", params={"rule": "x" * 201}).status_code == 400


STRANGE = (
    "/devices/%ff%00", "/devices/%2e%2e", "/devices/0000000000000%0a", "/sessions?id=%00",
    "/sessions?firmware=%ed%a0%80", "/sessions?rule=%ff&after=%ff", "/sessions?silent=999999999d",
    "/sessions?after=fffffffffffffff", "/audit?registration=9999999999999999999", "/audit?registration=%D9%A1",
    "/audit?event=%00&device=%ff",
    "/audit?before=99999999999999999999-9999999999999999999", "/policy?version=%00", "/policy?version=1.0&firmware=%ff",
    "/policy?version=1.0&tac=%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1", "/static/%00", "/login?secret=%ff",
    "/audit/stream?since=1-x", "/devices/x/stream", "//", "/%0d%0aX: y",
)  # fmt: skip


@pytest.mark.parametrize("path", STRANGE)
def test_what_is_strange_is_no_defect(client: TestClient, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    answer = client.get(path)
    assert answer.status_code < 500
    assert "x" not in answer.headers
    assert "a page failed" not in "".join(capfd.readouterr())


def test_who_has_not_come_in_learns_nothing_of_the_server(stranger: TestClient, opened: StateDir) -> None:
    for path in ("/", "/login", "/nothing"):
        text = stranger.get(path).text
        assert opened.config.realm not in text
        assert str(opened.path) not in text
        assert "Overview</a>" not in text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    assert client.request(method, "/sessions").status_code == 405
