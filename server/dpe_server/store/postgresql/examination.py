"""Looks whether a database may be served, before anything but its count of connections is changed."""

from contextlib import closing

from dpe_server.store.commit_rules import check_beat
from dpe_server.store.contract import Beat
from dpe_server.store.nodes import Binding, Durability
from dpe_server.store.postgresql import schema, statements
from dpe_server.store.postgresql.connection import durability, durability_faults
from dpe_server.store.postgresql.database import Database
from dpe_server.store.postgresql.nodes import PostgresqlNodes

_TOLD = (
    "SELECT current_setting('server_version'),"
    " CASE WHEN pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"
    " THEN (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) END,"
    " floor(extract(epoch FROM clock_timestamp()))::int8"
)


def durability_of(url: str, *, one_machine: bool) -> Durability:
    """Look whether the database keeps what it has acknowledged. Nothing is written; StoreError if it has no store."""
    with closing(Database.peek(url)) as connection:
        ((server, standbys, now),) = connection.execute(_TOLD).fetchall()
        version = schema.version_of(connection)
        withheld = connection.execute(statements.WITHHELD).fetchall() if version else []
        return Durability(
            server,
            version,
            len(schema.STEPS),
            durability(connection),
            durability_faults(connection, one_machine=one_machine),
            standbys,
            max(0, now - withheld[0][0]) if withheld else 0,
        )


def verify_database(url: str, remembered: Beat | None, binding: Binding | None, *, one_machine: bool) -> None:
    """Raise StoreError unless the database has a store of ``binding``, with the beat that is ``remembered``."""
    with closing(Database(url, make=False, one_machine=one_machine, older=True)) as database:
        if binding is not None:
            PostgresqlNodes(database).check(binding)
        number = remembered.number if remembered else 0
        ((found, oldest, _),) = database.read(
            lambda connection: connection.execute(statements.BEATS, (number,), binary=True).fetchall()
        )
        check_beat(remembered, found, oldest)
