"""Has requests decided in batches, and shares each durable commit between all that wait for one.

A batch is decided when it comes. What needs no commit is answered in the same call; what does waits in line while the
worker thread commits what came before, and then goes into one commit with all that has gathered. So the event loop
stays free for the network and for refusing what is too much, and a REQUEST never waits for the disk. There is no timer,
task or future for a request of the lane, only its place in a list.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

import structlog

from dpe_server.files.logs import log_defect
from dpe_server.handling.reply import Reply, busy
from dpe_server.registration.registrar import Prepared
from dpe_server.store import Outcome, Session, StoreError

BATCH = 256
"""The most requests in one batch, and sessions in one commit, unless more are offered at once."""
WAITING = 4_096
"""With so many requests waiting for their answer, further ones get 5.03 at once."""
PATIENCE = 1.5
"""Seconds. When a request has waited so long, further ones get 5.03 at once: clients ask again after 2 s."""

Answer = Callable[[Sequence[Reply]], None]

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")


class Service(Protocol):
    """What decides the requests: the registrar. It is never entered twice at once."""

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


class _Decided(NamedTuple):
    """A batch whose answers wait for a commit."""

    groups: Sequence[_Group]
    prepared: Prepared


class Batcher:
    """Takes requests, has them decided, committed and answered.

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
        self._count = 0  # of requests without an answer: in the next three, in the order in which they move on
        self._waiting: deque[_Group] = deque()
        self._decided: deque[_Decided] = deque()
        self._committing: list[_Decided] = []
        self._actions: deque[asyncio.Future[None]] = deque()
        self._acting = False
        self._turn_comes = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dpe-commit")
        self._closing = False
        self._commit_fails = False

    def __len__(self) -> int:
        """How many requests wait for their answer."""
        return self._count

    def offer(self, payloads: Sequence[bytes], answer: Answer) -> None:
        """Have requests decided, all in one batch; ``answer`` gets their replies, in order, in the event loop's thread.

        It is called before this returns when there is nothing to commit and nobody waits to be decided; and with 5.03
        for all when too many wait or the batcher is closing.
        """
        if self._enter(_Group(payloads, answer, self._clock())):
            self._go_on()  # beside the turns of those that wait already, so that there come to be fewer of them

    async def submit(self, payload: bytes) -> Reply:
        """Return the reply to one request. Requests of one turn of the event loop share a batch."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        group = _Group((payload,), partial(_resolve, future), self._clock())
        if self._enter(group):
            self._go_on_soon()
        try:
            return await future
        except asyncio.CancelledError:
            if group in self._waiting:
                self._waiting.remove(group)
                self._count -= 1
                self._go_on_soon()
            raise

    async def exclusively(self, action: Callable[[], _Result]) -> _Result:
        """Run ``action`` on the worker thread when all that was decided is committed; what comes meanwhile waits."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._actions.append(turn)
        self._idle.clear()
        self._go_on_soon()
        try:
            await turn
            return await loop.run_in_executor(self._worker, action)
        finally:
            if turn.done() and not turn.cancelled():
                self._acting = False
            self._go_on_soon()

    async def close(self) -> None:
        """Take no more requests, finish those that were taken, and end the worker thread."""
        self._closing = True
        await self._idle.wait()
        self._worker.shutdown()

    def _enter(self, group: _Group) -> bool:
        """Let requests wait; or refuse them and return False."""
        if self._closing or self._count >= WAITING or group.arrived - self._oldest(group) > PATIENCE:
            self._give(group.answer, [self._busy] * len(group.payloads))
            return False
        self._waiting.append(group)
        self._count += len(group.payloads)
        self._idle.clear()
        return True

    def _oldest(self, newest: _Group) -> float:
        """Return when the request came that has waited longest for its answer."""
        for decided in chain(self._committing[:1], self._decided):
            return decided.groups[0].arrived
        return self._waiting[0].arrived if self._waiting else newest.arrived

    def _go_on_soon(self) -> None:
        if not self._turn_comes:
            self._turn_comes = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn_comes = False
        self._go_on()

    def _go_on(self) -> None:
        """Do what comes next: one batch at most, so that the network has its turn."""
        while self._actions and self._actions[0].done():  # who wanted it was cancelled
            self._actions.popleft()
        if self._waiting and not self._actions and not self._acting:
            self._decide()
            if self._waiting:
                self._go_on_soon()
        if not self._committing:
            self._commit_decided()
        if self._committing or self._acting:
            return
        if self._actions:
            self._acting = True
            self._actions.popleft().set_result(None)
        elif not self._waiting:
            self._idle.set()

    def _decide(self) -> None:
        groups = [self._waiting.popleft()]
        payloads = list(groups[0].payloads)
        while self._waiting and len(payloads) + len(self._waiting[0].payloads) <= BATCH:
            groups.append(self._waiting.popleft())
            payloads += groups[-1].payloads
        try:
            prepared = self._service.prepare(payloads, self._clock(), self._wall())
        except Exception as error:
            self._fail(groups, error)
            return
        decided = _Decided(groups, prepared)
        if prepared.sessions or prepared.awaiting:
            self._decided.append(decided)
        else:
            self._end(decided, [])

    def _commit_decided(self) -> None:
        """Begin a commit of what waits for one."""
        sessions: list[Session] = []
        while self._decided and (not sessions or len(sessions) + len(self._decided[0].prepared.sessions) <= BATCH):
            self._committing.append(self._decided.popleft())
            sessions += self._committing[-1].prepared.sessions
        if sessions:
            committing = asyncio.get_running_loop().run_in_executor(self._worker, self._commit, sessions)
            committing.add_done_callback(self._committed)
        else:
            self._end_commit([])

    def _committed(self, committing: asyncio.Future[Sequence[Outcome]]) -> None:
        """Answer after a commit; log one line when that fails, and one when it works again."""
        error = committing.exception()
        if error is None and self._commit_fails:
            self._commit_fails = False
            _log.info("store writable again")
        elif error is not None and not self._commit_fails:
            self._commit_fails = True
            if isinstance(error, StoreError):
                _log.error("store not writable", reason=str(error))
            else:
                log_defect("commit failed", error)
        self._end_commit(committing.result() if error is None else None)
        self._go_on()

    def _end_commit(self, outcomes: Sequence[Outcome] | None) -> None:
        """Answer what was committed, or could not be (None), in the order in which it came."""
        committed, self._committing = self._committing, []
        start = 0
        for decided in committed:
            end = start + len(decided.prepared.sessions)
            self._end(decided, None if outcomes is None else outcomes[start:end])
            start = end

    def _end(self, decided: _Decided, outcomes: Sequence[Outcome] | None) -> None:
        try:
            replies = self._service.complete(decided.prepared, outcomes, self._clock())
            self._on_batch()
        except Exception as error:
            self._fail(decided.groups, error)
        else:
            self._answer(decided.groups, replies)

    def _fail(self, groups: Sequence[_Group], error: Exception) -> None:
        log_defect("batch failed", error)
        self._answer(groups, [self._busy] * sum(len(group.payloads) for group in groups))

    def _answer(self, groups: Sequence[_Group], replies: Sequence[Reply]) -> None:
        self._count -= len(replies)
        start = 0
        for group in groups:
            end = start + len(group.payloads)
            self._give(group.answer, replies[start:end])
            start = end

    @staticmethod
    def _give(answer: Answer, replies: Sequence[Reply]) -> None:
        try:
            answer(replies)
        except Exception as error:
            log_defect("answer failed", error)


def _resolve(future: asyncio.Future[Reply], replies: Sequence[Reply]) -> None:
    if not future.done():  # else who asked has lost interest
        future.set_result(replies[0])
