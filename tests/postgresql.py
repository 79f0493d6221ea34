"""A PostgreSQL server of the tests' own: Debian's programs, a temporary folder, a Unix socket and no port."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from dpe_server.store.opening import make_store

USER = "dpe"
NOBODY = 65534
"""PostgreSQL does not run as root; then it is another user's."""


SETTINGS = """
max_connections = 60
autovacuum = off
"""
"""Autovacuum would open transactions of its own at any moment."""
EMPTY = """
    DELETE FROM device WHERE device <> decode(repeat('00', 16), 'hex');
    UPDATE device SET revoked_at = NULL, minimum_epoch = 0, policies = NULL;
    UPDATE server SET minimum_epoch = 0, dropped = 0;
    DELETE FROM change;
    UPDATE reached SET ordinal = 0 WHERE ordinal > 0;
    DELETE FROM beat
"""
"""Takes from a store all that is in it, which is quicker than to make another."""


class Cluster:
    """A server that runs in ``folder``, where its socket is too."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._numbers = count(1)
        self._kept: dict[str, str] = {}
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._identity = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, schema: str | None = None, *, folder: Path | None = None) -> str:
        """Return the URL of a store in a schema of its own, which is made; ``folder`` is where the socket is."""
        if schema is None:
            schema = f"s{next(self._numbers)}"
            with self.connection() as connection:
                connection.execute(f"CREATE SCHEMA {schema}")
        path = quote(f"-csearch_path={schema}")
        return f"postgresql://{USER}@/postgres?host={quote(str(folder or self.folder), safe='')}&options={path}"

    def emptied(self, name: str = "kept") -> str:
        """Return the URL of a store with nothing in it; of a name there is one, which nobody uses any more."""
        url = self._kept.get(name)
        if url is None:
            url = self._kept[name] = self.url()
            make_store(url, one_machine=True).close()
        else:
            with closing(self.connection(url)) as owner:
                owner.execute(EMPTY)
        return url

    def connection(self, url: str | None = None) -> psycopg.Connection:
        """Return a connection that commits each statement."""
        return psycopg.connect(url or f"host={self.folder} user={USER} dbname=postgres", autocommit=True)

    @contextmanager
    def setting(self, name: str, value: str) -> Iterator[None]:
        """Run with a setting of the whole server changed."""
        with closing(self.connection()) as owner:
            (before,) = owner.execute(f"SHOW {name}").fetchone() or ("",)
            self._set(owner, name, value)
            try:
                yield
            finally:
                self._set(owner, name, before)

    def _set(self, owner: psycopg.Connection, name: str, value: str) -> None:
        owner.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        owner.execute("SELECT pg_reload_conf()")
        while True:  # each process of the server hears of it by itself: until a new one has
            with closing(self.connection()) as other:
                if other.execute(f"SHOW {name}").fetchone() == (value,):
                    return

    @contextmanager
    def standby(self) -> Iterator[None]:
        """Have what is committed acknowledged by a second place, as a synchronous standby does."""
        folder = self.folder / "received"
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        place = f"host={self.folder} user={USER} application_name=standby"
        with self.start("pg_receivewal", "--synchronous", "-D", folder, "-d", place) as process:
            with self.setting("synchronous_standby_names", "standby"):
                yield
            process.terminate()
        shutil.rmtree(folder)

    def start(self, program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs as the server's user."""
        return subprocess.Popen(
            [self._programs / program, *arguments],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            **self._identity,
        )  # fmt: skip

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs on the server's data."""
        subprocess.run(
            [self._programs / program, "-D", self.data, *arguments],
            check=True, cwd=self.folder, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **self._identity,
        )  # fmt: skip


def programs() -> Path | None:
    """Return where PostgreSQL's server programs are: Debian keeps them out of PATH. The newest of several."""
    found = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else Path(found).parent if found else None


@contextmanager
def running(programs: Path) -> Iterator[Cluster]:
    """Make a server and run it. What it acknowledges is on the disk, as where it matters."""
    with tempfile.TemporaryDirectory(prefix="dpe-pg-") as made:
        folder = Path(made)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        cluster = Cluster(programs, folder)
        cluster.run("initdb", "--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync")
        with (cluster.data / "postgresql.conf").open("a") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\n{SETTINGS}")
        cluster.run("pg_ctl", "-w", "-l", folder / "log", "start")
        try:
            yield cluster
        finally:
            cluster.run("pg_ctl", "-m", "immediate", "-w", "stop")
