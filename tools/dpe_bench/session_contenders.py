"""The servers that `dpe bench sessions` measures, and how each is started."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from dpe_bench import contenders
from dpe_bench.contenders import AIOCOAP, ECHO, LIBCOAP, OURS, Contender
from dpe_bench.native import Missing, compile_c
from dpe_bench.servers import session_server
from dpe_bench.session_fleet import Fleet, Peers, plaintext
from dpe_bench.transport import KEY
from dpe_coap.numbers import SIZE_POLICY_ETAG

UNCOMMITTED = "this server, no commit"
"""The same server, whose store reads, but writes nothing."""
FEW = "this server, few sessions"
"""The same server without the bound on what a device may report."""
MANY = "this server, many sessions"
PEER_SESSIONS = 64
"""Sessions of a peer, which walks through all of its contexts to find one: few cost it least."""
_LEAST_LIBCOAP = "4.3.4"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionContender(Contender):
    """A server that is there to be measured. The port follows its command."""

    job: str = "session"
    sessions: int
    argument: str
    """Of the load generator's job."""
    ready: str = "ready"
    fleet: Fleet | None = None
    """The sessions of this server, whose numbers go on from one start to the next."""
    durable: bool = False
    only_cost: bool = False
    """Its response times are of no interest."""


@dataclass(frozen=True, slots=True)
class Places:
    """What makes the contenders ready."""

    folder: Path
    """For their programs and files."""
    peers: Path
    """Of tools/fetch_peers."""
    counts: Mapping[str, int]
    """The sessions of this server, by contender. Those with the same number have the same sessions."""
    fleets: dict[int, Fleet] = field(default_factory=dict)
    """Those that are made, by their number."""

    def fleet(self, name: str) -> Fleet:
        """Return the sessions of a contender."""
        count = self.counts[name]
        if count not in self.fleets:
            self.fleets[count] = Fleet.make(self.folder / f"fleet-{count}", count)
        return self.fleets[count]


def _ours(places: Places, name: str, kind: str) -> SessionContender:
    fleet = places.fleet(name)
    return SessionContender(
        name,
        f"dpe-coap {version('dpe-coap')}",
        [sys.executable, "-m", "dpe_bench.servers.session_server", kind, str(fleet.state)],
        sessions=fleet.count,
        argument=f"{fleet.records}:{fleet.plaintext.hex()}",
        ready="listening",
        fleet=fleet,
        durable=kind != session_server.UNCOMMITTED,
        only_cost=kind == session_server.UNLIMITED,
    )


def _peers(places: Places, name: str) -> tuple[Peers, str]:
    """Return the sessions of a peer, and the argument of the load generator's job."""
    made = Peers.make(PEER_SESSIONS)
    records = places.folder / f"{name}-records"
    made.write_records(records)
    return made, f"{records}:{plaintext(bytes(SIZE_POLICY_ETAG)).hex()}"


def _peer(name: str, told: str, command: Sequence[str], argument: str, job: str = "session") -> SessionContender:
    return SessionContender(name, told, command, job=job, sessions=PEER_SESSIONS, argument=argument)


def _aiocoap(places: Places) -> SessionContender:
    if find_spec("filelock") is None or find_spec("lakers") is None:
        raise Missing("aiocoap is here without its OSCORE", hint="pip install 'aiocoap[oscore]'")
    made, argument = _peers(places, AIOCOAP)
    told = places.folder / "aiocoap-sessions"
    made.write(told)
    command = [sys.executable, "-m", "dpe_bench.servers.oscore_aiocoap", str(told)]
    return _peer(AIOCOAP, f"aiocoap {version('aiocoap')}", command, argument)


def _libcoap(places: Places) -> SessionContender:
    system = places.peers.resolve() / "libcoap"
    unpacked = (system / "run").exists()
    if not unpacked and not _has_libcoap():
        raise Missing(f"libcoap with OSCORE is not in {places.peers}", hint="run tools/fetch_peers, or say --peers DIR")
    program = compile_c(
        places.folder,
        "libcoap_oscore_server",
        ["libcoap_oscore_server.c"],
        ["libcoap-3-openssl"],
        "run tools/fetch_peers",
        system=system if unpacked else None,
    )
    start = [*([str(system / "run")] if unpacked else []), str(program)]
    told = subprocess.run(start, capture_output=True, text=True, check=True).stdout.strip()
    made, argument = _peers(places, LIBCOAP)
    configuration = places.folder / "libcoap-sessions"
    made.write_libcoap(configuration)
    return _peer(LIBCOAP, told, [*start, str(configuration)], argument)


def _has_libcoap() -> bool:
    """Say whether this machine has a libcoap that may have OSCORE."""
    command = ["pkg-config", f"--atleast-version={_LEAST_LIBCOAP}", "libcoap-3-openssl"]
    try:
        return subprocess.run(command, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _echo(places: Places) -> SessionContender:
    made = contenders.CONTENDERS[ECHO](places.folder, places.peers)
    return _peer(made.name, made.version, made.command, KEY, job=made.job)


CONTENDERS: dict[str, Callable[[Places], SessionContender]] = {
    OURS: partial(_ours, name=OURS, kind=session_server.DURABLE),
    UNCOMMITTED: partial(_ours, name=UNCOMMITTED, kind=session_server.UNCOMMITTED),
    AIOCOAP: _aiocoap,
    LIBCOAP: _libcoap,
    ECHO: _echo,
    FEW: partial(_ours, name=FEW, kind=session_server.UNLIMITED),
    MANY: partial(_ours, name=MANY, kind=session_server.UNLIMITED),
}
"""By name: what makes one ready; raises Missing."""
