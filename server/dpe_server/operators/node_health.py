"""What is found of a store that several servers share, and of these servers."""

from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version

from dpe_coap.errors import DpeError
from dpe_server.keys.ring import KeyRing
from dpe_server.operation import beats, loaded
from dpe_server.operation.nodes import SILENT, TAKE, keys_of
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.findings import Finding
from dpe_server.store import opening
from dpe_server.store.contract import NOBODY, Store
from dpe_server.store.nodes import Generation, KeyName, Node
from dpe_server.store.questions import Questions

CLOCKS = 5
"""Seconds by which a node's clock may differ from the database's."""

WITHHELD = 60
"""Seconds for which changes may be withheld."""


def shared_store(opened: StateDir) -> Iterator[Finding]:
    """Yield what is found of the database of STATE, and of all servers that share it."""
    try:
        yield Finding("ok", f"psycopg {version('psycopg')}")
    except PackageNotFoundError:
        yield Finding("fail", "psycopg is not installed", "pip install 'dpe-coap[postgresql]'")
        return
    answered = False
    try:
        found = list(_database(opened))
        answered = True
        yield from found
        if any(finding.level == "fail" for finding in found):
            return  # what comes next would wait for an answer in vain
        beats.verify(opened)
        yield Finding("ok", "store: of this realm and these keys, and the one that was served last")
        with closing(opened.open_store()) as store:
            nodes = opening.nodes_of(store)
            assert nodes is not None
            yield from minimum_epoch(store, keys_of(opened, store))
            yield from examine(opened, nodes.all(), nodes.generations())
    except DpeError as error:
        # What it says of its settings, it has answered before.
        hung = "does not answer" in str(error) and answered
        hint = "it answers, and acknowledges no write: look at its synchronous standby" if hung else error.hint
        yield Finding("fail", f"store: {error}", hint)


def minimum_epoch(store: Store, keys: KeyRing) -> Iterator[Finding]:
    """Say if no credential is accepted that is made now."""
    minimum = store.look(Questions(restrictions={NOBODY})).minimum_epoch
    if minimum > keys.current_epoch:
        hint = f"dpe keys minimum-epoch STATE {keys.current_epoch}, or: dpe keys rotate master STATE"
        yield Finding("fail", f"store: the minimum epoch {minimum} shuts every device out", hint)


def _database(opened: StateDir) -> Iterator[Finding]:
    told = opening.durability_of(opened.store_url, one_machine=opened.one_machine)
    if told.schema > told.newest:
        yield Finding(
            "fail", f"store: schema {told.schema}, newer than this program's {told.newest}", "update dpe-coap"
        )
        return
    if told.schema == 0:
        yield Finding("fail", "store: there is none in the database", "dpe init STATE --store URL makes one")
        return
    if told.schema < told.newest:
        yield Finding(
            "warn", f"store: schema {told.schema}", f"dpe serve brings it to {told.newest}; older servers go on with it"
        )
    else:
        yield Finding("ok", f"store: schema {told.schema}, in PostgreSQL {told.server}")
    settings = ", ".join(f"{name} = {value or 'nothing'}" for name, value in told.settings.items())
    for fault in told.faults:
        yield Finding("fail", f"database: {fault}: what is committed may be lost", "change PostgreSQL's configuration")
    if not told.faults:
        yield Finding("ok", f"database: {settings}")
    if "*" in told.settings["synchronous_standby_names"] and not opened.one_machine:
        hint = "name the standbys in synchronous_standby_names; Patroni does so once it has one"
        yield Finding("warn", "database: whatever follows it counts as a synchronous standby, even a base backup", hint)
    if told.withheld > WITHHELD:
        hint = "end it: SELECT pid, xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start"
        yield Finding(
            "warn", f"database: changes are withheld for {told.withheld} s: a transaction of its server is open", hint
        )
    if opened.one_machine:
        hint = "set a synchronous standby up, and take `durability` out of config.toml"
        yield Finding("warn", "database: what its machine loses is lost, as config.toml allows", hint)
    elif told.standbys is None:
        hint = "let the database's user see it: GRANT pg_read_all_stats TO the user"
        yield Finding("warn", "database: whether a synchronous standby is connected, its user may not see", hint)
    elif told.standbys == 0:
        hint = "look at the standby, and at synchronous_standby_names; no commit is acknowledged until then"
        yield Finding("fail", "database: no synchronous standby is connected", hint)
    else:
        are = "standby is" if told.standbys == 1 else "standbys are"
        yield Finding("ok", f"database: {told.standbys} synchronous {are} connected")


def examine(opened: StateDir, nodes: list[Node], generations: dict[KeyName, Generation]) -> Iterator[Finding]:
    """Yield what is found of the servers that share a store, compared with this one."""
    own_policy = loaded.Loaded.of(opened, []).files["policy.toml"]
    running = [node for node in nodes if node.silent is not None and node.silent <= SILENT]
    names = ", ".join(node.name for node in running)
    yield Finding("ok", f"nodes: {len(nodes)}, of which {len(running)} run{': ' if names else ''}{names}")
    if len(versions := {node.version for node in running}) > 1:
        told = ", ".join(f"{node.name} {node.version}" for node in running)
        yield Finding("warn", f"nodes run {len(versions)} versions: {told}", "update the older ones")
    for node in nodes:
        if node.silent is not None and node.silent > SILENT:
            hint = f"start it; if it is gone for good: dpe nodes forget STATE {node.name}"
            yield Finding("warn", f"node {node.name}: nothing was heard of it for {node.silent} s", hint)
        yield from _keys(node, generations)
    for node in running:
        if node.policy != own_policy:
            hint = "copy policy.toml from one to the other, and reload its server (SIGHUP)"
            yield Finding("warn", f"node {node.name}: its policy is another than this one's", hint)
        if abs(node.ahead) > CLOCKS:
            way = "ahead of" if node.ahead > 0 else "behind"
            yield Finding(
                "warn",
                f"node {node.name}: its clock is {abs(node.ahead)} s {way} the database's",
                "set the clocks by NTP",
            )


def _keys(node: Node, generations: dict[KeyName, Generation]) -> Iterator[Finding]:
    for (kind, number), known in generations.items():
        name = f"{kind} key {number}"
        if node.keys.get(name) == known.fingerprint:
            continue
        what = "has another" if name in node.keys else "has no"
        if known.active:
            yield Finding("fail", f"node {node.name}: it {what} {name}, and refuses devices that need it", TAKE)
        else:
            yield Finding("warn", f"node {node.name}: it {what} {name}, which is therefore not active yet", TAKE)
