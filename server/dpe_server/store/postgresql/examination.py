"""Looks whether a database may be served, before anything but its count of connections is changed."""

from contextlib import closing

from dpe_server.store.commit_rules import check_beat
from dpe_server.store.contract import Beat
from dpe_server.store.nodes import Binding
from dpe_server.store.postgresql import statements
from dpe_server.store.postgresql.database import Database
from dpe_server.store.postgresql.nodes import PostgresqlNodes


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
