"""All that a store has, as rows that another store can take."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from dpe_server.store.changes import Row
from dpe_server.store.contract import Beat

SESSION = (
    *("client_id", "device", "sealed_imei", "version_major", "version_minor", "firmware", "suite", "rule", "ordinal"),
    *("established_at", "lifetime", "expires_at", "th3", "success_hash", "confirm", "sealed_keys", "mark", "seen_at"),
    *("record", "epoch", "attempt", "changed", "check_at", "ended_at"),
)
"""What is had of a device's session, or of its trace."""
IMPOSED = ("revoked_at", "minimum_epoch", "policies")
"""What operators have imposed on a device."""
COLUMNS = (*SESSION, *IMPOSED)


class Whole(NamedTuple):
    """A store at one moment."""

    devices: Iterator[tuple[Any, ...]]
    """Of each device that is known, but not of NOBODY: the values of COLUMNS, of which nearly all may be None."""
    changes: Iterator[Row]
    """In their order."""
    beats: list[Beat]
    history: bytes
    """See ``Standing``."""
    dropped: int
    minimum_epoch: int
    """Of all devices."""
    last_ordinal: int


class Copied(NamedTuple):
    """How much was copied."""

    sessions: int
    traces: int
    restricted: int
    """Devices on which operators have imposed something."""
    changes: int
