"""Fills a store with sessions that look like real ones, through the store's own commit."""

import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import fields, replace
from typing import Any

from dpe_bench.rows_devices import Devices
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.store.opening import open_store
from dpe_tools.load.plan import imei

BATCH = 200_000
"""The most sessions in a commit: the more, the more of them share a page of the database."""
SHARE = 10
"""A commit adds at most one row to so many: the pages are then about as full as if the rows had come one by one."""
LEAST = 1_000
PATIENCE = 60.0
"""Seconds for a commit."""

ENDED = 1
"""When the sessions ended that there are to prune: Unix seconds."""


class Rows:
    """The rows of the store of ``state``: the sessions of the devices from number 0 up to ``count``.

    A commit has ``most`` of them at most.
    """

    def __init__(self, state: StateDir, most: int = BATCH) -> None:
        """Register the first device: all other sessions are made like its session."""
        self.state = state
        self._most = most
        self.count = 1
        self._at_rest = state.at_rest
        with closing(open_store(state.store_url)) as store:
            devices = Devices(state, store)
            devices.register([0])
            self._pattern = devices.session(0)
        self._sizes = {
            field.name: len(value)
            for field in fields(Session)
            if isinstance(value := getattr(self._pattern, field.name), bytes)
        }

    def fill(self, until: int, tell: Callable[[int], object]) -> float | None:
        """Add rows until there are so many, and return how many a second; ``tell`` hears how many there are."""
        wanted = until - self.count
        start = time.perf_counter()
        with closing(open_store(self.state.store_url)) as store:
            while self.count < until:
                made = self.make(min(until - self.count, self._most, max(LEAST, self.count // SHARE)))
                store.commit(made, patience=PATIENCE)
                tell(self.count)
        return wanted / (time.perf_counter() - start) if wanted > 0 else None

    def make(self, count: int) -> list[Session]:
        """Return the sessions of the next devices, in the order of their Client IDs."""
        return self._like((self._at_rest.device_id(imei(number)) for number in self.take(count)), expires_at=None)

    def take(self, count: int) -> range:
        """Return the numbers of the next devices, whom the caller registers."""
        self.count += count
        return range(self.count - count, self.count)

    def make_ended(self, count: int) -> list[Session]:
        """Return sessions of devices without a number, which ended long ago."""
        return self._like((os.urandom(self._sizes["device"]) for _ in range(count)), expires_at=ENDED)

    def _like(self, devices: Iterable[bytes], expires_at: int | None) -> list[Session]:
        made = []
        for ordinal, device in enumerate(devices, 1):
            random = os.urandom(sum(self._sizes.values()))
            drawn: dict[str, Any] = {}
            at = 0
            for name, size in self._sizes.items():
                drawn[name] = random[at : at + size]
                at += size
            # The policy's range has the first four bits in common.
            client_id = self._pattern.client_id & 0xF << 52 | secrets.randbits(52)
            drawn |= {"client_id": client_id, "device": device}
            made.append(replace(self._pattern, **drawn, ordinal=ordinal, expires_at=expires_at))
        return sorted(made, key=lambda session: session.client_id)
