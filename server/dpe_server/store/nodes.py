"""What servers that share a store, its nodes, know of it and of each other.

A store in one machine's file has none of this: there is one server.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from dpe_server.store.contract import Beat, StoreError

KeyName = tuple[str, int]
"""The kind of a key, ``master`` or ``handle``, and its generation."""


class OtherClusterError(StoreError):
    """The store belongs to servers of another realm, or with other keys."""


class Binding(NamedTuple):
    """To whom a store belongs: servers of this realm, with these keys, of which the store has fingerprints only."""

    realm: str
    at_rest: str
    """Of the at-rest key (``ring.fingerprint``)."""
    generations: Mapping[KeyName, str]
    """Of the other keys. Not every server has all of them."""


class Generation(NamedTuple):
    """A key that the nodes know, or are to know."""

    fingerprint: str
    active: bool
    """Whether it may be used for what other nodes must open. The highest of its kind is."""


class Told(NamedTuple):
    """What a node says of itself."""

    name: str
    instance: bytes
    """8 bytes, drawn when the server started."""
    version: str
    policy: str
    """The fingerprint of its policy; empty if its processes have several."""
    keys: Mapping[str, str]
    """The fingerprints of the keys that all its processes have loaded (``KeyRing.fingerprints``)."""
    started_at: int
    now: int
    """By its own clock."""


class Durability(NamedTuple):
    """Whether a database keeps what it has acknowledged."""

    server: str
    """The version of the database's server."""
    schema: int
    """The version of the store's schema."""
    newest: int
    """The newest version that this program knows."""
    settings: Mapping[str, str]
    faults: list[str]
    """Which settings let it lose what it has acknowledged."""
    standbys: int | None
    """How many synchronous standbys are connected; None: the database's user may not see that."""
    withheld: int
    """Seconds for which changes are withheld from those who follow them, as a transaction does not end; 0: none are."""


class Node(NamedTuple):
    """A node as the others see it."""

    name: str
    version: str
    policy: str
    keys: Mapping[str, str]
    started_at: int | None
    """When its server was started last; None: it never was."""
    silent: int | None
    """Seconds since it was heard last; None: it never was, or its server has been stopped since."""
    ahead: int
    """Seconds by which its clock was ahead of the database's."""


class Nodes(Protocol):
    """The part of a store that is about its nodes. Every method raises StoreError when the store does not answer."""

    def close(self) -> None:
        """Release the database, if nothing but this was opened."""

    def bind(self, binding: Binding, name: str, beat: Beat, now: int) -> None:
        """Have a new store belong to ``binding``, with ``name`` as its first node, which remembers ``beat``.

        All keys are active. OtherClusterError if it belongs to somebody already.
        """

    def check(self, binding: Binding) -> None:
        """Raise OtherClusterError unless the store belongs to ``binding``."""

    def enter(self, name: str, now: int, keys: Mapping[str, str]) -> bool:
        """Make ``name`` the name of one more node, which has these keys; False if a node has it."""

    def has(self, name: str, keys: Mapping[str, str]) -> None:
        """Say which keys a node has whose server does not run."""

    def tell(self, told: Told) -> bytes | None:
        """Say that a node runs. Returns which instance of it said so last, if any."""

    def stop(self, name: str, instance: bytes) -> None:
        """Say that a node's server was stopped."""

    def all(self) -> list[Node]:
        """Return all nodes, by name."""

    def recovered(self, beat: Beat, journals: Iterable[str]) -> None:
        """Say that ``beat`` was the first after a recovery, in which the journals with these digests were read."""

    def recovery(self, after: int, journal: str) -> Beat | None:
        """Return the beat after the last recovery with this journal, if that was after beat number ``after``."""

    def forget(self, name: str) -> bool:
        """Forget a node; False if there is none of this name. If its server runs, it comes back."""

    def generations(self) -> dict[KeyName, Generation]:
        """Return the keys that the nodes know, or are to know."""

    def add(self, key: KeyName, fingerprint: str) -> bool:
        """Have all nodes know one more key, which is not active yet; False if they know another under this name."""

    def activate(self, key: KeyName) -> None:
        """Have all nodes use a key that they know."""
