"""`dpe serve --metrics`: what Prometheus reads of a real server, and what it makes of it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from dpe_coap.errors import LocalError
from dpe_server.operation import exposing, loaded
from dpe_server.operators import scraping
from dpe_tools.server_process import ServerProcess
from tests.audit import until
from tests.coap import CON, GET, POST, REGISTER, URI_PATH, Client, Message
from tests.tools.conftest import Invoke

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@contextmanager
def server(state: Path, tmp_path: Path, *options: str, metrics: str = "0") -> Iterator[tuple[ServerProcess, str]]:
    """A running server, and the URL of its metrics."""
    log = tmp_path / "log"
    with ServerProcess(state, log, options=["--metrics", metrics, *options]) as running:
        yield running, re.findall(r"url=(http\S+)", log.read_text())[0]


def fetch(url: str, accept: str = "text/plain") -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=10) as answer:
        return str(answer.read(), "utf-8")


def samples(url: str) -> dict[str, float]:
    """By name and labels, each number."""
    found = {}
    for family in text_string_to_metric_families(fetch(url)):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name} {labels}".strip()] = sample.value
    return found


def load(state: Path, running: ServerProcess, *options: str) -> None:
    address = "{}:{}".format(*running.address)
    command = [sys.executable, "-m", "dpe_tools", "load", str(state), "--server", f"coap://{address}", *options]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_devices_do_is_counted(
    state: Path, tmp_path: Path, workers: int, require_tool: Callable[[str], str]
) -> None:
    with server(state, tmp_path, "--workers", str(workers)) as (running, url):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", url)
        load(state, running, "--devices", "20", "--reports", "2", "--report-every", "1")
        until(lambda: samples(url).get("dpe_changes_total change=report,outcome=committed", 0) >= 40)
        found = samples(url)
        (registered,) = {value for name, value in found.items() if name.startswith("dpe_registrations_total")}
        assert registered == found["dpe_changes_total change=registration,outcome=committed"] == 20
        assert found["dpe_first_contacts_total"] == found["dpe_session_keys_cached"] == 20
        assert sum(value for name, value in found.items() if name.startswith("dpe_responses_total")) == 20
        assert found["dpe_processes"] == workers
        assert found["dpe_batch_requests_sum"] >= 80
        assert found["dpe_exchanges_total by=lane"] >= 80
        assert found["dpe_session_keys_hits_total"] >= 20
        with Client("coap://{}:{}".format(*running.address)) as client:
            request = bytes(Message(CON, GET, 7, b"", [(URI_PATH, b".well-known"), (URI_PATH, b"core")], b""))
            for _ in range(2):
                client.send(request)
                assert client.receive() is not None
        until(lambda: samples(url)["dpe_requests_resent_total by=endpoint"] == 1)
        assert samples(url)["dpe_exchanges_total by=endpoint"] == 1
        assert found["dpe_commit_seconds_count"] > 0
        assert found["dpe_key_generation key=master"] == 1
        assert found["dpe_store_bytes"] > 0
        said = fetch(url, OPEN_METRICS)
        families = open_metrics(said)  # type: ignore[no-untyped-call]
        assert {family.name for family in families} > {"dpe_registrations", "dpe_commit_seconds"}
        checked = subprocess.run(
            [require_tool("promtool"), "check", "metrics"],
            input=fetch(url),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_of_metrics(process: int) -> bool:
    return b"dpe_server.exposition" in Path(f"/proc/{process}/cmdline").read_bytes()


def exposition(running: ServerProcess) -> int:
    """The process that serves the metrics."""
    until(lambda: any(map(is_of_metrics, children(running.process.pid))))
    return next(filter(is_of_metrics, children(running.process.pid)))


def answers(url: str) -> bool:
    try:
        return "dpe_processes" in fetch(url)
    except OSError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_the_process_of_metrics_is_started_again(state: Path, tmp_path: Path, workers: int) -> None:
    with server(state, tmp_path, "--workers", str(workers)) as (running, url):
        load(state, running, "--devices", "5")
        until(lambda: samples(url).get("dpe_changes_total change=registration,outcome=committed") == 5)
        os.kill(exposition(running), signal.SIGKILL)
        until(lambda: "process of metrics started again" in (tmp_path / "log").read_text())
        until(lambda: answers(url))
        assert samples(url)["dpe_changes_total change=registration,outcome=committed"] == 5, "nothing is forgotten"
    assert re.search(r"process of metrics died +signal=SIGKILL", (tmp_path / "log").read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_the_server_goes_on_without_metrics_that_cannot_be_served(state: Path, tmp_path: Path, workers: int) -> None:
    log = tmp_path / "log"
    with server(state, tmp_path, "--workers", str(workers)) as (running, url):
        for times in range(1, exposing.RESTARTS + 1):
            os.kill(exposition(running), signal.SIGKILL)
            until(lambda times=times: log.read_text().count("process of metrics started again") == times)  # type: ignore[misc]
        os.kill(exposition(running), signal.SIGKILL)
        until(lambda: "metrics are served no more" in log.read_text())
        load(state, running, "--devices", "5")
        with pytest.raises(OSError, match="refused"):
            fetch(url)
    assert log.read_text().count("process of metrics died") == exposing.RESTARTS


def test_a_port_that_another_program_has_taken_meanwhile_is_told(state: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server(state, tmp_path) as (running, url):
        port = int(url.rpartition(":")[2].partition("/")[0])
        process = exposition(running)
        os.kill(running.process.pid, signal.SIGSTOP)  # so that the port is taken before it is wanted again
        os.kill(process, signal.SIGKILL)
        taken: list[socket.socket] = []
        until(lambda: took(port, taken))
        os.kill(running.process.pid, signal.SIGCONT)
        with taken[0]:
            until(lambda: "metrics are served no more" in log.read_text())
    assert re.search(r"metrics are served no more .*reason='Address already in use'", log.read_text())


def took(port: int, taken: list[socket.socket]) -> bool:
    try:
        taken.append(socket.create_server(("127.0.0.1", port)))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_others_find_the_metrics_of_a_state_directory(state: Path, tmp_path: Path, workers: int) -> None:
    with server(state, tmp_path, "--workers", str(workers)) as (_, url):
        assert scraping.url_of(state) == url
        until(lambda: scraping.read(url).one("dpe_processes") == workers)
        again = ServerProcess(state, tmp_path / "second", options=["--metrics", "0"])
        with pytest.raises(LocalError, match="did not start"), again:
            pass
        assert scraping.url_of(state) == url, "a second server that may not start changes nothing"
    assert not (state / loaded.METRICS).exists()


def test_a_server_says_nothing_of_a_device_in_its_metrics(state: Path, tmp_path: Path) -> None:
    with server(state, tmp_path) as (running, url):
        load(state, running, "--devices", "3")
        until(lambda: samples(url).get("dpe_changes_total change=registration,outcome=committed") == 3)
        said = fetch(url)
    audit = [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]
    secrets = {one[name] for one in audit for name in ("device", "client_id") if name in one}
    assert len(secrets) >= 6
    assert not any(secret in said for secret in secrets)


def test_wrong_addresses(state: Path, dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = dpe("serve", state, "--listen", "127.0.0.1:0", "--metrics", f"127.0.0.1:{port}", status=1).stderr
        assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in said
        assert "choose another port with --metrics HOST:PORT" in said
    said = dpe("serve", state, "--metrics", "here:there", status=1).stderr
    assert "not an address to listen on: 'here:there'" in said
    assert "write HOST:PORT, as in 0.0.0.0:9464" in said
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", None)
        patched.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
        said = dpe("serve", state, "--metrics", "0", status=1).stderr
        assert "metrics need a folder for temporary files" in said
        assert "mount one at /tmp" in said
    monkeypatch.setattr(exposing, "find_spec", lambda name: None)
    assert "pip install 'dpe-coap[metrics]'" in dpe("serve", state, "--metrics", "0", status=1).stderr


def test_the_alerts_say_what_is_wrong_and_only_that(root: Path, require_tool: Callable[[str], str]) -> None:
    promtool, rules = require_tool("promtool"), root / "server/packaging/prometheus/dpe-alerts.yml"
    for command in (["check", "rules", str(rules)], ["test", "rules", str(root / "tests/tools/alerts_test.yml")]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


def expressions(root: Path) -> set[str]:
    """What the dashboard and the alerts ask for."""
    dashboard = json.loads((root / "server/packaging/grafana/dpe-server.json").read_text(encoding="utf-8"))
    return {target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())}


def test_the_dashboard_asks_a_real_prometheus_for_what_it_has(
    state: Path, tmp_path: Path, root: Path, require_tool: Callable[[str], str]
) -> None:
    asked = expressions(root)
    assert len(asked) > 15
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with server(state, tmp_path) as (running, url):
        target = url.removeprefix("http://").removesuffix("/metrics")
        config = {"scrape_configs": [{"job_name": "dpe", "scrape_interval": "250ms", "scrape_timeout": "250ms",
                                      "static_configs": [{"targets": [target]}]}]}  # fmt: skip
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        command = [
            require_tool("prometheus"), f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}",
        ]  # fmt: skip

        def answer(expression: str) -> list[object]:
            query = urlencode({"query": expression.replace("$__rate_interval", "10s")})
            try:
                told = json.loads(fetch(f"http://{address}/api/v1/query?{query}"))
            except OSError:  # it has only just started
                return []
            assert told["status"] == "success"
            return list(told["data"]["result"])

        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as prometheus:
            try:
                until(lambda: answer("up == 1"))
                load(state, running, "--devices", "10", "--reports", "1", "--report-every", "1", "--end", "1")
                with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                    stranger.sendto(bytes(Message(CON, POST, 1, b"", REGISTER, bytes(61))), running.address)
                for expression in sorted(asked):
                    until(lambda wanted=expression: answer(wanted))  # type: ignore[misc]
                assert answer("sum(dpe_registrations_total) == 10")
                assert answer("nothing_of_this_name") == []
            finally:
                prometheus.terminate()
