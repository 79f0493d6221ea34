"""The nodes of a PostgreSQL store: to whom the database belongs, and which servers share it."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dpe_server.store.contract import COMMIT_PATIENCE, OPERATOR_PATIENCE, Beat
from dpe_server.store.nodes import Binding, Generation, KeyName, Node, OtherClusterError, Told
from dpe_server.store.postgresql import node_statements
from dpe_server.store.postgresql.connection import Connection
from dpe_server.store.postgresql.database import Database
from dpe_server.store.postgresql.statements import BEAT

_SAME_KEYS = "all nodes have the same keys.json: take it from another node, or make this one with dpe init --join"


class PostgresqlNodes:
    """``Nodes`` in ``database``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def bind(self, binding: Binding, name: str, beat: Beat, now: int) -> None:
        """See ``Nodes.bind``."""

        def put(connection: Connection) -> bool:
            with connection.transaction():
                bound = bind(connection, binding, name, now)
                if bound:
                    connection.execute(BEAT, beat)
            return bound

        if not self._database.write(put, OPERATOR_PATIENCE):
            ((realm, _),) = self._rows(node_statements.BINDING)
            raise OtherClusterError(
                f"the database has the store of the realm {realm} already",
                hint="make a further node of it with: dpe init STATE --join FROM; or give the URL of an empty database",
            )

    def check(self, binding: Binding) -> None:
        """See ``Nodes.check``."""
        found = self._rows(node_statements.BINDING)
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
                hint=_SAME_KEYS,
            )
        for name, known in self.generations().items():
            if binding.generations.get(name, known.fingerprint) != known.fingerprint:
                raise OtherClusterError(
                    "the {} key {} in keys.json is not the one that the other nodes have".format(*name), hint=_SAME_KEYS
                )

    def enter(self, name: str, now: int, keys: Mapping[str, str]) -> bool:
        """See ``Nodes.enter``."""
        return bool(self._write(node_statements.ENTER_NODE, name, now, json.dumps(keys)))

    def has(self, name: str, keys: Mapping[str, str]) -> None:
        """See ``Nodes.has``."""
        self._write(node_statements.NODE_HAS, json.dumps(keys), name)

    def tell(self, told: Told) -> bytes | None:
        """See ``Nodes.tell``."""
        values = {**told._asdict(), "keys": json.dumps(told.keys)}
        before = self._database.write(
            lambda connection: connection.execute(node_statements.TELL, values, binary=True).fetchall(), COMMIT_PATIENCE
        )
        return None if not before else before[0][0]

    def stop(self, name: str, instance: bytes) -> None:
        """See ``Nodes.stop``."""
        self._write(node_statements.STOP_NODE, name, instance, patience=COMMIT_PATIENCE)

    def all(self) -> list[Node]:
        """See ``Nodes.all``."""
        return [
            Node(name, version, policy, json.loads(keys), *others)
            for name, version, policy, keys, *others in self._rows(node_statements.NODES)
        ]

    def recovered(self, beat: Beat, journals: Iterable[str]) -> None:
        """See ``Nodes.recovered``."""
        for journal in journals:
            self._write(node_statements.RECOVERED, beat.number, journal)

    def recovery(self, after: int, journal: str) -> Beat | None:
        """See ``Nodes.recovery``."""
        found = self._rows(node_statements.RECOVERY, after, journal)
        return Beat(*found[0]) if found else None

    def forget(self, name: str) -> bool:
        """See ``Nodes.forget``."""
        return bool(self._write(node_statements.FORGET_NODE, name))

    def generations(self) -> dict[KeyName, Generation]:
        """See ``Nodes.generations``."""
        return {(kind, number): Generation(*known) for kind, number, *known in self._rows(node_statements.GENERATIONS)}

    def add(self, key: KeyName, fingerprint: str) -> bool:
        """See ``Nodes.add``."""
        self._write(node_statements.ADD_GENERATION, *key, fingerprint, False)
        return self.generations()[key].fingerprint == fingerprint

    def activate(self, key: KeyName) -> None:
        """See ``Nodes.activate``."""
        self._write(node_statements.ACTIVATE, *key)

    def _write(self, sql: str, *values: int | str | bytes, patience: float = OPERATOR_PATIENCE) -> int:
        return self._database.write(lambda connection: connection.execute(sql, values).rowcount, patience)

    def _rows(self, sql: str, *values: int | str) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(sql, values).fetchall())


def bind(connection: Connection, binding: Binding, name: str, now: int) -> bool:
    """See ``Nodes.bind``; within a transaction. Returns whether the store belonged to nobody."""
    if not connection.execute(node_statements.BIND, (binding.realm, binding.at_rest)).rowcount:
        return False
    for (kind, number), fingerprint in binding.generations.items():
        connection.execute(node_statements.ADD_GENERATION, (kind, number, fingerprint, True))
    connection.execute(node_statements.ENTER_NODE, (name, now, "{}"))
    return True
