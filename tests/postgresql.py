"""A PostgreSQL server of the tests' own, in a temporary folder (``dpe_tools.cluster.instance``)."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

from dpe_server.store.opening import make_store
from dpe_tools.cluster.instance import DATABASE, USER, Instance, own

SETTINGS = {"max_connections": "60", "autovacuum": "off"}
"""Autovacuum would open transactions of its own at any moment."""
EMPTY = """
    DELETE FROM device WHERE device <> decode(repeat('00', 16), 'hex');
    UPDATE device SET revoked_at = NULL, minimum_epoch = 0, policies = NULL;
    UPDATE server SET minimum_epoch = 0, dropped = 0;
    DELETE FROM change;
    UPDATE reached SET ordinal = 0 WHERE ordinal > 0;
    ALTER SEQUENCE ordinal RESTART;
    DELETE FROM beat;
    DELETE FROM binding;
    DELETE FROM generation;
    DELETE FROM node;
    DELETE FROM recovery
"""
"""Takes from a store all that is in it, which is quicker than to make another."""


class Cluster:
    """What tests do with a server that runs."""

    def __init__(self, instance: Instance) -> None:
        self.folder = instance.folder
        """Where its socket is."""
        self._instance = instance
        self._numbers = count(1)
        self._kept: dict[str, str] = {}

    def url(self, schema: str | None = None, *, folder: Path | None = None) -> str:
        """Return the URL of a store in a schema of its own, which is made; ``folder`` is where the socket is."""
        if schema is None:
            schema = f"s{next(self._numbers)}"
            with self.connection() as connection:
                connection.execute(f"CREATE SCHEMA {schema}")
        path = quote(f"-csearch_path={schema}")
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(folder or self.folder), safe='')}&options={path}"

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
        return psycopg.connect(url or f"host={self.folder} user={USER} dbname={DATABASE}", autocommit=True)

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
        own(folder)
        place = f"host={self.folder} user={USER} application_name=standby"
        with self._instance.spawn("pg_receivewal", "--synchronous", "-D", folder, "-d", place) as process:
            try:
                with self.setting("synchronous_standby_names", "standby"):
                    yield
            finally:
                process.terminate()
        shutil.rmtree(folder)


@contextmanager
def running(programs: Path) -> Iterator[Cluster]:
    """Make a server and run it. What it acknowledges is on the disk, as where it matters."""
    with tempfile.TemporaryDirectory(prefix="dpe-pg-") as made:
        folder = Path(made)
        own(folder)
        with Instance(programs, folder, SETTINGS) as instance:
            instance.make()
            instance.start()
            yield Cluster(instance)
