"""What the contract's tests read of a store."""

from collections.abc import Callable

from dpe_server.store.contract import Session, Store
from dpe_server.store.questions import Questions, Restriction

Make = Callable[..., Session]
Open = Callable[[], Store]
EVER = -1
"""Before the end of any session."""


def all_of(store: Store) -> set[Session]:
    """Return every session; no two are the same."""
    sessions = list(store.live(EVER))
    assert len(set(sessions)) == len(sessions)
    return set(sessions)


def restrictions(store: Store, *devices: bytes) -> dict[bytes, Restriction]:
    return store.look(Questions(restrictions=set(devices))).restrictions


def minimum_epoch(store: Store) -> int:
    return store.look(Questions(restrictions={bytes(16)})).minimum_epoch
