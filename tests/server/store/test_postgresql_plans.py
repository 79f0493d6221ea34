"""PostgreSQL need not go through a table or a whole index for any statement, whatever it knows of the table's size.

A plan is kept as long as its connection. So it must be good for any keys (a generic plan), and must not turn bad when
a table grows that was empty, or was analysed, when the statement was planned.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from dpe_server.store.postgresql import statements
from dpe_server.store.postgresql.connection import Connection, connect, places_of
from dpe_server.store.postgresql.store import PostgresqlStore
from tests.postgresql import Cluster

STATEMENTS = {
    name: sql
    for name, sql in vars(statements).items()
    if name.isupper() and isinstance(sql, str) and not name.startswith("_")
}
KNOWN = 20_000
FILL = """
    INSERT INTO device (device, client_id, ordinal, established_at, lifetime, expires_at, check_at, version_major,
        version_minor, suite, rule, sealed_imei, th3, success_hash, confirm, sealed_keys, record)
    SELECT sha256(n::text::bytea)::bytea, n * 7919, n, 1, 1, n, n, 1, 0, 1, 'r', '', '', sha256(''), '', '', ''
    FROM generate_series(1, %s) AS n
""".replace("sha256(n::text::bytea)::bytea", "substr(sha256(n::text::bytea), 1, 16)")
TRACES = (
    "INSERT INTO device (device, ordinal, ended_at) SELECT substr(sha256(('t' || n)::bytea), 1, 16), n, n"
    " FROM generate_series(1, %s) AS n"
)
REVOKED = (
    "INSERT INTO device (device, revoked_at) SELECT substr(sha256(('r' || n)::bytea), 1, 16), n"
    " FROM generate_series(1, %s) AS n"
)


@pytest.fixture(scope="module", params=["empty", "analysed when empty", "full", "analysed"])
def connection(request: pytest.FixtureRequest, postgresql: Cluster) -> Iterator[Connection]:
    """A connection as a node's, to a store in one of the states of a table."""
    url = postgresql.url()
    PostgresqlStore(url, one_machine=True).close()
    with postgresql.connection(url) as owner:
        owner.execute("ALTER TABLE device SET (autovacuum_enabled = off)")
        if request.param == "analysed when empty":
            owner.execute("VACUUM ANALYZE")
        if request.param in ("full", "analysed"):
            for fill in (FILL, TRACES, REVOKED):
                owner.execute(fill, (KNOWN,))
        if request.param == "analysed":
            owner.execute("VACUUM ANALYZE")
    with closing(connect(places_of(url)[0])) as connection:
        yield connection


def plan_of(connection: Connection, sql: str) -> list[dict[str, Any]]:
    """Return the nodes of the generic plan of a statement."""
    numbers = iter(range(1, 99))
    numbered = re.sub("%s", lambda _: f"${next(numbers)}", sql).replace("%%", "%")
    count = sql.count("%s")
    connection.execute(f"PREPARE looked_at AS {numbered}")
    given = f"({', '.join(['NULL'] * count)})" if count else ""
    ((plan,),) = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE looked_at{given}").fetchall()
    connection.execute("DEALLOCATE looked_at")
    return list(nodes(plan[0]["Plan"] if not isinstance(plan, str) else json.loads(plan)[0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from nodes(below)


def scans(plan: list[dict[str, Any]]) -> list[str]:
    """Return what of a plan goes through a table, or a whole index."""
    return [
        f"{node['Node Type']} of {node.get('Relation Name') or node.get('Index Name')}"
        for node in plan
        if node["Node Type"] == "Seq Scan"
        or (node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Index Scan") and "Index Cond" not in node)
    ]


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name not in statements.OF_ALL])
def test_no_statement_scans(connection: Connection, name: str) -> None:
    plan = plan_of(connection, STATEMENTS[name])
    assert scans(plan) == [], json.dumps(plan[0], indent=1)
    assert not {"Hash Join", "Merge Join"} & {node["Node Type"] for node in plan}


def test_the_check_sees_a_scan_of_a_table_and_of_an_index(connection: Connection) -> None:
    assert scans(plan_of(connection, "SELECT 1 FROM device WHERE rule = %s"))
    assert scans(plan_of(connection, statements.COUNT))
    assert scans(plan_of(connection, "SELECT device FROM device ORDER BY device"))


def test_every_statement_is_looked_at() -> None:
    assert {"COMMIT", "IN_SESSION", "STORED_LOCKED", "CONTEXTS", "EXPIRE", "PRUNE", "MEASURES"} <= STATEMENTS.keys()
    assert STATEMENTS.keys() > statements.OF_ALL
