"""Groups of requests, as the lane has them taken: answered in the same call, or after their commit, or refused."""

import asyncio
import gc
from collections.abc import Sequence

import pytest

from dpe_coap.binding import Code
from dpe_server.handling.batching import BATCH, PATIENCE, WAITING, Batcher
from dpe_server.handling.reply import Reply, busy
from tests.server.echo import SECRET, Echo, payloads, run


@pytest.fixture
def echo() -> Echo:
    return Echo()


class Taken:
    """Has groups of payloads taken and keeps their replies."""

    def __init__(self, echo: Echo, batcher: Batcher) -> None:
        self.echo = echo
        self.batcher = batcher
        self.replies: list[Sequence[Reply]] = []

    def take(self, *payloads: bytes) -> None:
        self.batcher.take(self.echo, payloads, self.replies.append)

    def payloads(self) -> list[list[bytes]]:
        return [[reply.payload for reply in replies] for replies in self.replies]

    async def all(self, count: int) -> None:
        while len(self.replies) < count:  # noqa: ASYNC110  # a turn is what is waited for
            await asyncio.sleep(0)


def test_a_group_with_nothing_to_commit_is_answered_in_the_same_call(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        before = asyncio.all_tasks()
        taken = Taken(echo, batcher)
        taken.take(*payloads(5))
        assert taken.payloads() == [payloads(5)]
        taken.take(*payloads(3))
        assert taken.payloads() == [payloads(5), payloads(3)]
        assert asyncio.all_tasks() == before  # no task was begun for them

    assert run(echo, test) == []
    assert echo.threads == set()


def test_a_group_is_answered_after_its_commit_and_what_comes_meanwhile_shares_the_next(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"plain", b"!first")
        for number in range(10):
            taken.take(b"!%d" % number, b"plain")
            await asyncio.sleep(0)
        assert taken.replies == []
        assert len(batcher) == 22
        echo.gate.set()
        await taken.all(11)
        assert taken.payloads() == [[b"plain", b"!first"], *([b"!%d" % number, b"plain"] for number in range(10))]

    run(echo, test)
    assert [len(batch) for batch in echo.batches] == [2] * 11
    assert echo.commits == [1, 10]


def test_a_group_with_nothing_to_commit_does_not_wait_for_the_commit_of_others(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"!held")
        taken.take(*payloads(5))
        assert taken.payloads() == [payloads(5)]
        echo.gate.set()
        await taken.all(2)

    run(echo, test)


def test_a_group_that_waits_for_the_commit_of_another_is_answered_after_it(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"!held")
        taken.take(b"?again")
        await asyncio.sleep(0)
        assert taken.replies == []
        echo.gate.set()
        await taken.all(2)
        assert taken.payloads() == [[b"!held"], [b"?again"]]
        taken.take(b"?with nothing to wait for")
        assert len(taken.replies) == 3

    run(echo, test)
    assert echo.commits == [1]


async def on_hold(echo: Echo, batcher: Batcher) -> "asyncio.Task[bool]":
    """Have groups wait to be decided until the gate opens."""
    echo.gate.clear()
    action = asyncio.create_task(batcher.exclusively(lambda: echo.gate.wait(10)))
    await asyncio.sleep(0)
    return action


def test_a_group_is_never_split_between_batches(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        action = await on_hold(echo, batcher)
        taken = Taken(echo, batcher)
        for size in (BATCH - 1, 1, 1, BATCH + 1, 1):
            taken.take(*payloads(size))
        echo.gate.set()
        await action
        await taken.all(5)

    run(echo, test)
    assert [len(batch) for batch in echo.batches] == [BATCH, 1, BATCH + 1, 1]


def test_a_group_is_never_split_between_commits(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"!first")
        for size in (BATCH - 1, 1, 1, BATCH + 1, 1):
            taken.take(*payloads(size, b"!"))
        echo.gate.set()
        await taken.all(6)

    run(echo, test)
    assert echo.commits == [1, BATCH, 1, BATCH + 1, 1]


def test_the_event_loop_turns_between_batches(echo: Echo) -> None:
    """However much waits, the network has its turn after each."""

    async def test(batcher: Batcher) -> None:
        action = await on_hold(echo, batcher)
        taken = Taken(echo, batcher)
        for _ in range(10):
            taken.take(*payloads(BATCH))
        echo.gate.set()
        while len(batcher):
            before = len(echo.batches)
            await asyncio.sleep(0)
            assert len(echo.batches) - before <= 1
        await action

    run(echo, test)
    assert len(echo.batches) == 10


def test_the_event_loop_turns_while_a_commit_is_held(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"!held")
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert taken.replies == []
        echo.gate.set()
        await taken.all(1)

    run(echo, test)


def test_a_group_beyond_the_bound_is_refused_whole_and_at_once(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"!held")
        for _ in range(WAITING // BATCH):
            taken.take(*payloads(BATCH, b"!"))
        assert len(batcher) == 1 + WAITING
        for _ in range(1_000):  # a flood
            taken.take(*payloads(BATCH))
            assert taken.replies.pop() == [busy(60)] * BATCH
        assert len(batcher) == 1 + WAITING
        assert taken.replies == []
        echo.gate.set()
        await taken.all(1 + WAITING // BATCH)

    run(echo, test)
    assert sum(map(len, echo.batches)) == 1 + WAITING


def test_when_one_has_waited_too_long_the_next_is_refused(echo: Echo) -> None:
    """They would wait at least as long, and their clients ask again meanwhile."""
    now = 0.0

    async def test(batcher: Batcher) -> None:
        nonlocal now
        echo.gate.clear()
        taken = Taken(echo, batcher)
        now = 10.0
        taken.take(b"!held")
        now = 10.0 + PATIENCE
        taken.take(b"!in time")
        assert taken.replies == []
        now += 0.01
        taken.take(b"late")
        assert taken.replies.pop() == [busy(60)]
        assert await batcher.submit(echo, b"late too") == busy(60)
        echo.gate.set()
        await taken.all(2)
        taken.take(b"later")
        assert taken.payloads() == [[b"!held"], [b"!in time"], [b"later"]]

    run(echo, test, clock=lambda: now)


def test_a_group_that_meets_a_defect_is_answered_5_03(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.fault = RuntimeError(SECRET.decode())
        taken = Taken(echo, batcher)
        taken.take(SECRET, SECRET)
        echo.fault = None
        taken.take(b"after")
        assert taken.replies == [[busy(60)] * 2, [Reply(Code.CHANGED, b"after")]]

    (log,) = run(echo, test)
    assert SECRET.decode() not in str(log)


def test_a_defect_in_an_answer_is_one_log_line_and_the_others_get_theirs(echo: Echo) -> None:
    def fail(_: Sequence[Reply]) -> None:
        raise RuntimeError(SECRET.decode())

    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"!held")
        batcher.take(echo, [b"!defect"], fail)
        taken.take(b"!other")
        echo.gate.set()
        await taken.all(2)
        assert taken.payloads() == [[b"!held"], [b"!other"]]

    (log,) = run(echo, test)
    assert (log["event"], log["error"]) == ("answer failed", "RuntimeError")
    assert SECRET.decode() not in str(log)


def test_closing_answers_what_was_taken(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"!held")
        taken.take(b"!waiting")
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        taken.take(b"late")
        assert taken.replies == [[busy(60)]]
        echo.gate.set()
        await closing
        assert taken.payloads()[1:] == [[b"!held"], [b"!waiting"]]

    run(echo, test)


def test_an_exclusive_action_that_is_cancelled_stops_nothing(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        taken = Taken(echo, batcher)
        taken.take(b"!held")
        waiting = asyncio.create_task(batcher.exclusively(lambda: None))
        granted = asyncio.create_task(batcher.exclusively(lambda: None))
        await asyncio.sleep(0)
        waiting.cancel()
        taken.take(b"next")
        echo.gate.set()
        await taken.all(1)
        granted.cancel()
        await taken.all(2)
        assert await batcher.exclusively(lambda: 5) == 5

    assert run(echo, test) == []


def test_no_garbage_is_left_for_the_collector(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        taken = Taken(echo, batcher)
        taken.take(*payloads(BATCH))
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                taken.take(*payloads(BATCH))
                taken.replies.clear()
                echo.batches.clear()
            assert gc.collect() == 0
        finally:
            gc.enable()

    run(echo, test)
