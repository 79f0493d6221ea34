"""Looks at a remote store: in one trip a batch, off the event loop, and what comes meanwhile is the next batch."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from dpe_coap.binding import Code
from dpe_server.handling.batching import PATIENCE, Batcher
from dpe_server.handling.handler import MOST_LOOKS, Part, deciding
from dpe_server.handling.reply import Reply, busy
from dpe_server.store.contract import Outcome, StoreError
from dpe_server.store.questions import Facts, Questions
from tests.server.echo import SECRET, Echo, Echoes, in_flight, payloads, run


@dataclass
class Distant(Echo):
    """An echo that asks about each payload, once more about those that begin with ``+``; ``.`` asks nothing."""

    remote: bool = True
    looks: list[set[int]] = field(default_factory=list)
    looked_in: set[str] = field(default_factory=set)
    open: threading.Event = field(default_factory=threading.Event)
    """Looks wait for it."""
    look_fault: Exception | None = None
    unanswered: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.open.set()

    def read(self, payloads: Sequence[bytes], now: float) -> Echoes:
        batch = super().read(payloads, now)
        batch.questions.holders.update(hash(payload) for payload in payloads if not payload.startswith(b"."))
        return batch

    def decide(self, batch: Echoes, facts: Facts | None, now: float, wall: float) -> Questions | None:
        if facts is None:
            self.unanswered += 1
        elif any(payload.startswith(b"+") for payload in batch.payloads) and -1 not in facts.holders:
            return Questions(holders={-1})
        return super().decide(batch, facts, now, wall)

    def look(self, questions: Questions) -> Facts:
        self.looked_in.add(threading.current_thread().name)
        assert self.open.wait(10)
        self.looks.append(questions.holders)
        if self.look_fault is not None:
            raise self.look_fault
        return Facts(holders=dict.fromkeys(questions.holders, b"device"))


@pytest.fixture
def echo() -> Distant:
    return Distant()


async def looking(echo: Distant, batcher: Batcher, payload: bytes = b"first") -> asyncio.Task[Reply]:
    """Return the task of a request whose look waits."""
    echo.open.clear()
    task = asyncio.create_task(batcher.submit(echo, payload))
    await in_flight(echo, 1)
    return task


def test_what_comes_during_a_look_gathers_and_shares_the_next(echo: Distant) -> None:
    async def test(batcher: Batcher) -> None:
        first = await looking(echo, batcher)
        rest = [asyncio.create_task(batcher.submit(echo, payload)) for payload in payloads(20)]
        await asyncio.sleep(0)
        assert echo.batches == [[b"first"]]
        echo.open.set()
        assert (await first).payload == b"first"
        assert [reply.payload for reply in await asyncio.gather(*rest)] == payloads(20)

    run(echo, test)
    assert echo.batches == [[b"first"], payloads(20)]
    assert [len(look) for look in echo.looks] == [1, 20]
    assert len(echo.looked_in) == 1
    assert threading.current_thread().name not in echo.looked_in


def test_further_looks_are_elsewhere_too(echo: Distant) -> None:
    async def test(batcher: Batcher) -> None:
        assert (await batcher.submit(echo, b"+one")).payload == b"+one"

    run(echo, test)
    assert echo.looks == [{hash(b"+one")}, {-1}]
    assert threading.current_thread().name not in echo.looked_in


def test_a_group_that_asks_nothing_is_answered_in_the_same_call(echo: Distant) -> None:
    replies: list[Reply] = []

    async def test(batcher: Batcher) -> None:
        batcher.take(echo, [b".one", b".two"], replies.extend)
        assert [reply.payload for reply in replies] == [b".one", b".two"]

    run(echo, test)
    assert echo.looks == []


def test_a_look_and_a_commit_are_under_way_together(echo: Distant) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        committing = asyncio.create_task(batcher.submit(echo, b"!first"))
        while not echo.threads:  # noqa: ASYNC110  # a turn is what is waited for
            await asyncio.sleep(0)
        assert (await batcher.submit(echo, b"second")).payload == b"second"
        assert not committing.done()
        held = await looking(echo, batcher, b"third")
        echo.gate.set()
        assert (await committing).payload == b"!first"
        assert not held.done()
        echo.open.set()
        await held

    run(echo, test)
    assert echo.threads.isdisjoint(echo.looked_in)


def test_a_decision_is_made_at_the_time_after_its_look(echo: Distant) -> None:
    now = 5.0

    async def test(batcher: Batcher) -> None:
        nonlocal now
        first = await looking(echo, batcher)
        now = 6.0
        echo.open.set()
        await first

    run(echo, test, clock=lambda: now, wall=lambda: 100 * now)
    assert echo.times == [(6.0, 600.0)]


def test_when_a_look_takes_too_long_what_comes_is_refused_at_once(echo: Distant) -> None:
    now = 10.0

    async def test(batcher: Batcher) -> None:
        nonlocal now
        first = await looking(echo, batcher)
        now += PATIENCE + 0.01
        assert await batcher.submit(echo, b"late") == busy(60)
        echo.open.set()
        assert (await first).code == Code.CHANGED
        assert (await batcher.submit(echo, b"later")).code == Code.CHANGED

    run(echo, test, clock=lambda: now)


def test_a_store_that_does_not_answer_is_told_to_the_handler(echo: Distant) -> None:
    async def test(batcher: Batcher) -> None:
        echo.look_fault = StoreError("the database does not answer")
        await batcher.submit(echo, b"one")
        echo.look_fault = None
        await batcher.submit(echo, b"two")

    run(echo, test)
    assert echo.unanswered == 1


def test_a_defect_of_a_look_is_5_03_and_logged_without_the_payload(echo: Distant) -> None:
    async def test(batcher: Batcher) -> None:
        echo.look_fault = RuntimeError(SECRET.decode())
        assert await batcher.submit(echo, SECRET) == busy(60)
        echo.look_fault = None
        assert (await batcher.submit(echo, b"after")).payload == b"after"

    (log,) = run(echo, test)
    assert (log["event"], log["error"]) == ("batch failed", "RuntimeError")
    assert SECRET.decode() not in str(log)
    assert echo.abandoned == 1


def test_an_exclusive_action_waits_for_the_look_under_way(echo: Distant) -> None:
    async def test(batcher: Batcher) -> None:
        first = await looking(echo, batcher)
        action = asyncio.create_task(batcher.exclusively(lambda: len(echo.times)))
        second = asyncio.create_task(batcher.submit(echo, b"second"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not action.done()
        echo.open.set()
        assert await action == 1, "the first was decided, the second was not"
        await asyncio.gather(first, second)

    run(echo, test)
    assert echo.batches == [[b"first"], [b"second"]]


def test_closing_waits_for_the_look_under_way_and_the_commit_after_it(echo: Distant) -> None:
    async def test(batcher: Batcher) -> None:
        first = await looking(echo, batcher, b"!first")
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        assert await batcher.submit(echo, b"late") == busy(60)
        echo.open.set()
        await closing
        assert (await first).payload == b"!first"

    run(echo, test)
    assert echo.completed == [[Outcome.COMMITTED]]


def test_who_asks_without_end_is_a_defect() -> None:
    class Endless(Echo):
        def decide(self, batch: Echoes, facts: Facts | None, now: float, wall: float) -> Questions | None:
            return Questions(holders={1})

    endless = Endless()
    batch = endless.read([b"one"], 0.0)
    batch.questions.holders.add(0)
    under_way = deciding([Part(endless, batch)], lambda: 0.0, lambda: 0.0)
    next(under_way)
    for _ in range(MOST_LOOKS - 1):
        under_way.send(Facts())
    with pytest.raises(StopIteration) as end:
        under_way.send(Facts())
    assert "without end" in str(end.value.value[id(batch)])
