"""Gathers the requests of one turn of the event loop into a batch, so that they share one durable commit.

One batch is in flight at a time and the rest waits: the registrar and the store are never entered twice at once. The
commit runs on a worker thread, so the event loop stays free for retransmissions and for refusing what is too much.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import structlog

from dpe_server.logs import log_defect
from dpe_server.registrar import Prepared
from dpe_server.reply import Reply, busy
from dpe_server.store import Outcome, Session, StoreError

BATCH = 256
"""The most requests in one batch."""
WAITING = 4_096
"""The most requests that wait for a batch; what comes above it gets 5.03 at once."""

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")


class Service(Protocol):
    """What decides the requests: the registrar."""

    def prepare(self, batch: Sequence[bytes], now: float, wall: float) -> Prepared:
        """Decide a batch of payloads; the result holds the sessions to commit."""
        ...

    def complete(self, prepared: Prepared, outcomes: Sequence[Outcome] | None, now: float) -> list[Reply]:
        """Return the replies, in the batch's order; ``outcomes`` is None when the commit failed."""
        ...


class Batcher:
    """Takes single requests, decides them in batches.

    ``commit`` makes sessions durable and raises StoreError when it cannot. ``retry_after`` (seconds) is what a request
    is told that is not taken. ``on_batch`` is called after each batch, before its replies go out.
    """

    def __init__(
        self,
        service: Service,
        commit: Callable[[Sequence[Session]], Sequence[Outcome]],
        *,
        retry_after: int,
        on_batch: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._commit = commit
        self._busy = busy(retry_after)
        self._on_batch = on_batch
        self._clock = clock
        self._wall = wall
        self._waiting: deque[tuple[bytes, asyncio.Future[Reply]]] = deque()
        self._in_flight = asyncio.Lock()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dpe-commit")
        self._runner: asyncio.Task[None] | None = None
        self._closing = False
        self._commit_fails = False

    async def submit(self, payload: bytes) -> Reply:
        """Return the reply to one request; 5.03 when too many wait or the batcher is closing."""
        if self._closing or len(self._waiting) >= WAITING:
            return self._busy
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append((payload, future))
        if self._runner is None:
            self._runner = loop.create_task(self._run())
        return await future

    async def exclusively(self, action: Callable[[], _Result]) -> _Result:
        """Run ``action`` on the worker thread while no batch is in flight, and return what it returns."""
        async with self._in_flight:
            return await asyncio.get_running_loop().run_in_executor(self._worker, action)

    async def close(self) -> None:
        """Take no more requests, finish those that were taken, and end the worker thread."""
        self._closing = True
        if self._runner is not None:
            await self._runner
        async with self._in_flight:
            self._worker.shutdown()

    async def _run(self) -> None:
        while self._waiting:
            async with self._in_flight:
                await self._run_batch()
        self._runner = None

    async def _run_batch(self) -> None:
        batch: list[tuple[bytes, asyncio.Future[Reply]]] = []
        while self._waiting and len(batch) < BATCH:
            payload, future = self._waiting.popleft()
            if not future.done():  # else its sender has lost interest
                batch.append((payload, future))
        try:
            replies = await self._decide([payload for payload, _ in batch])
            self._on_batch()
        except Exception as error:
            log_defect("batch failed", error)
            replies = [self._busy] * len(batch)
        for (_, future), reply in zip(batch, replies, strict=True):
            if not future.done():
                future.set_result(reply)

    async def _decide(self, payloads: Sequence[bytes]) -> list[Reply]:
        prepared = self._service.prepare(payloads, self._clock(), self._wall())
        outcomes = await self._make_durable(prepared.sessions) if prepared.sessions else []
        return self._service.complete(prepared, outcomes, self._clock())

    async def _make_durable(self, sessions: Sequence[Session]) -> Sequence[Outcome] | None:
        """Commit on the worker thread; None, and one log line until it works again, when that fails."""
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._worker, self._commit, sessions)
        except Exception as error:
            if not self._commit_fails:
                self._commit_fails = True
                if isinstance(error, StoreError):
                    _log.error("store not writable", reason=str(error))
                else:
                    log_defect("commit failed", error)
            return None
        if self._commit_fails:
            self._commit_fails = False
            _log.info("store writable again")
        return outcomes
