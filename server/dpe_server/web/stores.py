"""Connections to the store, which are kept open between two requests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore

from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import ReplacedError, Store, StoreError

STORES = 4
"""The most connections to the store."""
PATIENCE = 5.0
"""Seconds that a request waits for one of them."""
IDLE = 30.0
"""Seconds after which a connection that was not used is not used again."""


class BusyError(StoreError):
    """Too many requests want the store."""


class Stores:
    """Keeps connections to the store of a state directory open between two requests. Any thread may call."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._free: SimpleQueue[tuple[Store, float]] = SimpleQueue()
        self._turns = BoundedSemaphore(STORES)

    @contextmanager
    def open(self) -> Iterator[Store]:
        """Give a store; StoreError, and BusyError if all are in use for PATIENCE."""
        if not self._turns.acquire(timeout=PATIENCE):
            raise BusyError("too many requests at once", hint="try again in a moment")
        try:
            store = self._taken()
            try:
                yield store
            except StoreError:
                store.close()
                raise
            except BaseException:
                self._free.put((store, time.monotonic()))
                raise
            self._free.put((store, time.monotonic()))
        finally:
            self._turns.release()

    def close(self) -> None:
        """Close those that are open and not in use."""
        while True:
            try:
                store, _ = self._free.get_nowait()
            except Empty:
                return
            store.close()

    def _taken(self) -> Store:
        while True:
            try:
                store, used = self._free.get_nowait()
            except Empty:
                return StateDir.open(self._state).open_store()
            if time.monotonic() - used < IDLE:
                try:
                    store.standing()  # another file may be in its place, or the database may have gone
                except ReplacedError:
                    pass
                except StoreError:
                    store.close()
                    raise
                else:
                    return store
            store.close()
