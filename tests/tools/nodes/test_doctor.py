"""`dpe doctor` on a store that several servers share: the database, and all nodes beside this one."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dpe_server.operation import loaded
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import SetMinimumEpoch
from dpe_server.store.nodes import Nodes, Told
from dpe_server.store.opening import nodes_of
from dpe_server.store.postgresql import database, examination, schema
from dpe_tools.server_process import ServerProcess
from tests.postgresql import Cluster
from tests.tools.conftest import Invoke

ONE_MACHINE = ("warn", "database: what its machine loses is lost, as config.toml allows")
SILENT = ("warn", "nobody listens there")


def findings(dpe: Invoke, state: Path, status: int = 0) -> list[tuple[str, str]]:
    """What is not as it should be, but that it is one machine, and that this node does not run."""
    told = json.loads(dpe("doctor", state, "--json", status=status).stdout)
    assert all(one["hint"] for one in told if one["level"] != "ok")
    found = [(one["level"], one["what"]) for one in told if one["level"] != "ok"]
    return [one for one in found if one != ONE_MACHINE and SILENT[1] not in one[1]]


@pytest.fixture
def nodes(first: Path) -> Iterator[Nodes]:
    with closing(StateDir.open(first).open_store()) as store:
        found = nodes_of(store)
        assert found is not None
        yield found


def told(state: Path, **others: Any) -> Told:
    """What a node with the keys and the policy of another one says."""
    has = loaded.Loaded.of(StateDir.open(state), [])
    now = int(time.time())
    given = Told("b", b"instance", "9.9", has.files["policy.toml"], has.keys, now, now)
    return given._replace(**others)


def test_all_is_well(dpe: Invoke, first: Path, second: Path, served: ServerProcess) -> None:
    shown = dpe("doctor", first).stdout
    assert "psycopg 3." in shown
    assert "store: of this realm and these keys, and the one that was served last" in shown
    assert "fsync = on, full_page_writes = on, synchronous_commit = on, synchronous_standby_names = nothing" in shown
    assert "nodes: 2, of which 1 run: b" in shown
    assert findings(dpe, first) == findings(dpe, second) == []
    assert "postgresql://" not in shown


def test_a_policy_that_another_node_has_not(dpe: Invoke, first: Path, served: ServerProcess) -> None:
    with (first / "policy.toml").open("a") as policy:
        policy.write("# changed\n")
    assert findings(dpe, first) == [("warn", "node b: its policy is another than this one's")]


def test_other_versions_and_clocks(dpe: Invoke, first: Path, second: Path, nodes: Nodes) -> None:
    nodes.tell(told(first, name="a", version="9.8"))
    nodes.tell(told(first, now=int(time.time()) + 60))
    (versions, clock) = findings(dpe, first)
    assert versions == ("warn", "nodes run 2 versions: a 9.8, b 9.9")
    assert clock[0] == "warn"
    assert " s ahead of the database's" in clock[1]


def test_keys_that_another_node_has_not(dpe: Invoke, first: Path, second: Path, nodes: Nodes) -> None:
    keys = dict(StateDir.open(first).keys.fingerprints)
    del keys["master key 1"]
    nodes.tell(told(first, keys={**keys, "handle key 1": "another"}))
    assert findings(dpe, first, 1) == [
        ("fail", "node b: it has another handle key 1, and refuses devices that need it"),
        ("fail", "node b: it has no master key 1, and refuses devices that need it"),
    ]
    nodes.tell(told(first))
    dpe("keys", "rotate", "handle", first)
    assert findings(dpe, first) == [("warn", "node b: it has no handle key 2, which is therefore not active yet")]


def test_a_node_of_which_nothing_is_heard(
    dpe: Invoke, first: Path, second: Path, nodes: Nodes, postgresql: Cluster, url: str
) -> None:
    nodes.tell(told(first))
    with closing(postgresql.connection(url)) as owner:
        owner.execute("UPDATE node SET seen_at = seen_at - interval '1 hour' WHERE name = 'b'")
    ((level, what),) = findings(dpe, first)
    assert (level, what[:36]) == ("warn", "node b: nothing was heard of it for ")
    assert "silent for 36" in dpe("nodes", first).stdout
    nodes.stop("b", b"instance")
    assert findings(dpe, first) == []


def test_a_minimum_epoch_that_shuts_every_device_out(dpe: Invoke, first: Path) -> None:
    with closing(StateDir.open(first).open_store()) as store:
        store.commit([SetMinimumEpoch(2)])
    assert findings(dpe, first, 1) == [("fail", "store: the minimum epoch 2 shuts every device out")]


def test_a_database_that_may_lose_what_it_acknowledged(dpe: Invoke, first: Path, postgresql: Cluster) -> None:
    with postgresql.setting("fsync", "off"):
        assert findings(dpe, first, 1) == [("fail", "database: fsync is off: what is committed may be lost")]
    config = (first / "config.toml").read_text()
    (first / "config.toml").write_text(config.replace('durability = "one machine"', ""))
    assert findings(dpe, first, 1)[0] == (
        "fail",
        "database: there is no synchronous standby (synchronous_standby_names is empty): what is committed may be lost",
    )


def test_a_synchronous_standby_that_is_connected_or_is_not(dpe: Invoke, first: Path, postgresql: Cluster) -> None:
    config = (first / "config.toml").read_text()
    (first / "config.toml").write_text(config.replace('durability = "one machine"', ""))
    with postgresql.standby():
        dpe("sessions", first)  # it has acknowledged something when this is done
        assert "1 synchronous standby is connected" in dpe("doctor", first).stdout
    with postgresql.setting("synchronous_standby_names", "nobody"):
        assert findings(dpe, first, 1) == [("fail", "database: no synchronous standby is connected")]


def test_standbys_that_are_not_named(dpe: Invoke, first: Path, postgresql: Cluster) -> None:
    config = (first / "config.toml").read_text()
    (first / "config.toml").write_text(config.replace('durability = "one machine"', ""))
    with postgresql.standby(), postgresql.setting("synchronous_standby_names", "ANY 1 (*)"):
        assert findings(dpe, first) == [
            ("warn", "database: whatever follows it counts as a synchronous standby, even a base backup")
        ]


def test_a_database_that_was_put_back(dpe: Invoke, first: Path, postgresql: Cluster, url: str) -> None:
    with closing(postgresql.connection(url)) as owner:
        owner.execute("UPDATE beat SET random = '\\x0000000000000000'")
    ((level, what),) = findings(dpe, first, 1)
    assert (level, what) == ("fail", "store: it is not as this server left it: beat 1 is another")


def test_another_schema(dpe: Invoke, first: Path, postgresql: Cluster, url: str) -> None:
    newest = len(schema.STEPS)
    with closing(postgresql.connection(url)) as owner:
        owner.execute("INSERT INTO migrated (step) VALUES (%s)", (newest + 1,))
        assert findings(dpe, first, 1) == [
            ("fail", f"store: schema {newest + 1}, newer than this program's {newest}"),
        ]
        ((place,),) = owner.execute("SELECT current_schema()").fetchall()
        owner.execute(f"DROP SCHEMA {place} CASCADE")
        owner.execute(f"CREATE SCHEMA {place}")
    assert findings(dpe, first, 1) == [("fail", "store: there is none in the database")]


def test_a_transaction_that_is_open_for_long(dpe: Invoke, first: Path, postgresql: Cluster, url: str) -> None:
    with closing(postgresql.connection(url)) as owner, closing(psycopg.connect(url)) as other:
        other.execute("SELECT pg_current_xact_id()")
        owner.execute("INSERT INTO change SELECT pg_current_xact_id()::text::int8, 1, '', '1234567'")
        ((level, what),) = findings(dpe, first)
        assert (level, what[:36]) == ("warn", "database: changes are withheld for 1")
        other.rollback()
    assert findings(dpe, first) == []


def test_a_standby_that_the_user_may_not_see(
    dpe: Invoke, first: Path, postgresql: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "_TOLD", "SELECT '15', NULL, 0")  # as for a user without that right
    monkeypatch.setattr(database, "READ_PATIENCE", 0.3)
    config = (first / "config.toml").read_text()
    (first / "config.toml").write_text(config.replace('durability = "one machine"', ""))
    with postgresql.setting("synchronous_standby_names", "nobody"):
        told = json.loads(dpe("doctor", first, "--json", status=1).stdout)
    seen, hung = [one for one in told if one["what"].startswith(("database: whether", "store: the database"))]
    assert (seen["level"], hung["level"]) == ("warn", "fail")
    assert "GRANT pg_read_all_stats" in seen["hint"]
    assert "acknowledges no write: look at its synchronous standby" in hung["hint"]
