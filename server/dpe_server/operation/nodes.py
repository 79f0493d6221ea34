"""A server among others that share its store: what it tells them, and which of its keys it may use.

A key that one node uses, all must know: else they would refuse what is sealed under it. So a new key is added first,
and made active when all nodes have it.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import structlog

from dpe_coap.errors import LocalError
from dpe_server.keys.ring import KeyRing
from dpe_server.operation import loaded
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Store
from dpe_server.store.nodes import Generation, KeyName, Node, Nodes, Told
from dpe_server.store.opening import nodes_of

EVERY = 10.0
"""Seconds between two times that a node says that it runs."""
TAKE = "take it there: ssh NODE cat STATE/keys.json | dpe keys take STATE -"
SILENT = 35
"""Seconds after which a node that says nothing is taken for dead."""

_log = structlog.get_logger(__name__)


class LackingError(LocalError):
    """A server has not all the keys that the other nodes use."""


def keys_of(state_dir: StateDir, store: Store) -> KeyRing:
    """Return the keys of a state directory, of which the current ones are those that all nodes use; LackingError."""
    nodes = nodes_of(store)
    return state_dir.keys if nodes is None else active_of(state_dir.keys, nodes.generations())


def current_keys(state_dir: StateDir) -> KeyRing:
    """Return the keys as ``keys_of`` does. A store in a file is not opened for it."""
    if not state_dir.config.store:
        return state_dir.keys
    with closing(state_dir.open_store()) as store:
        return keys_of(state_dir, store)


def active_of(keys: KeyRing, generations: Mapping[KeyName, Generation]) -> KeyRing:
    """Return keys of which the current ones are the active ones; LackingError."""
    active = {kind: number for (kind, number), known in sorted(generations.items()) if known.active}
    for kind, ring in (("master", keys.master), ("handle", keys.handle)):
        if active[kind] not in ring:
            raise LackingError(
                f"keys.json lacks the {kind} key {active[kind]}, which the other nodes use",
                hint="take it from one of them: ssh NODE cat STATE/keys.json | dpe keys take STATE -",
            )
    return replace(keys, epoch=active["master"], hkid=active["handle"])


def waiting_for(nodes: list[Node], name: str, fingerprint: str) -> list[str]:
    """Return which nodes have not said that they have the key of this name, such as ``master key 2``."""
    return [node.name for node in nodes if node.keys.get(name) != fingerprint]


class Presence:
    """Says for a server that it runs, and what it has loaded. ``instance`` is 8 bytes that no other server has."""

    def __init__(self, state_dir: StateDir, nodes: Nodes, instance: bytes) -> None:
        self._path: Path = state_dir.path
        self._name = state_dir.config.node
        self._nodes = nodes
        self._instance = instance
        self._started = int(time.time())
        self._last: bytes | None = None

    def tell(self) -> dict[KeyName, Generation]:
        """Say it, and return which keys the nodes use; StoreError."""
        has = loaded.common(self._path)
        before = self._nodes.tell(
            Told(
                self._name,
                self._instance,
                version("dpe-coap"),
                has.files.get("policy.toml", ""),
                has.keys,
                self._started,
                int(time.time()),
            )
        )
        if self._last is not None and before not in (self._instance, None):
            _log.error(
                "another server says that it is this node",
                node=self._name,
                hint="give each node a name of its own: `node` in config.toml",
            )
        self._last = self._instance
        return self._nodes.generations()

    def stop(self) -> None:
        """Say that it stops; StoreError."""
        self._nodes.stop(self._name, self._instance)
