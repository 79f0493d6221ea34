"""Batches: who shares one, what waits, what is refused, and that nothing is lost when something fails."""

import asyncio
import threading
from functools import partial

import pytest

from dpe_coap.binding import Code
from dpe_server.handling.batching import BATCH, WAITING, Batcher
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import Reply, busy
from dpe_server.store.contract import Outcome, StoreError
from tests.server.echo import SECRET, Echo, held_up, in_flight, payloads, run


@pytest.fixture
def echo() -> Echo:
    return Echo()


def test_requests_of_one_turn_share_a_batch_and_each_gets_its_own_reply(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        replies = await asyncio.gather(*map(partial(batcher.submit, echo), payloads(50)))
        assert [reply.payload for reply in replies] == payloads(50)

    assert run(echo, test, clock=lambda: 5.0, wall=lambda: 9.0) == []
    assert echo.batches == [payloads(50)]
    assert echo.times == [(5.0, 9.0)]
    assert echo.commits == []


def test_a_batch_is_bounded(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        await asyncio.gather(*map(partial(batcher.submit, echo), payloads(2 * BATCH + 1)))

    run(echo, test)
    assert [len(batch) for batch in echo.batches] == [BATCH, BATCH, 1]


def test_the_sessions_of_a_batch_are_committed_at_once_and_off_the_event_loop(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        await asyncio.gather(*map(partial(batcher.submit, echo), payloads(5, b"!") + payloads(3)))

    run(echo, test)
    assert echo.commits == [5]
    assert echo.completed == [[Outcome.COMMITTED] * 5]
    assert threading.current_thread().name not in echo.threads


def test_what_comes_during_a_commit_is_decided_at_once_and_shares_the_next(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        first = await held_up(echo, batcher)
        second = asyncio.create_task(batcher.submit(echo, b"!second"))
        await in_flight(echo, 2)
        rest = [asyncio.create_task(batcher.submit(echo, payload)) for payload in payloads(20, b"!")]
        await in_flight(echo, 3)
        assert not first.done()
        echo.gate.set()
        await asyncio.gather(first, second, *rest)

    run(echo, test)
    assert echo.batches == [[b"!first"], [b"!second"], payloads(20, b"!")]
    assert echo.commits == [1, 21]


def test_the_audit_log_is_told_before_the_replies_go_out(echo: Echo) -> None:
    told: list[AuditRecord] = []

    async def test(batcher: Batcher) -> None:
        await batcher.submit(echo, b"one")
        assert told == [AuditRecord("echo", {"payloads": 1})]
        batcher.take(echo, [b"two", b"!three"], lambda _: None)

    run(echo, test, audit=told.extend)
    assert told == [AuditRecord("echo", {"payloads": 1}), AuditRecord("echo", {"payloads": 2})]


def test_subjects_that_are_one_are_told(echo: Echo) -> None:
    told: list[tuple[bytes, bytes]] = []

    async def test(batcher: Batcher) -> None:
        await batcher.submit(echo, b"*one")
        assert told == [(b"*one", b"common")]
        await batcher.submit(echo, b"*two")
        await batcher.submit(echo, b"three")

    run(echo, test, crowd=lambda *names: told.append(names))
    assert told == [(b"*one", b"common"), (b"*two", b"common")]


def test_a_store_that_fails_is_told_to_the_registrar_and_logged_once(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.store_fault = StoreError("the disk is full")
        for payload in payloads(3, b"!"):
            assert (await batcher.submit(echo, payload)).code == Code.CHANGED
        echo.store_fault = None
        await batcher.submit(echo, b"!again")

    logs = run(echo, test)
    assert echo.completed == [None, None, None, [Outcome.COMMITTED]]
    assert [(log["log_level"], log["event"]) for log in logs] == [
        ("error", "store not writable"),
        ("info", "store writable again"),
    ]
    assert logs[0]["reason"] == "the disk is full"


def test_a_defect_of_the_store_counts_as_a_failed_commit(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.store_fault = RuntimeError(SECRET.decode())
        await batcher.submit(echo, b"!" + SECRET)

    (log,) = run(echo, test)
    assert echo.completed == [None]
    assert (log["event"], log["error"]) == ("commit failed", "RuntimeError")
    assert SECRET.decode() not in str(log)


def test_a_defect_of_the_registrar_is_answered_5_03_and_logged_without_the_payload(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        echo.fault = RuntimeError(SECRET.decode())
        replies = await asyncio.gather(*map(partial(batcher.submit, echo), [SECRET] * 3))
        assert replies == [busy(60)] * 3
        echo.fault = None
        assert (await batcher.submit(echo, b"after")).payload == b"after"

    (log,) = run(echo, test)
    assert (log["event"], log["error"]) == ("batch failed", "RuntimeError")
    assert log["place"].startswith("tests.server.echo:")
    assert SECRET.decode() not in str(log)


def test_too_many_waiting_requests_get_5_03_at_once_and_the_others_their_reply(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        first = await held_up(echo, batcher)
        waiting = [asyncio.create_task(batcher.submit(echo, b"!waiting")) for _ in range(WAITING - 1)]
        await asyncio.sleep(0)
        for _ in range(3):
            assert await batcher.submit(echo, b"one too many") == Reply(Code.SERVICE_UNAVAILABLE, max_age=60)
        assert not first.done()
        echo.gate.set()
        assert {reply.payload for reply in await asyncio.gather(*waiting)} == {b"!waiting"}

    run(echo, test)
    assert sum(map(len, echo.batches)) == WAITING


def test_a_request_that_nobody_waits_for_any_more_is_not_decided(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        first = await held_up(echo, batcher)
        action = asyncio.create_task(batcher.exclusively(lambda: None))
        await asyncio.sleep(0)
        lost = asyncio.create_task(batcher.submit(echo, b"lost"))
        kept = asyncio.create_task(batcher.submit(echo, b"kept"))
        await asyncio.sleep(0)
        lost.cancel()
        first.cancel()  # in flight: it is decided, and its reply dropped
        await asyncio.sleep(0)
        echo.gate.set()
        assert (await kept).payload == b"kept"
        await action
        assert len(batcher) == 0

    assert run(echo, test) == []
    assert echo.batches == [[b"!first"], [b"kept"]]
    assert echo.commits == [1]


def test_closing_finishes_what_was_taken_and_takes_no_more(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        taken = [await held_up(echo, batcher)]
        taken += [asyncio.create_task(batcher.submit(echo, payload)) for payload in payloads(BATCH + 1, b"!")]
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        assert await batcher.submit(echo, b"late") == busy(60)
        echo.gate.set()
        await closing
        assert all(task.done() for task in taken)
        assert {task.result().code for task in taken} == {Code.CHANGED}

    run(echo, test)
    assert sum(echo.commits) == 1 + BATCH + 1


def test_an_exclusive_action_waits_for_the_batch_in_flight(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        first = await held_up(echo, batcher)
        action = asyncio.create_task(batcher.exclusively(lambda: list(echo.commits)))
        second = asyncio.create_task(batcher.submit(echo, b"!second"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not action.done()
        echo.gate.set()
        assert await action == [1]
        await asyncio.gather(first, second)

    run(echo, test)


def test_an_exclusive_action_s_error_reaches_its_caller(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        def fail() -> None:
            raise StoreError("no")

        with pytest.raises(StoreError):
            await batcher.exclusively(fail)
        assert (await batcher.submit(echo, b"after")).payload == b"after"

    assert run(echo, test) == []


def test_what_gathered_during_an_action_is_worked_off_however_much_comes(echo: Echo) -> None:
    async def test(batcher: Batcher) -> None:
        first = await held_up(echo, batcher)
        action = asyncio.create_task(batcher.exclusively(lambda: None))
        await asyncio.sleep(0)
        answered: list[int] = []
        for _ in range(WAITING // BATCH):
            batcher.take(echo, payloads(BATCH), lambda replies: answered.append(len(replies)))
        assert answered == []
        echo.gate.set()
        await action
        for _ in range(2 * WAITING // BATCH):  # a socket that always has a full batch to read
            batcher.take(echo, payloads(BATCH), lambda replies: answered.append(len(replies)))
            await asyncio.sleep(0)
        assert len(batcher) <= BATCH
        await first

    assert run(echo, test) == []
