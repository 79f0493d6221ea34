"""How the metrics of a running server are found and read."""

import socket
import stat
import threading
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from dpe_server.operation import loaded
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import scraping
from dpe_server.operators.scraping import NoMetricsError, read, url_of
from tests.server.operators.answering import METRICS, answering


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.create(tmp_path / "state", "realm", "coap://127.0.0.1")


# -- where they are --


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("http://127.0.0.1:9464/metrics", "http://127.0.0.1:9464/metrics"),
        ("http://0.0.0.0:9464/metrics", "http://127.0.0.1:9464/metrics"),
        ("http://[::]:9464/metrics", "http://[::1]:9464/metrics"),
    ],
)
def test_a_running_server_says_where_its_metrics_are(state: StateDir, told: str, url: str) -> None:
    with state.lock():
        loaded.write_metrics(state.path, told)
        assert stat.S_IMODE((state.path / loaded.METRICS).stat().st_mode) == 0o600
        assert url_of(state.path) == url
        StateDir.open(state.path)
        loaded.forget(state.path)
        assert not (state.path / loaded.METRICS).exists()


def test_what_a_killed_server_has_left_says_nothing(state: StateDir) -> None:
    loaded.write_metrics(state.path, "http://127.0.0.1:9464/metrics")
    with pytest.raises(NoMetricsError, match="no server runs on") as caught:
        url_of(state.path)
    assert "dpe serve STATE --metrics" in caught.value.hint


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_a_server_without_metrics(state: StateDir, text: str | None) -> None:
    if text is not None:
        (state.path / loaded.METRICS).write_text(text)
    with state.lock(), pytest.raises(NoMetricsError, match="the server serves no metrics") as caught:
        url_of(state.path)
    assert "--metrics" in caught.value.hint


def test_what_others_can_change_is_not_believed(state: StateDir) -> None:
    with state.lock():
        loaded.write_metrics(state.path, "http://127.0.0.1:9464/metrics")
        (state.path / loaded.METRICS).chmod(0o666)
        with pytest.raises(LocalError, match="can be changed by other users"):
            url_of(state.path)


# -- what they say --


def test_values_are_found_by_name_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(METRICS.encode()) as url:
        reading = read(url)
    assert reading.one("dpe_processes") == 2
    assert reading.one("dpe_responses_total", 'say "a"', "ok") == 3
    assert reading.each("dpe_responses_total") == {('say "a"', "ok"): 3}
    assert reading.one("dpe_responses_total", "ok") is None
    assert reading.each("dpe_none") == reading.each("dpe_of_no_use") == {}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"# nothing", 200, "has no metrics of a DPE Server"),
        (b"go_goroutines 7\n", 200, "has no metrics of a DPE Server"),
        (b"<html><body>hello</body></html>", 200, "are no metrics"),
        (b"\xff\xfe", 200, "are no metrics"),
        (METRICS.encode(), 404, "answers with the status 404"),
        (METRICS.encode(), 302, "answers with the status 302"),
    ],
)
def test_what_is_not_a_servers_metrics(body: bytes, status: int, said: str) -> None:
    with answering(body, status) as url, pytest.raises(LocalError, match=said) as caught:
        read(url)
    assert caught.value.hint


def test_a_reading_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "LARGEST", len(METRICS) - 1)
    with answering(METRICS.encode()) as url, pytest.raises(LocalError, match="has more than"):
        read(url)


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/metrics"
        with pytest.raises(NoMetricsError, match=r"no answer in 0\.05 s"):
            read(url, 0.05)
    with pytest.raises(NoMetricsError, match="Connection refused"):
        read(url)


def test_who_answers_a_byte_at_a_time_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as slow:
        ended = threading.Event()

        def drip() -> None:
            peer, _ = slow.accept()
            with peer:
                peer.recv(1000)
                peer.send(b"HTTP/1.0 200 OK\r\n\r\n")
                while not ended.wait(0.01):
                    try:
                        peer.send(b"#")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(NoMetricsError, match=r"no answer in 0\.2 s"):
                read(f"http://127.0.0.1:{slow.getsockname()[1]}/metrics", 0.2)
        finally:
            ended.set()
            thread.join()


def test_something_else_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def speak() -> None:
            peer, _ = other.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(NoMetricsError, match="no HTTP"):
            read(f"http://127.0.0.1:{other.getsockname()[1]}/metrics")
        thread.join()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/metrics", "127.0.0.1:9464", "http://[::1/metrics", "http://h:p/", ""])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(LocalError, match="not the URL of metrics"):
        read(url)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "find_spec", lambda name: None)
    with pytest.raises(LocalError) as caught:
        read("http://127.0.0.1:1/metrics")
    assert caught.value.hint == "pip install 'dpe-coap[metrics]'"
