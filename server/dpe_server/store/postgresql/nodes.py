"""The nodes of a PostgreSQL store: to whom the database belongs, and which servers share it."""

from typing import Any

from dpe_server.store.contract import OPERATOR_PATIENCE, Beat
from dpe_server.store.nodes import Binding, OtherClusterError
from dpe_server.store.postgresql import statements
from dpe_server.store.postgresql.connection import Connection
from dpe_server.store.postgresql.database import Database


class PostgresqlNodes:
    """``Nodes`` in ``database``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bind(self, binding: Binding, name: str, beat: Beat, now: int) -> None:
        """See ``Nodes.bind``."""

        def bind(connection: Connection) -> bool:
            with connection.transaction():
                bound = connection.execute(statements.BIND, binding).rowcount
                if bound:
                    connection.execute(statements.BEAT, beat)
                    connection.execute(statements.ENTER_NODE, (name, now))
            return bool(bound)

        if not self._database.write(bind, OPERATOR_PATIENCE):
            ((realm, _),) = self._rows(statements.BINDING)
            raise OtherClusterError(
                f"the database has the store of the realm {realm} already",
                hint="make a further node of it with: dpe init STATE --join FROM; or give the URL of an empty database",
            )

    def check(self, binding: Binding) -> None:
        """See ``Nodes.check``."""
        found = self._rows(statements.BINDING)
        if not found:
            raise OtherClusterError(
                "the store in the database was not finished: it belongs to no realm yet",
                hint="make it with: dpe init STATE --store URL; or give the URL of the database that has the store",
            )
        realm, at_rest = found[0]
        if realm != binding.realm:
            raise OtherClusterError(
                f"the database has the store of the realm {realm}, and this server is of {binding.realm}",
                hint="give the URL of this realm's database as `store` in config.toml",
            )
        if at_rest != binding.at_rest:
            raise OtherClusterError(
                "the store was made with another at-rest key than that in keys.json: nothing in it would open",
                hint="all nodes have the same keys: make this one with dpe init STATE --join FROM",
            )

    def enter(self, name: str, now: int) -> bool:
        """See ``Nodes.enter``."""
        return bool(
            self._database.write(
                lambda connection: connection.execute(statements.ENTER_NODE, (name, now)).rowcount, OPERATOR_PATIENCE
            )
        )

    def _rows(self, sql: str, *values: int | str) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(sql, values).fetchall())
