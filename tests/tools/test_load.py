"""`dpe load` against a real server: figures, the comparison with the store, wrong usage, Ctrl-C."""

import gc
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cbor2
import pytest

from dpe_coap.errors import LocalError
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.store.opening import open_store
from dpe_server.store.record import entries
from dpe_server.store.sqlite.store import SqliteStore
from dpe_tools.load.crew import Crew, _send
from dpe_tools.load.network import PORTS, Loopback, Network, Ports, Server
from dpe_tools.load.plan import Plan, imei
from dpe_tools.load.worker import FromKeys
from dpe_tools.server_process import ServerProcess, free_port
from tests.serving import needs_ipv6
from tests.tools.conftest import Invoke, Running

IMEIS = "0010000000"
"""What the IMEIs of the first simulated devices begin with."""


def load(dpe: Invoke, *arguments: object, status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dpe("load", *arguments, "--json", "-", status=status).stdout)
    return found


def sessions(state: Path) -> int:
    with closing(open_store(StateDir.open(state).store_url)) as store:
        return store.stats(0).live


def test_registers_every_device(dpe: Invoke, server: Running) -> None:
    found = load(dpe, server.state, "--devices", 150, "--closed", 20)
    assert found["registrations"] == {
        "begun": 150, "REGISTERED": 150, "first time": 150, "REQUESTs": 150, "failed": {},
    }  # fmt: skip
    assert found["server"] == server.uri
    assert found["store"] == {
        "devices": 150, "ended": 0, "missing": 0, "other_client_id": 0, "other_keys": 0, "other_record": 0,
        "two_sessions": 0, "not_ended": 0, "holds": True,
    }  # fmt: skip
    assert found["datagrams"]["received"] == found["datagrams"]["sent"] == 300
    assert found["datagrams"]["overflowed"] == 0
    assert found["sessions"] is None
    assert "report to answer" not in found["latency"]
    for latency in found["latency"].values():
        assert latency["count"] == sum(count for _, count in latency["histogram"]) == 150
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]
    assert found["latency"]["registration"]["max"] >= found["latency"]["SUCCESS to CONFIRM"]["p50"]
    assert sessions(server.state) == 150


def test_the_same_devices_have_one_session_after_many_registrations(dpe: Invoke, server: Running) -> None:
    found = load(dpe, server.state, "--devices", 150, "--count", 400, "--rate", 2000, "--processes", 2)
    assert found["registrations"]["REGISTERED"] == 400
    assert found["generator"]["processes"] == 2
    assert found["store"]["devices"] == 150
    assert sessions(server.state) == 150


def test_a_bad_link(dpe: Invoke, server: Running) -> None:
    faults = ("--loss", 0.1, "--duplicate", 0.2, "--reorder", 0.2, "--corrupt", 0.02, "--seed", 5)
    found = load(dpe, server.state, "--devices", 60, "--suite", 2, "--ack-timeout", 0.1, *faults)
    assert found["registrations"]["REGISTERED"] == 60
    assert found["store"]["holds"]
    assert found["datagrams"]["retransmitted"] > 0
    assert found["datagrams"]["faults"].keys() == {"lost", "doubled", "delayed", "damaged"}


def test_a_storm(dpe: Invoke, server: Running) -> None:
    found = load(dpe, server.state, "--devices", 200, "--restart-storm")
    assert found["load"] == "200 devices, all at once after a reboot"
    assert found["registrations"]["REGISTERED"] == 200
    assert found["store"]["devices"] == 200


def held(state: Path, devices: int) -> list[Session | None]:
    """The sessions of the first simulated devices."""
    opened = StateDir.open(state)
    with closing(open_store(opened.store_url)) as store:
        return [store.session_of(opened.at_rest.device_id(imei(number))) for number in range(devices)]


def record(session: Session) -> dict[Any, Any]:
    """What the server has of a device."""
    return {cbor2.loads(entry.property): cbor2.loads(entry.value) for entry in entries(session.record)}


TALK = ("--report-every", 0.05, "--properties", 3)
"""Within a server's burst of 10."""


def test_devices_report_in_their_sessions(dpe: Invoke, server: Running) -> None:
    found = load(dpe, server.state, "--devices", 30, "--reports", 8, *TALK)
    assert found["registrations"]["REGISTERED"] == 30
    assert found["sessions"] == {
        "reports": 240, "taken": 240, "cut off": 0, "failed": {}, "problems": {}, "slept": 0, "rebooted": 0,
        "registered anew": 0, "ended": 0, "end not confirmed": 0,
    }  # fmt: skip
    assert found["latency"]["report to answer"]["count"] == 240
    assert found["datagrams"]["sent"] == 2 * 30 + 240
    assert (found["store"]["devices"], found["store"]["holds"]) == (30, True)
    assert [record(session) for session in held(server.state, 30) if session] == [{1000: 8, 1001: 8, 1002: 8}] * 30


def test_devices_sleep_lose_power_and_deregister(dpe: Invoke, server: Running, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    mishaps = ("--sleep", 0.5, "--reboot", 0.5, "--end", 0.5)
    shown = dpe("load", server.state, "--devices", 40, "--reports", 6, *TALK, *mishaps, "--json", report).stdout
    found = json.loads(report.read_text(encoding="utf-8"))
    told = found["sessions"]
    assert told["reports"] == 240 == told["taken"] + told["cut off"]
    assert 0 < told["cut off"] < told["rebooted"] < 240
    assert told["slept"] > 0
    assert 0 < told["ended"] < 40
    assert (found["store"]["devices"], found["store"]["ended"]) == (40 - told["ended"], told["ended"])
    assert found["store"]["holds"]
    assert held(server.state, 40).count(None) == told["ended"]
    assert f"{told['taken']} of 240 reports were taken in " in shown
    assert re.search(rf"the devices     slept {told['slept']}, rebooted \d+, lost power before the answer \d+, ", shown)
    assert f"and what it has reported last; {told['ended']} without one, which has ended" in shown


def test_sessions_on_a_bad_link(dpe: Invoke, server: Running) -> None:
    faults = ("--loss", 0.1, "--duplicate", 0.2, "--reorder", 0.2, "--corrupt", 0.02, "--seed", 5)
    mishaps = ("--reboot", 0.2, "--end", 0.3, "--processes", 2, "--duration", 2)
    found = load(dpe, server.state, "--devices", 30, "--ack-timeout", 0.1, "--report-every", 0.3, *faults, *mishaps)
    told = found["sessions"]
    assert told["taken"] + told["cut off"] == told["reports"] > 60
    assert found["datagrams"]["retransmitted"] > 0
    assert found["store"]["holds"]


def test_reports_that_are_not_taken_are_a_failure_unless_told(dpe: Invoke, server: Running) -> None:
    """Beyond its share, a device hears 5.03 and has no time to come back."""
    often = (server.state, "--devices", 3, "--reports", 40, "--report-every", 0.01, "--timeout", 1)
    found = load(dpe, *often, status=1)
    assert found["sessions"]["failed"] == {"BACKOFF": 3}
    assert 30 <= found["sessions"]["taken"] == found["sessions"]["reports"] - 3 < 120
    assert found["errors"].keys() == {"5.03"}
    assert found["store"]["holds"]
    shown = dpe("load", *often, "--at-least", 80).stdout
    assert "not reported    BACKOFF 3" in shown
    assert "error codes     5.03 " in shown


def test_a_duration(dpe: Invoke, server: Running) -> None:
    found = load(dpe, server.state, "--devices", 1000, "--closed", 5, "--duration", 0.5)
    assert found["registrations"]["REGISTERED"] == found["registrations"]["begun"] > 5
    assert found["seconds"] >= 0.5


def test_without_a_server_it_starts_one_and_shows_a_report(dpe: Invoke, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    shown = dpe("load", "--devices", 40, "--json", report).stdout
    assert shown.startswith("40 devices, 40 at once, at coap://127.0.0.1:")
    assert "40 of 40 registrations ended REGISTERED" in shown
    assert re.search(r"^registration( +\d+\.\d\d){5}$", shown, re.MULTILINE)
    assert "store: 40 devices, each with its one session, Client ID and keys" in shown
    assert IMEIS not in shown
    assert "\x1b" not in shown
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["registrations"]["REGISTERED"] == 40
    assert IMEIS not in report.read_text(encoding="utf-8")


def test_credentials_from_files(dpe: Invoke, server: Running, tmp_path: Path) -> None:
    imeis = "".join(f"00101700{number:06d}\n" for number in range(12))
    dpe("provision", server.state, "--stdin", "--as-written", "--out", tmp_path / "devices", stdin=imeis)
    before = sessions(server.state)
    found = load(dpe, "--credentials", tmp_path / "devices")
    assert found["registrations"]["REGISTERED"] == 12
    assert found["store"] is None
    assert sessions(server.state) == before + 12
    shown = dpe("load", "--credentials", tmp_path / "devices", "--devices", 5).stdout
    assert "not compared" in shown
    refused = dpe("load", "--credentials", tmp_path / "devices", "--devices", 13, status=1)
    assert "there are credentials for 12 devices only" in refused.stderr


def test_refusals_are_a_failure_unless_told(dpe: Invoke, state: Path, tmp_path: Path) -> None:
    (state / "policy.toml").write_text('[[rule]]\nname = "nobody"\naction = "refuse"\n')
    port = free_port()
    with ServerProcess(state, tmp_path / "log", port=port):
        arguments = (state, "--server", f"coap://127.0.0.1:{port}", "--devices", 7)
        found = load(dpe, *arguments, status=1)
        assert found["registrations"] == {
            "begun": 7, "REGISTERED": 0, "first time": 0, "REQUESTs": 7, "failed": {"REFUSED": 7},
        }  # fmt: skip
        assert found["refusals"] == {"refused": 7}
        assert found["errors"] == {"4.03": 7}
        assert found["store"]["devices"] == 0
        shown = dpe("load", *arguments, "--at-least", 0).stdout
        assert "not registered  REFUSED 7" in shown
        assert "refusals        refused 7" in shown


def test_a_store_that_disagrees_is_a_failure(dpe: Invoke, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteStore, "session_of", lambda *_: None)
    result = dpe("load", server.state, "--devices", 3, status=1)
    assert "STORE AND DEVICES DISAGREE: devices 3, missing 3" in result.stdout


def test_no_server(dpe: Invoke, state: Path) -> None:
    result = dpe("load", state, status=3)
    assert re.match(
        r"dpe: error: no CoAP server answers at coap://127\.0\.0\.1:\d+ .*nobody listens there\)\nhint: .*dpe serve",
        result.stderr,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["STATE", "--credentials", "x"], "not both"),
        (["--rate", "1", "--closed", "1"], "give one of"),
        (["--restart-storm", "--closed", "1"], "give one of"),
        (["--duration", "1", "--count", "1"], "--duration goes neither"),
        (["--restart-storm", "--count", "1"], "give --devices, not --count"),
        (["--loss", "2"], "0<=x<=1"),
        (["--reboot", "2"], "0<=x<=1"),
        (["--report-every", "0"], "x>0"),
        (["--properties", "65"], "1<=x<=64"),
        (["--reports", "0"], "x>=1"),
        (["--rate", "0"], "x>0"),
        (["--devices", "0"], "1<=x"),
    ],
)
def test_wrong_usage(dpe: Invoke, arguments: list[str], said: str) -> None:
    assert said in dpe("load", *arguments, status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no such directory"),
        (["--credentials", "nowhere"], "there is no such directory"),
        (["--credentials", "."], "no credential is there"),
        (["--server", "http://x"], "not a server's URI"),
    ],
)
def test_what_cannot_be(
    dpe: Invoke, arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in dpe("load", *arguments, status=1).stderr


def test_ctrl_c_ends_with_the_report_so_far(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "dpe_tools", "load", "--devices", "5000", "--duration", "600"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        line = process.stderr.readline()
        assert re.match(r"5000 devices, 64 at once: \d+ s, \d+ REGISTERED .*under way: ", line)
        os.killpg(process.pid, signal.SIGINT)
        shown, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted: what was under way counts as GIVEN UP" in shown
    assert "each with its one session" in shown
    assert "Traceback" not in shown + errors
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_a_line_shows_how_it_goes_on(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    command = f"{sys.executable} -m dpe_tools load --closed 20 --duration 2"
    done = subprocess.run(
        [require_tool("script"), "-qec", command, "/dev/null"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm", "COLUMNS": "200"},
    )  # fmt: skip
    assert re.search(r"100000 devices, 20 at once: \d s, \d+ REGISTERED \(\d+/s\), 0 failed; under way: ", done.stdout)
    assert re.search(r"store: \d+ devices, each with its one session", done.stdout)


def test_a_process_that_dies_is_an_error(server: Running) -> None:
    state = StateDir.open(server.state)
    make = FromKeys(state.keys, state.config)
    with Crew(2, Server.at(server.uri), make, keep_ledger=True) as crew:
        os.kill(crew._processes[1][0].pid or 0, signal.SIGKILL)
        with pytest.raises(LocalError, match="a process of the load has ended early"):
            crew.carry_out(Plan(range(100), None, at_once=4, duration=60), lambda _tally: None)


def test_a_process_that_is_gone_is_an_error_of_which_nothing_is_left() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with ours, pytest.raises(LocalError, match="a process of the load has ended early") as caught:
        _send(ours, Plan(range(100), None, at_once=4, duration=60))
    cycle: list[object] = [caught.value]
    cycle.append(cycle)
    del caught, cycle
    assert gc.collect() > 0  # pytest fails the test when that prints anything


class TestNetwork:
    """Every registration under way has an endpoint of its own, towards any server."""

    def exchange(self, network: Network, number: int) -> Any:
        endpoint = network.lease(number)
        assert endpoint is not None
        network.send(endpoint, b"\x40\0\0\1")
        while True:
            for received in network.receive(network.sockets):
                assert received.datagram == b"\x70\0\0\1"
                assert received.endpoint is endpoint
                assert received.sender == network.peer
                return endpoint

    def test_on_loopback_an_address_for_each_device(self, server: Running) -> None:
        with Server.at(server.uri).network() as network:
            assert isinstance(network, Loopback)
            endpoints = [self.exchange(network, number) for number in (0, 1, 255, 256, 9_999_999)]
            assert len(set(endpoints)) == 5
            assert network.lease(1) is endpoints[1]
            assert network.overflowed == 0

    def test_a_flood_that_is_not_read_is_told(self, server: Running) -> None:
        with Server.at(server.uri).network() as network:
            endpoint = network.lease(1)
            assert endpoint is not None
            endpoint.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            port = endpoint.socket.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
                for _ in range(100):
                    flood.sendto(b"x" * 500, ("127.1.0.1", port))
            list(network.receive(network.sockets))
            flooded = self.exchange(network, 1)
            assert flooded is endpoint
            assert network.overflowed > 50

    @needs_ipv6
    def test_elsewhere_a_port_for_each_registration(self, state: Path, tmp_path: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "dpe_tools", "serve", str(state), "--listen", f"[::1]:{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            with Server.at(f"coap://[::1]:{port}").network() as network:
                assert isinstance(network, Ports)
                first = self.exchange(network, 7)
                others = {network.lease(number) for number in range(PORTS - 1)}
                assert len(others - {None, first}) == PORTS - 1
                assert network.lease(1) is None
                network.release(first)
                assert network.lease(1) is first
            process.terminate()
