"""What servers that share a store, its nodes, know of it and of each other.

A store in one machine's file has none of this: there is one server.
"""

from typing import NamedTuple, Protocol

from dpe_server.store.contract import Beat, StoreError


class OtherClusterError(StoreError):
    """The store belongs to servers of another realm, or with another at-rest key."""


class Binding(NamedTuple):
    """To whom a store belongs: servers of this realm, with this at-rest key."""

    realm: str
    at_rest: str
    """The key's fingerprint (``ring.fingerprint``)."""


class Nodes(Protocol):
    """The part of a store that is about its nodes. Every method raises StoreError when the store does not answer."""

    def bind(self, binding: Binding, name: str, beat: Beat, now: int) -> None:
        """Have a new store belong to ``binding``, with ``name`` as its first node, which remembers ``beat``.

        OtherClusterError if it belongs to somebody already.
        """

    def check(self, binding: Binding) -> None:
        """Raise OtherClusterError unless the store belongs to ``binding``."""

    def enter(self, name: str, now: int) -> bool:
        """Make ``name`` the name of one more node; False if a node has it."""
