"""A new key for all servers that share a store: it is added at one, given to the others, and then made active."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from dpe_coap.errors import LocalError
from dpe_server.keys import file as key_file
from dpe_server.keys.ring import KeyKind, KeyRing, fingerprint
from dpe_server.operation import loaded
from dpe_server.operation.nodes import TAKE, LackingError, waiting_for
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.nodes import Generation, KeyName, Nodes
from dpe_server.store.opening import nodes_of


class RotationError(LocalError):
    """A key cannot be added, taken or made active."""


def add(opened: StateDir, kind: KeyKind) -> int:
    """Add the next key of a kind, and return its generation. If others share the store, it is not active yet.

    A key that was added here and is not active yet is that key.
    """
    if not opened.config.store:
        return opened.rotate(kind)
    with _nodes(opened) as nodes:
        (_, newest), known = newest_of(nodes.generations(), kind)
        own = max(ring_of(opened.keys, kind))
        if newest > own:
            raise LackingError(f"another node has added the {kind} key {newest}, and it is not here yet", hint=TAKE)
        if newest == own and known.active:
            own = opened.rotate(kind)
        key = ring_of(StateDir.open(opened.path).keys, kind)[own]
        if not nodes.add((kind, own), fingerprint(key)):
            raise LackingError(
                f"another node has added a {kind} key {own} at the same time: that one counts", hint=TAKE
            )
        _tell(opened, nodes)
    return own


def take(opened: StateDir, text: str) -> list[str]:
    """Take what is missing from the text of another node's keys.json; return the names of the keys that were taken."""
    if not opened.config.store:
        raise RotationError("this server shares its store with no other node", hint="dpe keys rotate adds a key")
    given = key_file.parse(text, "the other keys.json")
    if given.at_rest != opened.keys.at_rest:
        raise RotationError("these are the keys of another cluster", hint="take keys.json from a node of this one")
    taken: list[str] = []

    def taking(keys: KeyRing) -> KeyRing:
        for (kind, number), known in generations.items():
            key = ring_of(given, kind).get(number)
            held = ring_of(keys, kind).get(number)
            if key is not None and key != held and fingerprint(key) == known.fingerprint:
                keys = keys.having("master" if kind == "master" else "handle", number, key)
                taken.append(f"{kind} key {number}")
        return keys

    with _nodes(opened, any_keys=True) as nodes:
        generations = nodes.generations()
        opened.change_keys(taking)
        _tell(opened, nodes)
    return taken


def activate(opened: StateDir, kind: KeyKind) -> tuple[int, bool]:
    """Have all nodes use the newest key of a kind; RotationError unless all have it.

    Returns its generation, and whether anything has changed.
    """
    if not opened.config.store:
        return max(ring_of(opened.keys, kind)), False
    with _nodes(opened) as nodes:
        key, known = newest_of(nodes.generations(), kind)
        if known.active:
            return key[1], False
        if missing := waiting_for(nodes.all(), f"{kind} key {key[1]}", known.fingerprint):
            raise RotationError(
                f"nodes that have not loaded the {kind} key {key[1]} yet: {', '.join(missing)}",
                hint=f"{TAKE}; then reload its server (SIGHUP). A node that is gone: dpe nodes forget STATE NAME",
            )
        nodes.activate(key)
    return key[1], True


@contextmanager
def _nodes(opened: StateDir, *, any_keys: bool = False) -> Iterator[Nodes]:
    with closing(opened.open_store(any_keys=any_keys)) as store:
        nodes = nodes_of(store)
        assert nodes is not None, "others can share it"
        yield nodes


def newest_of(generations: dict[KeyName, Generation], kind: str) -> tuple[KeyName, Generation]:
    """Return the newest key of a kind."""
    return max((key, known) for key, known in generations.items() if key[0] == kind)


def ring_of(keys: KeyRing, kind: str) -> dict[int, bytes]:
    """Return the keys of a kind."""
    return dict(keys.master if kind == "master" else keys.handle)


def _tell(opened: StateDir, nodes: Nodes) -> None:
    """Say which keys this node has, if its server does not run; a server that runs says what it has loaded."""
    now = StateDir.open(opened.path)
    if not loaded.is_running(now):
        nodes.has(now.config.node, now.keys.fingerprints)
