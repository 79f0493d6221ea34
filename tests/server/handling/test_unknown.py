"""A commit whose outcome is unknown: the same changes are given again, and nobody is answered before that is known."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from dpe_server.handling import batching
from dpe_server.handling.batching import UNKNOWN_PATIENCE, Batcher
from dpe_server.store.contract import Change, CommitUnknown, Outcome, Session, StoreError
from tests.server.echo import SECRET, Echo, run

UNKNOWN = CommitUnknown("it is not known whether it was committed")


@dataclass
class Unsure(Echo):
    """Commits meet these faults, one after the other."""

    faults: list[Exception | None] = field(default_factory=list)
    given: list[Sequence[Change]] = field(default_factory=list)

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        self.given.append(list(changes))
        self.store_fault = self.faults.pop(0) if self.faults else None
        return super().commit(changes)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "AGAIN", 0.0)


@pytest.mark.parametrize("between", [UNKNOWN, StoreError("the database does not answer")])
def test_the_same_changes_are_given_again_until_the_store_says_what_became_of_them(between: StoreError) -> None:
    """Once it is unknown, an attempt that fails says nothing of the first one."""
    echo = Unsure(faults=[UNKNOWN, between, UNKNOWN])

    async def test(batcher: Batcher) -> None:
        await asyncio.gather(batcher.submit(echo, b"!one"), batcher.submit(echo, b"!two"))
        await batcher.submit(echo, b"!three")

    logs = run(echo, test)
    first, *rest, last = echo.given
    assert len(first) == 2
    assert rest == [first] * 3
    assert len(last) == 1
    assert echo.completed == [[Outcome.COMMITTED] * 2, [Outcome.COMMITTED]]
    assert [log["event"] for log in logs] == ["store not writable", "store writable again"]


def test_what_comes_meanwhile_is_committed_after_it() -> None:
    echo = Unsure(faults=[UNKNOWN])

    async def test(batcher: Batcher) -> None:
        echo.gate.clear()
        first = asyncio.create_task(batcher.submit(echo, b"!first"))
        await asyncio.sleep(0)
        second = asyncio.create_task(batcher.submit(echo, b"!second"))
        await asyncio.sleep(0)
        echo.gate.set()
        await asyncio.gather(first, second)

    run(echo, test)
    devices = [[one.device for one in given if isinstance(one, Session)] for given in echo.given]
    assert devices == [[b"!first"], [b"!first"], [b"!second"]]


def test_when_patience_ends_the_handler_is_told_and_the_next_commit_has_patience_anew() -> None:
    now = 0.0
    echo = Unsure(faults=[UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN])

    def clock() -> float:
        return now + 0.4 * UNKNOWN_PATIENCE * len(echo.given)

    async def test(batcher: Batcher) -> None:
        await batcher.submit(echo, b"!first")
        assert len(echo.given) == 4
        assert echo.completed == [None]
        echo.faults = [UNKNOWN]
        await batcher.submit(echo, b"!second")

    run(echo, test, clock=clock)
    assert echo.completed == [None, [Outcome.COMMITTED]]
    assert len(echo.given) == 6


def test_a_store_that_has_failed_for_sure_is_asked_once() -> None:
    echo = Unsure(faults=[StoreError("the disk is full")])

    async def test(batcher: Batcher) -> None:
        await batcher.submit(echo, b"!first")

    run(echo, test)
    assert len(echo.given) == 1
    assert echo.completed == [None]


def test_a_defect_ends_it() -> None:
    echo = Unsure(faults=[UNKNOWN, RuntimeError(SECRET.decode())])

    async def test(batcher: Batcher) -> None:
        await batcher.submit(echo, b"!" + SECRET)

    logs = run(echo, test)
    assert len(echo.given) == 2
    assert echo.completed == [None]
    assert SECRET.decode() not in str(logs)


def test_who_closes_does_not_wait_until_it_is_known() -> None:
    echo = Unsure(faults=[UNKNOWN] * 1_000)

    async def test(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.submit(echo, b"!first"))
        await asyncio.sleep(0)
        await batcher.close()
        await first

    run(echo, test)
    assert len(echo.given) == 1
    assert echo.completed == [None]
