"""What handlers ask a store before they decide a batch, and what they are told.

All of a batch's questions are answered in one round trip (``Store.look``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

PLACE_BITS = 12
"""Bits of an ordinal below the number of its batch, for a REQUEST's place in it: no batch has so many."""


class Restriction(NamedTuple):
    """What an operator has imposed on one device."""

    revoked: bool = False
    minimum_epoch: int = 0
    """The lowest key epoch accepted from this device, 0 to 255."""


class Context(NamedTuple):
    """What must be known to answer a request under the OSCORE context of a session."""

    client_id: int
    found: bool
    """Whether there is such a session. If not, the rest means nothing."""
    device: bytes
    ordinal: int
    mark: int | None
    """The highest number of a request that was accepted; None: none yet."""
    expires_at: int | None
    """The session is over from this second on; None: it has no end."""
    lifetime: int | None
    rule: str
    sealed_for: int
    """The Client ID for whose session the keys are sealed: another one, if there is no such session."""
    sealed_keys: bytes
    policies: bytes | None
    """What an operator has the device report, instead of the rule's policies: see ``OverridePolicies``."""

    def __repr__(self) -> str:
        """Show nothing of the device."""
        return f"Context(found={self.found})"


@dataclass(slots=True)
class Questions:
    """What a handler must know before it can decide a batch. False when there is nothing to ask."""

    restrictions: set[bytes] = field(default_factory=set)
    """Devices: what is imposed on them? If any device is asked about, the minimum epoch of all is told too."""
    client_ids_of: set[bytes] = field(default_factory=set)
    """Devices: which Client ID does their session have?"""
    holders: set[int] = field(default_factory=set)
    """Client IDs: which device's session has them?"""
    in_use: set[tuple[int, int]] = field(default_factory=set)
    """Ranges, first and last included: which Client IDs in them have a session?"""
    confirmed: set[int] = field(default_factory=set)
    """Client IDs: how was their session confirmed?"""
    contexts: set[int] = field(default_factory=set)
    """Client IDs: what is the context of their session?"""
    number: bool = False
    """Which number comes next? Only a store that is remote has numbers."""

    def __bool__(self) -> bool:
        """Say whether there is anything to ask."""
        return bool(
            self.restrictions
            or self.client_ids_of
            or self.holders
            or self.in_use
            or self.confirmed
            or self.contexts
            or self.number
        )

    def add(self, others: "Questions") -> None:
        """Ask also what another handler asks."""
        self.restrictions |= others.restrictions
        self.client_ids_of |= others.client_ids_of
        self.holders |= others.holders
        self.in_use |= others.in_use
        self.confirmed |= others.confirmed
        self.contexts |= others.contexts
        self.number |= others.number


class Confirmed(NamedTuple):
    """What was answered to the SUCCESS that established a session, to be answered again."""

    success_hash: bytes
    """SHA-256 of the SUCCESS message, 32 bytes; zeros when there is no session. Then the rest means nothing."""
    expires_at: int | None
    """The session is over from this second on; None: it has no end."""
    confirm: bytes


@dataclass(slots=True)
class Facts:
    """The answers to ``Questions``, by what was asked. Sessions past their end count too, until ``expire`` ends them.

    The facts of one look need not be of one moment, but none shows half a commit.
    """

    minimum_epoch: int = 255
    """The lowest key epoch accepted from any device, 0 to 255; it is 255 unless restrictions were asked for."""
    restrictions: dict[bytes, Restriction] = field(default_factory=dict)
    """A device with nothing imposed on it is absent; ``NOBODY`` is there."""
    client_ids_of: dict[bytes, int] = field(default_factory=dict)
    """A device without a session is absent."""
    holders: dict[int, bytes] = field(default_factory=dict)
    """A Client ID without a session is absent."""
    in_use: dict[tuple[int, int], set[int]] = field(default_factory=dict)
    """All that were asked for."""
    confirmed: dict[int, Confirmed] = field(default_factory=dict)
    """Every Client ID that was asked for. Without a session, ``Confirmed`` fits no SUCCESS; so that this takes as much
    work, the session with the next higher Client ID, if there is one, was read instead."""
    contexts: dict[int, Context] = field(default_factory=dict)
    """Every Client ID that was asked for. Without a session, the next one was read, as for ``confirmed``."""
    number: int = 0
    """Positive, and above all that any node was told before this look began; 0 if none was asked for."""

    def add_holders(self, holders: Mapping[int, bytes]) -> None:
        """Add sessions, by Client ID with their devices, that have become durable since."""
        self.holders.update(holders)
        for first, last in self.in_use:
            self.in_use[first, last].update(client_id for client_id in holders if first <= client_id <= last)
