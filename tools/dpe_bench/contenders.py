"""The servers that `dpe bench server` measures, and how each is started."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from dpe_bench.native import Missing, compile_c

OURS = "this server"
AIOCOAP = "aiocoap"
LIBCOAP = "libcoap"
LIBCOAP_IDLE = "libcoap-idle"
"""libcoap told to keep few idle sessions (coap_context_set_max_idle_sessions), as it scans them for each datagram."""
NODE_COAP = "node-coap"
ECHO = "C echo"

NODE = Path(__file__).parent / "node"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that is there to be measured."""

    name: str
    version: str
    command: Sequence[str]
    """Port and key follow, or the port alone."""
    job: str = "transport"
    cwd: Path | None = None


def _python(kind: str) -> list[str]:
    return [sys.executable, "-m", "dpe_bench.servers.transport", kind]


def _ours(_folder: Path, _peers: Path) -> Contender:
    return Contender(OURS, f"dpe-coap {version('dpe-coap')}", _python("lane"))


def _aiocoap(_folder: Path, _peers: Path) -> Contender:
    return Contender(AIOCOAP, f"aiocoap {version('aiocoap')}", _python("aiocoap"))


def _libcoap(folder: Path, _peers: Path, *, idle: str = "") -> Contender:
    hint = "sudo apt-get install libcoap3-dev libssl-dev"
    libraries = ["libcoap-3-notls", "libcrypto"]
    program = compile_c(folder, "libcoap_server", ["libcoap_server.c"], libraries, hint)
    if not idle:
        return Contender(LIBCOAP, _said(str(program)), [str(program)])
    return Contender(LIBCOAP_IDLE, f"{_said(str(program))}, {idle} idle sessions", [str(program), idle])


def _node_coap(_folder: Path, peers: Path) -> Contender:
    if shutil.which("node") is None:
        raise Missing("node is not installed", hint="sudo apt-get install nodejs npm; tools/fetch_peers")
    peers = peers.resolve()
    if not (peers / "node_modules" / "coap").is_dir():
        raise Missing(f"node-coap is not in {peers}", hint="run tools/fetch_peers, or say --peers DIR")
    package = "process.stdout.write('node-coap ' + require('./node_modules/coap/package.json').version)"
    name = f"{_said('node', '-e', package, cwd=peers)}, Node.js {_said('node', '--version').removeprefix('v')}"
    return Contender(NODE_COAP, name, ["node", str(NODE / "server.mjs")], cwd=peers)


def _echo(folder: Path, _peers: Path) -> Contender:
    program = compile_c(folder, "echo_server", ["echo_server.c"], ["libcrypto"], "sudo apt-get install libssl-dev")
    return Contender(ECHO, "C echo", [str(program)], job="echo")


CONTENDERS: dict[str, Callable[[Path, Path], Contender]] = {
    OURS: _ours,
    AIOCOAP: _aiocoap,
    LIBCOAP: _libcoap,
    LIBCOAP_IDLE: partial(_libcoap, idle="64"),
    NODE_COAP: _node_coap,
    ECHO: _echo,
}
"""By name: what makes one ready, given a folder for its program and the folder of tools/fetch_peers; raises Missing."""


def _said(*command: str, cwd: Path | None = None) -> str:
    """Return what a program prints about its version."""
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd).stdout.strip()
