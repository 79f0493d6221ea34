"""`dpe web`: how it starts, what it says when it cannot, and how it ends."""

import asyncio
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from dpe_server.operation.state_dir import StateDir
from dpe_tools.server_process import ServerProcess
from tests.postgresql import Cluster
from tests.tools.conftest import Invoke
from tests.web.stage import Page, need_assets


@pytest.fixture(autouse=True)
def assets() -> None:
    need_assets()


def test_a_port_that_is_in_use_is_told(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "dpe_tools", "web", str(state), "--bind", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"cannot listen on {port}: the port is in use" in done.stderr
    assert "--bind HOST:PORT" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture
def without_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the command may run in this process as far as it fails."""
    monkeypatch.setattr("dpe_server.web.running.keep_private", lambda: None)
    monkeypatch.setattr("dpe_server.web.running._raise_limit", lambda: None)
    monkeypatch.setattr("dpe_server.web.running.logs.configure", lambda **_: None)


@pytest.mark.usefixtures("without_signals")
@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--bind", "nowhere:x"], 1, "not an address to listen on"),
        (["--bind", "192.0.2.1:0"], 1, "cannot listen on 192.0.2.1:0"),
        (["--origin", "dpe.example"], 1, "not such a URL"),
        (["--origin", "https://dpe.example/path"], 1, "not such a URL"),
        (["--metrics", "9464"], 1, "not such a URL"),
        (["--pcap", "."], 2, "is a directory"),
        (["--nothing"], 2, "No such option"),
    ],
)
def test_what_cannot_be_done_is_told(dpe: Invoke, state: Path, options: list[str], status: int, told: str) -> None:
    result = dpe("web", state, *options, status=status)
    assert told in result.output


@pytest.mark.usefixtures("without_signals")
def test_what_is_no_state_directory_is_told(dpe: Invoke, tmp_path: Path) -> None:
    assert "is not a state directory" in dpe("web", tmp_path, status=1).output
    assert "there is no such directory" in dpe("web", tmp_path / "none", status=1).output


@pytest.mark.usefixtures("without_signals")
def test_a_store_that_is_damaged_is_told(dpe: Invoke, state: Path) -> None:
    StateDir.open(state).store_path.write_bytes(b"x" * 5_000)
    assert "the file is not a database" in dpe("web", state, status=1).output


@pytest.mark.parametrize("name", ["starlette", "jinja2", "uvicorn"])
def test_without_its_libraries_it_says_how_to_get_them(
    dpe: Invoke, state: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("dpe_tools.commands.web.find_spec", lambda wanted: None if wanted == name else True)
    result = dpe("web", state, status=1)
    assert "what serves the page is not installed" in result.output
    assert "pip install 'dpe-coap[web]'" in result.output


@pytest.mark.usefixtures("without_signals")
def test_without_what_it_has_from_npm_it_says_how_to_get_it(
    dpe: Invoke, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpe_server.web.rendering.STATIC", tmp_path)
    assert "tools/web-assets" in dpe("web", state, status=1).output


@pytest.fixture
def page(state: Path, tmp_path: Path) -> Iterator[Page]:
    with Page(state, tmp_path / "log") as running:
        yield running


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str


def ask(page: Page, path: str, **headers: str) -> Answer:
    with closing(http.client.HTTPConnection(urlsplit(page.address).netloc, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as answer:
            return Answer(answer.status, answer.headers, answer.read().decode())


def come_in(page: Page, link: str) -> str:
    """Come in, and return the cookie."""
    answer = ask(page, link.removeprefix(page.address))
    assert answer.status == 200
    return answer.headers["Set-Cookie"].partition(";")[0]


def test_it_prints_a_link_and_another_one_on_sighup(page: Page) -> None:
    first = page.link
    second = page.another_link()
    assert first != second
    assert ask(page, first.removeprefix(page.address)).status == 403
    cookie = come_in(page, second)
    assert ask(page, "/", Cookie=cookie).status == 200
    assert page.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_though_somebody_watches(page: Page, tmp_path: Path, number: int) -> None:
    cookie = come_in(page, page.link)
    with closing(http.client.HTTPConnection(urlsplit(page.address).netloc, timeout=10)) as connection:
        connection.request("GET", "/overview/stream", headers={"Cookie": cookie})
        with connection.getresponse() as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            assert stream.readline() == b"retry: 3000\n"
            os.kill(page.process.pid, number)
            assert page.process.wait(timeout=20) == 0
            stream.read()  # it has come to its end
    assert "rror" not in (tmp_path / "log").read_text()


def test_a_thousand_requests_at_once_are_answered(page: Page) -> None:
    cookie = come_in(page, page.link)
    place = urlsplit(page.address)

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        head = f"GET /find HTTP/1.1\r\nHost: {place.netloc}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.read()
        writer.close()
        return answer.partition(b"\r\n")[0]

    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*(one() for _ in range(1_000)))

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4_096), hard))
    try:
        answers = asyncio.run(all_of_them())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert set(answers) == {b"HTTP/1.1 200 OK"}


def test_a_server_that_ends_or_begins_does_not_touch_it(page: Page, state: Path, dpe: Invoke) -> None:
    cookie = come_in(page, page.link)
    assert "No server runs" in ask(page, "/", Cookie=cookie).text
    with ServerProcess(state, state.parent / "server-log"):
        assert "A server runs" in ask(page, "/", Cookie=cookie).text
    assert "No server runs" in ask(page, "/", Cookie=cookie).text


def test_it_leaves_no_core_dump(page: Page) -> None:
    limits = Path(f"/proc/{page.process.pid}/limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]


def test_a_page_that_others_can_reach_warns(state: Path, tmp_path: Path) -> None:
    with Page(state, tmp_path / "log", "--bind", "0.0.0.0:0") as page:
        assert page.address.startswith("http://127.0.0.1:")
        assert ask(page, "/").status == 401
    assert "not encrypted" in (tmp_path / "log").read_text()


def test_a_store_on_postgresql_is_shown_too(dpe: Invoke, postgresql: Cluster, tmp_path: Path) -> None:
    state = tmp_path / "state"
    url = postgresql.url()
    dpe("init", state, "--uri", "coap://127.0.0.1:5799", "--store", url, "--one-machine")
    with Page(state, tmp_path / "log") as page:
        cookie = come_in(page, page.link)
        for path in ("/", "/sessions?rule=x", "/health", "/audit", "/policy"):
            assert ask(page, path, Cookie=cookie).status == 200
        assert ask(page, f"/devices/{'0' * 32}", Cookie=cookie).status == 200
        assert ask(page, f"/devices/{'0' * 14}", Cookie=cookie).status == 404
