"""A database that Patroni looks after: three servers, etcd, and nobody else who decides which one is the primary.

Everything runs on this machine, from Debian's packages patroni and etcd-server, as who starts it, or as nobody.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from dpe_coap.errors import LocalError
from dpe_tools.cluster.instance import DATABASE, NOBODY, USER, needed_programs, own

NAMES = ("db1", "db2", "db3")
LONGEST = 180.0
"""Seconds in which the cluster must have a primary again."""
LOOK = 0.1
TTL, LOOP_WAIT, RETRY_TIMEOUT = 20, 5, 5
"""Seconds: the least ttl that Patroni takes, and what goes with it."""


class Member:
    """One server with its Patroni, whose configuration is JSON, and so YAML."""

    def __init__(self, programs: Path, folder: Path, etcd: int) -> None:
        self.name = folder.name
        self.folder = folder
        self.port, self.api = free_ports(2)
        self._programs = programs
        self._configuration = folder / "patroni.yml"
        self._configuration.write_text(json.dumps(self._settings(etcd), indent=2), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def _settings(self, etcd: int) -> dict[str, Any]:
        return {
            "scope": "dpe",
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.api}", "connect_address": f"127.0.0.1:{self.api}"},
            # Not etcd3: with Patroni 3.0.2, a leader that had hung for longer than its ttl took the lead back there.
            "etcd": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP_WAIT,
                    "retry_timeout": RETRY_TIMEOUT,
                    "maximum_lag_on_failover": 1 << 20,
                    "synchronous_mode": True,
                    "synchronous_mode_strict": True,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True},
                },
                "initdb": ["data-checksums", {"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(self._programs),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {"superuser": {"username": USER}, "replication": {"username": USER}},
                "parameters": {"unix_socket_directories": str(self.folder), "max_connections": 60},
                "pg_hba": [f"host {what} all 127.0.0.1/32 trust" for what in ("all", "replication")],
            },
        }

    def start(self) -> None:
        """Start Patroni, which starts the server."""
        self.process = _spawn(["patroni", str(self._configuration)], self.folder)

    def kill(self) -> None:
        """Kill Patroni and the server with SIGKILL, as a machine that is gone."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Halt both with SIGSTOP, as a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let both go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        server = self._server()
        os.killpg(self.process.pid, number)
        for pid in {*server, *self._server()}:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def is_primary(self) -> bool:
        """Ask Patroni whether this is the primary, and holds its lock."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api}/primary", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def sql(self, statement: str) -> list[list[str]]:
        """Execute a statement; return its rows as text. LocalError."""
        command = [str(self._programs / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", DATABASE]
        command += ["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]
        done = subprocess.run(command, check=False, capture_output=True, text=True, start_new_session=True)
        if done.returncode:
            raise LocalError(done.stderr.strip().partition("\n")[0])
        return [line.split("|") for line in done.stdout.splitlines()]

    def _server(self) -> list[int]:
        """Return the processes of the server, which is not in Patroni's process group."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (place / "cwd").readlink() == self.folder / "data":
                    found.append(int(place.name))
        return found


class PatroniGroup:
    """The database, while the ``with`` block runs, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        for program in ("patroni", "etcd"):
            if shutil.which(program) is None:
                raise LocalError(f"{program} is not installed", hint="sudo apt-get install patroni etcd-server")
        self._folder = folder
        self._programs = needed_programs()
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        """Return when there is a primary that waits for a standby."""
        with ExitStack() as undo:
            own(self._folder)
            client, peer = free_ports(2)
            here = f"http://127.0.0.1:{client}"
            options = ["--enable-v2", "--listen-client-urls", here, "--advertise-client-urls", here]
            options += ["--listen-peer-urls", f"http://127.0.0.1:{peer}", "--data-dir", str(self._folder / "etcd")]
            undo.callback(_end, _spawn(["etcd", *options], self._folder))
            self.members = []
            for name in NAMES:
                place = self._folder / name
                place.mkdir(mode=0o700)
                self.members.append(Member(self._programs, place, client))
                own(place)
                for file in place.iterdir():
                    own(file)
                undo.callback(self.members[-1].kill)
            for member in self.members:
                member.start()
            self.primary = self._other_than(None)
            self.await_standbys(len(NAMES) - 1)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self._cleanup.close()

    @property
    def url(self) -> str:
        """The URL of the database, whoever is the primary."""
        places = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"postgresql://{USER}@{places}/{DATABASE}"

    def fail_over(self) -> Member:
        """Wait until Patroni has another primary."""
        self.primary = self._other_than(self.primary)
        return self.primary

    def rejoin(self, member: Member) -> None:
        """Have one that was the primary follow the new one: Patroni does that, if it runs."""
        if member.process is None:
            member.start()
        self.await_standbys(len(NAMES) - 1)

    def _other_than(self, lost: Member | None) -> Member:
        end = time.monotonic() + LONGEST
        while time.monotonic() < end:
            for member in self.members:
                if member is not lost and member.is_primary():
                    return member
            time.sleep(LOOK)
        raise LocalError("Patroni has found no primary")

    def await_standbys(self, count: int) -> None:
        """Wait until so many standbys follow, and the primary waits for one."""
        end = time.monotonic() + LONGEST
        names = ", ".join(f"'{name}'" for name in NAMES)  # a base backup under way is there, too
        streaming = (
            "SELECT count(*), count(*) FILTER (WHERE sync_state = 'sync') FROM pg_stat_replication"
            f" WHERE state = 'streaming' AND application_name IN ({names})"
        )
        while time.monotonic() < end:
            try:
                ((following, synchronous),) = self.primary.sql(streaming)
            except LocalError:
                following, synchronous = "0", "0"
            if int(following) >= count and int(synchronous) >= 1:
                return
            time.sleep(LOOK)
        raise LocalError("not all standbys follow")


def free_ports(count: int) -> list[int]:
    """Return TCP ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _environment() -> dict[str, str]:
    """Return the environment without that of our Python: Patroni has its own."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    path = os.pathsep.join(place for place in os.environ["PATH"].split(os.pathsep) if ".venv" not in place)
    return {**{name: value for name, value in os.environ.items() if name not in ours}, "PATH": path}


def _spawn(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            env={**_environment(), "HOME": str(folder)}, **identity,
        )  # fmt: skip


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
