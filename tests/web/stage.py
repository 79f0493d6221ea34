"""A server with some made-up devices, and the page that shows it: for the tests in a browser, and for pictures."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_server.web.rendering import STATIC
from dpe_tools.server_process import ServerProcess, free_port
from tests.conftest import missing

IMEI = "490154203237518"
REFUSED_IMEI = "352099001761481"
POLICY = """\
[property.temperature]
wire = 24
type = "number"
unit = "°C"
minimum = -40
maximum = 85

[[rule]]
name = "withdrawn model"
tac = ["35209900"]
action = "refuse"

[[rule]]
name = "meters"
firmware = "4.*"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 86400

[rule.report]
battery = { st = 5, pmin = 60, pmax = 3600 }
temperature = { gt = 5, lt = 45, band = true }
signal = { pmax = 3600 }

[[rule]]
name = "everyone else"
action = "accept"
range = ["20000000000000", "ffffffffffffff"]
lifetime = 604800
"""


@dataclass(frozen=True)
class Stage:
    """What runs."""

    state: Path
    client_id: str
    """Of the device with IMEI, which has reported something."""
    credential: Path
    capture: Path


def need_assets() -> None:
    """Skip the calling test, or fail it in continuous integration, without what the page has from npm."""
    if not (STATIC / "vendor").is_dir():
        missing("what the page has from npm is not there: run tools/web-assets")


def dpe(*words: object) -> str:
    """Run a command, and return what it prints."""
    command = [sys.executable, "-m", "dpe_tools", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def staged(folder: Path, *, devices: int, metrics: bool = True) -> Iterator[Stage]:
    """Run a server with so many devices, one that has reported, and one that was refused, while the block runs."""
    port = free_port()
    state = folder / "state"
    dpe("init", state, "--realm", "demo", "--uri", f"coap://127.0.0.1:{port}")
    (state / "policy.toml").write_text(POLICY, encoding="utf-8")
    capture = folder / "server.pcapng"
    options = ["--pcap", str(capture), *(["--metrics", "127.0.0.1:0"] if metrics else [])]
    with ServerProcess(state, folder / "log", port=port, options=options):
        if devices:
            dpe("load", state, "--devices", devices, "--closed", 4, "--seed", 1)
        credential = folder / "device.json"
        credential.write_text(dpe("provision", state, IMEI), encoding="utf-8")
        told: dict[str, Any] = json.loads(dpe("register", credential, "--firmware", "4.2", "--json"))
        dpe("session", "report", credential, "battery=86", "24=21.5", "signal=-71", "roaming=false")
        refused = folder / "refused.json"
        refused.write_text(dpe("provision", state, REFUSED_IMEI), encoding="utf-8")
        command = [sys.executable, "-m", "dpe_tools", "register", str(refused)]
        assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 4
        yield Stage(state, told["client_id"], credential, capture)


class Page:
    """Runs ``dpe web STATE``; ``links`` are the login links that it prints."""

    def __init__(self, state: Path, log: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "dpe_tools", "web", str(state), "--bind", "0", *options]
        self._log = log

    def __enter__(self) -> "Page":
        need_assets()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.link = self._read()
        self.address = self.link.partition("/login")[0]
        return self

    def another_link(self) -> str:
        """Return a new login link."""
        os.kill(self.process.pid, signal.SIGHUP)
        return self._read()

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("come in at "), (line, self._log.read_text(encoding="utf-8"))
        return line.removeprefix("come in at ").strip()

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)
