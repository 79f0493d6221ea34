"""Gathers requests into batches, has them decided, and lets them share looks at the store and commits.

Requests of several handlers are looked up and committed together; the batcher knows none of their messages. A batch is
decided as soon as it comes. Requests that need no commit are answered in the same call. The others wait while the
commit thread commits earlier batches; then all that have gathered share one commit. So the event loop stays free to
read and to refuse, and a REQUEST never waits for the disk. A request of the lane has no timer, task or future, only a
place in a list. If the store is remote, a batch's look does not hold the event loop up either: what comes meanwhile
waits, and is the next batch.

A commit whose outcome is unknown is not a failed one: its requests wait while the same changes are given again, until
the store says what became of them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog

from dpe_server.files.logs import log_defect
from dpe_server.handling.counts import Counts
from dpe_server.handling.handler import Handler, Part, decide
from dpe_server.handling.looking import Looking
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import Deliver, Reply, busy
from dpe_server.store.contract import Change, CommitUnknown, Outcome, StoreError
from dpe_server.store.questions import Facts, Questions

BATCH = 256
"""The most requests in one batch, and changes in one commit, unless more come at once."""
WAITING = 4_096
"""When this many requests wait for their answer, further ones get 5.03 at once."""
PATIENCE = 1.5
"""Seconds. When a request has waited this long, further ones get 5.03 at once: clients ask again after 2 s."""
UNKNOWN_PATIENCE = 30.0
"""Seconds for which changes are given again whose commit is unknown: most databases fail over within that. Then their
requests get 5.03, and what a device asks next settles it."""
AGAIN = 0.02
"""Seconds before they are given again: the store itself waits for a database that does not answer."""

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")


class Durable(Protocol):
    """The part of a ``Store`` that the batcher needs."""

    @property
    def remote(self) -> bool:
        """See ``Store.remote``."""
        ...

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        ...

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """See ``Store.commit``."""
        ...


class _Group(NamedTuple):
    """Requests that came together, and where their replies go."""

    handler: Handler[Any]
    payloads: Sequence[bytes]
    deliver: Deliver
    arrived: float


class _Decided(NamedTuple):
    """A handler's batch, and the groups whose requests are in it."""

    groups: Sequence[_Group]
    part: Part


class Batcher:
    """Takes requests, has them decided and committed, and answers them.

    ``store`` is read in the event loop's thread, or in one of its own if it is remote, and written in the commit
    thread. A request that is not taken is told to come back after ``retry_after`` seconds. ``audit`` gets the records
    of each batch before its replies go out, and ``crowd`` each subject of its ``crowds`` with the name that it has in
    common with others.
    """

    def __init__(
        self,
        store: Durable,
        *,
        retry_after: int,
        audit: Callable[[Sequence[AuditRecord]], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        crowd: Callable[[bytes, bytes], None] = lambda _, __: None,
    ) -> None:
        self._store = store
        self._busy = busy(retry_after)
        self._audit = audit
        self._clock = clock
        self._wall = wall
        self._crowd = crowd
        self._looking = Looking(store.look, clock, wall) if store.remote else None
        self._count = 0  # requests without a reply; they move through the next four, in this order
        self._waiting: deque[_Group] = deque()
        self._undecided: list[_Decided] = []  # what they ask is being looked up
        self._decided: deque[_Decided] = deque()
        self._committing: list[_Decided] = []
        self._changes: list[Change] = []  # of those that are being committed
        self._give_up_at: float | None = None  # while it is unknown whether they are durable
        self._actions: deque[asyncio.Future[None]] = deque()
        self._acting = False
        self._turn_comes = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._commit_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dpe-commit")
        self._closing = False
        self._commit_fails = False
        self._commit_began = 0.0
        self.counts = Counts()
        """What has come and what became of it."""

    def __len__(self) -> int:
        """How many requests wait for their reply."""
        return self._count

    def take(self, handler: Handler[Any], payloads: Sequence[bytes], deliver: Deliver) -> None:
        """Have requests decided, all in one batch; ``deliver`` gets the replies, in the event loop's thread.

        ``deliver`` is called before this returns if there is nothing to commit, nobody waits to be decided, and the
        store is not remote or not asked. It gets 5.03 for all if too many wait or the batcher is closing.
        """
        if self._enter(_Group(handler, payloads, deliver, self._clock())):
            self._go_on()  # in addition to the turns already due, so that the queue gets shorter

    async def submit(self, handler: Handler[Any], payload: bytes) -> Reply:
        """Return the reply to one request. Requests of one turn of the event loop share a batch."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        group = _Group(handler, (payload,), partial(_resolve, future), self._clock())
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
        """Run ``action`` on the commit thread once all that was decided is committed. New requests wait meanwhile."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._actions.append(turn)
        self._idle.clear()
        self._go_on_soon()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._acting = False
            self._go_on_soon()
            raise
        acting = loop.run_in_executor(self._commit_thread, action)
        acting.add_done_callback(self._acted)
        return await asyncio.shield(acting)  # cancelling the caller does not stop the thread

    def _acted(self, acting: "asyncio.Future[Any]") -> None:
        if not acting.cancelled():
            acting.exception()  # it counts as seen: its caller may have been cancelled
        self._acting = False
        self._go_on_soon()

    async def close(self) -> None:
        """Take no more requests, finish those that were taken, and end the commit thread."""
        self._closing = True
        await self._idle.wait()
        self._commit_thread.shutdown()
        if self._looking is not None:
            self._looking.close()

    def _enter(self, group: _Group) -> bool:
        """Put requests in line, or refuse them and return False."""
        if self._closing or self._count >= WAITING or group.arrived - self._oldest(group) > PATIENCE:
            self.counts.turned_away += len(group.payloads)
            self._deliver([group], [self._busy] * len(group.payloads))
            return False
        self._waiting.append(group)
        self._count += len(group.payloads)
        self._idle.clear()
        return True

    def _oldest(self, newest: _Group) -> float:
        """Return when the request that has waited longest came."""
        decided = next(chain(self._committing, self._decided, self._undecided), None)
        if decided is not None:
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
        while self._actions and self._actions[0].done():  # its caller was cancelled
            self._actions.popleft()
        if self._waiting and not self._actions and not self._acting and not self._undecided:
            self._decide()
            if self._waiting:
                self._go_on_soon()
        if not self._committing:
            self._commit_decided()
        if self._committing or self._acting or self._undecided:
            return
        if self._actions:
            self._acting = True
            self._actions.popleft().set_result(None)
        elif not self._waiting:
            self._idle.set()

    def _decide(self) -> None:
        """Begin to decide what waits, at most a batch."""
        groups = [self._waiting.popleft()]
        count = len(groups[0].payloads)
        while self._waiting and count + len(self._waiting[0].payloads) <= BATCH:
            groups.append(self._waiting.popleft())
            count += len(groups[-1].payloads)
        self.counts.batches.add(count)
        by_handler: dict[int, list[_Group]] = {}
        for group in groups:
            by_handler.setdefault(id(group.handler), []).append(group)
        now = self._clock()
        read: list[_Decided] = []
        for alike in by_handler.values():
            try:
                read.append(_Decided(alike, _read(alike, now)))
            except Exception as error:
                self._fail(alike, error)
        parts = [one.part for one in read]
        if self._looking is None:
            self._take_decided(read, decide(parts, self._store.look, now, self._wall()))
        else:
            self._undecided = read
            self._looking.decide(parts, self._looked)

    def _looked(self, failed: dict[int, Exception]) -> None:
        """Go on with batches that are decided after all that they asked was looked up."""
        read, self._undecided = self._undecided, []
        self._take_decided(read, failed)
        self._go_on_soon()

    def _take_decided(self, read: Sequence[_Decided], failed: dict[int, Exception]) -> None:
        """Answer what needs no commit of what is decided, and have the rest wait for its commit."""
        for one in read:
            if (defect := failed.get(id(one.part.batch))) is not None:
                self._abandon(one, defect)
            elif one.part.batch.changes or one.part.batch.waits:
                self._decided.append(one)
            else:
                self._end(one, [])

    def _commit_decided(self) -> None:
        """Begin to commit what has been decided."""
        changes: list[Change] = []
        while self._decided and (not changes or len(changes) + len(self._decided[0].part.batch.changes) <= BATCH):
            self._committing.append(self._decided.popleft())
            changes += self._committing[-1].part.batch.changes
        if changes:
            self._changes = changes
            self._commit_began = self._clock()
            self._commit()
        else:
            self._end_commit([])

    def _commit(self) -> None:
        commit, changes = self._store.commit, self._changes
        committing = asyncio.get_running_loop().run_in_executor(self._commit_thread, commit, changes)
        committing.add_done_callback(self._committed)

    def _committed(self, committing: asyncio.Future[Sequence[Outcome]]) -> None:
        """Answer after a commit. The first commit that fails is logged, and so is the first that works again."""
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
        if error is not None and self._is_unknown(error):
            asyncio.get_running_loop().call_later(AGAIN, self._commit)
            return
        self._give_up_at = None
        self.counts.commits.add(self._clock() - self._commit_began)
        self.counts.failed_commits += error is not None
        self._end_commit(committing.result() if error is None else None)
        self._go_on()

    def _is_unknown(self, error: BaseException) -> bool:
        """Say whether the changes may be durable, and there is time to give them again: not at the end.

        Once that is unknown, an attempt that fails says nothing of those before it.
        """
        if self._give_up_at is None:
            if not isinstance(error, CommitUnknown):
                return False
            self._give_up_at = self._clock() + UNKNOWN_PATIENCE
        return isinstance(error, StoreError) and self._clock() < self._give_up_at and not self._closing

    def _end_commit(self, outcomes: Sequence[Outcome] | None) -> None:
        """Answer what was committed, or could not be (``outcomes`` is None), in the order in which it came."""
        committed, self._committing = self._committing, []
        start = 0
        for one in committed:
            end = start + len(one.part.batch.changes)
            self._end(one, None if outcomes is None else outcomes[start:end])
            start = end

    def _end(self, decided: _Decided, outcomes: Sequence[Outcome] | None) -> None:
        handler, batch = decided.part
        try:
            replies, records = handler.complete(batch, outcomes, self._clock())
            self._audit(records)
            self.counts.completed(batch.changes, outcomes, records)
            for subject, common in batch.crowds:
                self._crowd(subject, common)
        except Exception as error:
            self._abandon(decided, error)
        else:
            self._answer(decided.groups, replies)

    def _abandon(self, decided: _Decided, error: Exception) -> None:
        handler, batch = decided.part
        try:
            handler.abandon(batch)
        except Exception as another:
            log_defect("batch not abandoned", another)
        self._fail(decided.groups, error)

    def _fail(self, groups: Sequence[_Group], error: Exception) -> None:
        log_defect("batch failed", error)
        self._answer(groups, [self._busy] * sum(len(group.payloads) for group in groups))

    def _answer(self, groups: Sequence[_Group], replies: Sequence[Reply]) -> None:
        self._count -= len(replies)
        self._deliver(groups, replies)

    @staticmethod
    def _deliver(groups: Sequence[_Group], replies: Sequence[Reply]) -> None:
        start = 0
        for group in groups:
            end = start + len(group.payloads)
            try:
                group.deliver(replies[start:end])
            except Exception as error:
                log_defect("answer failed", error)
            start = end


def _read(groups: Sequence[_Group], now: float) -> Part:
    """Have the handler of these groups read all their requests as one batch."""
    payloads = groups[0].payloads if len(groups) == 1 else [payload for group in groups for payload in group.payloads]
    return Part(groups[0].handler, groups[0].handler.read(payloads, now))


def _resolve(future: asyncio.Future[Reply], replies: Sequence[Reply]) -> None:
    if not future.done():  # otherwise the caller was cancelled
        future.set_result(replies[0])
