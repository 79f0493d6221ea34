"""Gathers requests into batches, so that those of a batch share one durable commit.

One batch is in flight at a time and the rest waits: the registrar and the store are never entered twice at once. The
commit runs on a worker thread, so the event loop stays free for the network and for refusing what is too much. There
is no timer, task or future for a request of the lane, only its place in a list.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import structlog

from dpe_server.logs import log_defect
from dpe_server.registrar import Prepared
from dpe_server.reply import Reply, busy
from dpe_server.store import Outcome, Session, StoreError

BATCH = 256
"""The most requests in one batch, unless more are offered at once."""
WAITING = 4_096
"""With so many requests waiting for a batch, further ones get 5.03 at once."""
PATIENCE = 1.5
"""Seconds. When a request has waited so long, further ones get 5.03 at once: clients ask again after 2 s."""

Answer = Callable[[Sequence[Reply]], None]

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


class _Group(NamedTuple):
    """Requests that came together, and who wants their replies."""

    payloads: Sequence[bytes]
    answer: Answer
    arrived: float


class Batcher:
    """Takes requests, decides them in batches.

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
        self._waiting: deque[_Group] = deque()
        self._count = 0  # of the payloads in it
        self._actions: deque[asyncio.Future[None]] = deque()
        self._free = asyncio.Event()  # nothing is in flight, nothing waits
        self._free.set()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dpe-commit")
        self._closing = False
        self._commit_fails = False

    def __len__(self) -> int:
        """How many requests wait for a batch."""
        return self._count

    def offer(self, payloads: Sequence[bytes], answer: Answer) -> None:
        """Have requests decided, all in one batch; ``answer`` gets their replies, in order, in the event loop's thread.

        It is called before this returns when nothing is in flight and there is nothing to commit; and with 5.03 for
        all when too many wait or the batcher is closing.
        """
        if self._enter(_Group(payloads, answer, self._clock())) and self._free.is_set():
            self._free.clear()
            self._run_batch()

    async def submit(self, payload: bytes) -> Reply:
        """Return the reply to one request. Requests of one turn of the event loop share a batch."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        group = _Group((payload,), partial(_resolve, future), self._clock())
        if self._enter(group) and self._free.is_set():
            self._free.clear()
            loop.call_soon(self._go_on)
        try:
            return await future
        except asyncio.CancelledError:
            if group in self._waiting:
                self._waiting.remove(group)
                self._count -= 1
            raise

    async def exclusively(self, action: Callable[[], _Result]) -> _Result:
        """Run ``action`` on the worker thread while no batch is in flight, and return what it returns."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._actions.append(turn)
        if self._free.is_set():
            self._free.clear()
            self._go_on()
        try:
            await turn
            return await loop.run_in_executor(self._worker, action)
        finally:
            if turn.done() and not turn.cancelled():
                self._go_on()

    async def close(self) -> None:
        """Take no more requests, finish those that were taken, and end the worker thread."""
        self._closing = True
        await self._free.wait()
        self._worker.shutdown()

    def _enter(self, group: _Group) -> bool:
        """Let requests wait; or refuse them and return False."""
        stuck = bool(self._waiting) and group.arrived - self._waiting[0].arrived > PATIENCE
        if self._closing or self._count >= WAITING or stuck:
            self._give(group.answer, [self._busy] * len(group.payloads))
            return False
        self._waiting.append(group)
        self._count += len(group.payloads)
        return True

    def _go_on(self) -> None:
        """Do what comes next, now that nothing is in flight."""
        while self._actions:
            turn = self._actions.popleft()
            if not turn.done():  # else who wanted it was cancelled
                turn.set_result(None)
                return
        if self._waiting:
            self._run_batch()
        else:
            self._free.set()

    def _run_batch(self) -> None:
        """Begin a batch, and end it if it has nothing to commit."""
        batch = [self._waiting.popleft()]
        payloads = list(batch[0].payloads)
        while self._waiting and len(payloads) + len(self._waiting[0].payloads) <= BATCH:
            batch.append(self._waiting.popleft())
            payloads += batch[-1].payloads
        self._count -= len(payloads)
        try:
            prepared = self._service.prepare(payloads, self._clock(), self._wall())
        except Exception as error:
            self._fail(batch, error)
            return
        if not prepared.sessions:
            self._end(batch, prepared, [])
            return
        committing = asyncio.get_running_loop().run_in_executor(self._worker, self._commit, prepared.sessions)
        committing.add_done_callback(partial(self._committed, batch, prepared))

    def _committed(
        self, batch: Sequence[_Group], prepared: Prepared, committing: asyncio.Future[Sequence[Outcome]]
    ) -> None:
        """End a batch after its commit; log one line when that fails, and one when it works again."""
        error = committing.exception()
        if error is None:
            if self._commit_fails:
                self._commit_fails = False
                _log.info("store writable again")
            self._end(batch, prepared, committing.result())
            return
        if not self._commit_fails:
            self._commit_fails = True
            if isinstance(error, StoreError):
                _log.error("store not writable", reason=str(error))
            else:
                log_defect("commit failed", error)
        self._end(batch, prepared, None)

    def _end(self, batch: Sequence[_Group], prepared: Prepared, outcomes: Sequence[Outcome] | None) -> None:
        try:
            replies = self._service.complete(prepared, outcomes, self._clock())
            self._on_batch()
        except Exception as error:
            self._fail(batch, error)
        else:
            self._answer(batch, replies)

    def _fail(self, batch: Sequence[_Group], error: Exception) -> None:
        log_defect("batch failed", error)
        self._answer(batch, [self._busy] * sum(len(group.payloads) for group in batch))

    def _answer(self, batch: Sequence[_Group], replies: Sequence[Reply]) -> None:
        start = 0
        for group in batch:
            end = start + len(group.payloads)
            self._give(group.answer, replies[start:end])
            start = end
        if self._waiting or self._actions:
            asyncio.get_running_loop().call_soon(self._go_on)  # after the network had its turn
        else:
            self._free.set()

    @staticmethod
    def _give(answer: Answer, replies: Sequence[Reply]) -> None:
        try:
            answer(replies)
        except Exception as error:
            log_defect("answer failed", error)


def _resolve(future: asyncio.Future[Reply], replies: Sequence[Reply]) -> None:
    if not future.done():  # else who asked has lost interest
        future.set_result(replies[0])
