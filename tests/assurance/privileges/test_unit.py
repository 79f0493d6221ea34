"""The systemd unit: right, tight, and enough for the server, which runs confined as the unit would confine it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dpe_server.handling.batching import PATIENCE
from dpe_server.operation.state_dir import StateDir
from tests.assurance.container import MANIFEST
from tests.assurance.privileges import confine
from tests.assurance.privileges.unit import UNIT, settings, system_calls
from tests.coap import Client
from tests.conftest import missing
from tests.end_to_end.devices import Device

RELOAD = UNIT.with_name("dpe-serve-reload.conf")
EXPOSURE = 1.5
"""The most that `systemd-analyze security` may find, of 10."""


@pytest.fixture(scope="module")
def systemd_analyze(require_tool: Callable[[str], str]) -> str:
    return require_tool("systemd-analyze")


@pytest.fixture
def unit(root: Path, tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    text = (root / UNIT).read_text(encoding="utf-8")
    assert text.count("/opt/dpe-coap/bin/dpe ") == 1
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/dpe-coap/bin/dpe ", f"{sys.executable} "), encoding="utf-8")
    return unit


def test_systemd_understands_it(systemd_analyze: str, unit: Path) -> None:
    def verify() -> tuple[int, str]:
        done = subprocess.run([systemd_analyze, "verify", "--man=no", unit], capture_output=True, text=True)
        return done.returncode, done.stderr

    assert verify() == (0, "")
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectProc=", "ProtectPork="), encoding="utf-8")
    assert "'ProtectPork'" in verify()[1]


def test_a_reload_that_is_waited_for_needs_a_newer_systemd(systemd_analyze: str, unit: Path, root: Path) -> None:
    """The drop-in is what a systemd of 253 or later takes; an older one says that it does not know this type."""
    shown = subprocess.run([systemd_analyze, "--version"], check=True, capture_output=True, text=True).stdout
    version = int(shown.split()[1])
    folder = unit.parent / f"{unit.name}.d"
    folder.mkdir()
    shutil.copy(root / RELOAD, folder / "reload.conf")
    done = subprocess.run([systemd_analyze, "verify", "--man=no", unit], capture_output=True, text=True)
    if version >= 253:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert re.search(r"reload\.conf:\d+: Failed to parse service type, ignoring: notify-reload", done.stderr)
        assert len(done.stderr.splitlines()) == 1


def test_the_watchdog_has_time_for_what_is_slow(root: Path) -> None:
    """A commit that is given up after 30 s, and a look at the store of 1.5 s, are in threads of their own."""
    (seconds,) = settings(root)["WatchdogSec"]
    assert int(seconds) >= 10 * PATIENCE


def test_a_start_may_take_as_long_as_in_kubernetes(root: Path) -> None:
    """It reads the whole database first. From a slow disk, that may take longer than systemd's default of 90 s."""
    manifests = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    (served,) = (one for one in manifests if one["kind"] == "StatefulSet")
    (container,) = served["spec"]["template"]["spec"]["containers"]
    probe = container["startupProbe"]
    assert settings(root)["TimeoutStartSec"] == [str(probe["periodSeconds"] * probe["failureThreshold"])] == ["300"]


def test_it_exposes_little(systemd_analyze: str, unit: Path) -> None:
    def exposure() -> float:
        shown = subprocess.run(
            [systemd_analyze, "security", "--offline=true", "--no-pager", unit],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
        assert found is not None, shown
        return float(found[1])

    assert exposure() <= EXPOSURE
    text = unit.read_text(encoding="utf-8")
    unit.write_text(re.sub("^(Protect|Restrict|SystemCall|Private).*", "", text, flags=re.MULTILINE), encoding="utf-8")
    assert exposure() > EXPOSURE


class Confined:
    """Runs programs as the unit would, on a state directory of theirs."""

    def __init__(self, root: Path, systemd_analyze: str, unshare: str, folder: Path) -> None:
        self.state = StateDir.create(folder / "state", "realm", "coap://127.0.0.1")
        self.path = folder / "state"
        plan: confine.Plan = {
            "writable": str(self.path),
            "system_calls": sorted(system_calls(root, systemd_analyze)),
            "families": settings(root)["RestrictAddressFamilies"][0].split(),
        }
        self._command = [unshare, *confine.UNSHARE, sys.executable, confine.__file__, json.dumps(plan)]
        self.environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Python with these arguments."""
        return subprocess.Popen(
            [*self._command, sys.executable, *arguments],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, program: str) -> str:
        """Return what a program prints."""
        with self.start("-c", program, str(self.path)) as process:
            shown, errors = process.communicate(timeout=50)
        assert process.returncode == 0, errors
        return shown


@pytest.fixture
def confined(root: Path, systemd_analyze: str, require_tool: Callable[[str], str], tmp_path: Path) -> Confined:
    unshare = require_tool("unshare")
    if subprocess.run([unshare, *confine.UNSHARE, "true"], capture_output=True).returncode != 0:
        missing("namespaces cannot be made here, so nothing can be confined")
    return Confined(root, systemd_analyze, unshare, tmp_path)


PROBE = """
import ctypes, errno, mmap, os, socket, sys
from pathlib import Path

def tried(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

state = Path(sys.argv[1], "written")
print("state", tried(lambda: state.write_text("x")))
for folder in ("/", "/tmp", "/etc", "/var", os.path.dirname(sys.executable)):
    print("elsewhere", tried(lambda: Path(folder, "dpe-written").write_text("x")))
print("internet", tried(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)))
print("unix", tried(lambda: socket.socket(socket.AF_UNIX)))
print("packet", tried(lambda: socket.socket(socket.AF_PACKET)))
print("code", tried(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)))
print("trace", tried(lambda: call("ptrace", 0, 0, 0, 0)))
print("mount", tried(lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)))
print("user", os.geteuid(), tried(lambda: os.setuid(0)))
capabilities = Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0]
print("capabilities", int(capabilities, 16))
"""


def test_the_confinement_confines(confined: Confined) -> None:
    shown = confined.run(PROBE).splitlines()
    elsewhere = [line for line in shown if line.startswith("elsewhere")]
    assert len(elsewhere) == 5
    assert set(elsewhere) <= {"elsewhere EROFS"}
    assert [line for line in shown if line not in elsewhere] == [
        "state done",
        "internet done",
        "unix done",
        "packet EPERM",
        "code EPERM",
        "trace EPERM",
        "mount EPERM",
        f"user {confine.USER} EPERM",
        "capabilities 0",
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_server_needs_no_more(
    confined: Confined, workers: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts, tells the service manager, registers a device, reloads, and stops."""
    state = confined.state
    command = ("-m", "dpe_tools", "serve", str(confined.path), "--workers", workers)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(30)
    monkeypatch.setitem(confined.environment, "NOTIFY_SOCKET", str(tmp_path / "notify"))
    server = confined.start(*command, "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--json-log")
    try:
        assert settings(root)["Type"] == ["notify"]
        assert manager.recv(100) == b"READY=1"
        assert server.stderr is not None
        first, second = (json.loads(server.stderr.readline()) for _ in range(2))
        assert first["uri"].startswith("coap://127.0.0.1:")
        assert second["uri"].startswith("coap://[::1]:")
        with Client(first["uri"]) as client:
            for _ in range(2):
                device = Device(state)
                request = device.request(x25519=True)
                offer = device.read(request, client.post(request).payload)
                success = offer.success()
                offer.confirm(success, client.post(success).payload)
                server.send_signal(signal.SIGHUP)
        for _ in range(int(workers)):
            assert "policy and keys reloaded" in server.stderr.readline()
    finally:
        server.send_signal(signal.SIGTERM)
        shown, errors = server.communicate(timeout=30)
    with manager:
        told = [manager.recv(100).splitlines()[0]]
        while told[-1] != b"STOPPING=1":
            told.append(manager.recv(100).splitlines()[0])
    assert told[0] == b"RELOADING=1"
    assert set(told) <= {b"RELOADING=1", b"READY=1", b"STOPPING=1"}
    assert shown == ""
    assert server.returncode == 0, errors
    assert (confined.path / "audit.jsonl").read_text(encoding="utf-8").count("established") == 2
