"""Stands for a handler and the store in tests of batches."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from structlog.testing import capture_logs

from dpe_coap.binding import Code
from dpe_coap.messages import Version
from dpe_server.handling.batching import Batcher
from dpe_server.handling.handler import Batch, Completed
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import Reply
from dpe_server.store.contract import Change, Outcome, Session
from dpe_server.store.questions import Facts, Questions

SECRET = b"payload that no log may hold"


def session(payload: bytes) -> Session:
    return Session(
        client_id=0,
        device=payload,
        sealed_imei=b"",
        version=Version(1, 0),
        firmware=None,
        suite=1,
        rule="rule",
        ordinal=1,
        established_at=0,
        lifetime=None,
        expires_at=None,
        th3=b"",
        success_hash=b"",
        confirm=b"",
        sealed_keys=b"",
    )


@dataclass(slots=True)
class Echoes(Batch):
    payloads: list[bytes] = field(default_factory=list)


@dataclass
class Echo:
    """Stands for a handler and the store: echoes payloads, and commits the ones that begin with ``!``.

    A payload that begins with ``?`` waits for the commit of an earlier one. One that begins with ``*`` is one of many.
    """

    batches: list[list[bytes]] = field(default_factory=list)
    commits: list[int] = field(default_factory=list)
    completed: list[Sequence[Outcome] | None] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    abandoned: int = 0
    fault: Exception | None = None
    """Raised by ``read``."""
    store_fault: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    """Commits wait for it."""
    remote: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    def read(self, payloads: Sequence[bytes], now: float) -> Echoes:
        self.batches.append(list(payloads))
        if self.fault is not None:
            raise self.fault
        return Echoes(payloads=list(payloads))

    def decide(self, batch: Echoes, facts: Facts | None, now: float, wall: float) -> Questions | None:
        self.times.append((now, wall))
        batch.changes += [session(payload) for payload in batch.payloads if payload.startswith(b"!")]
        batch.waits = any(payload.startswith(b"?") for payload in batch.payloads)
        batch.crowds += [(payload, b"common") for payload in batch.payloads if payload.startswith(b"*")]
        batch.records += [AuditRecord("echo", {"payloads": len(batch.payloads)})]
        return None

    def complete(self, batch: Echoes, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        self.completed.append(outcomes)
        return Completed([Reply(Code.CHANGED, payload) for payload in batch.payloads], batch.records)

    def abandon(self, batch: Echoes) -> None:
        self.abandoned += 1

    def look(self, questions: Questions) -> Facts:
        raise AssertionError("an echo asks nothing")

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        if self.store_fault is not None:
            raise self.store_fault
        self.commits.append(len(changes))
        return [Outcome.COMMITTED] * len(changes)


Test = Callable[[Batcher], Coroutine[Any, Any, None]]


def run(echo: Echo, test: Test, **options: Any) -> list[Any]:
    """Run ``test`` with a batcher, which is closed in the end. Return what was logged.

    Its clock stands still unless ``options`` has another: on a busy machine the batcher would run out of patience.
    """

    async def main() -> None:
        batcher = Batcher(echo, retry_after=60, **{"clock": lambda: 1_000.0, **options})
        try:
            await asyncio.wait_for(test(batcher), 20)
        finally:
            echo.gate.set()
            await batcher.close()

    with capture_logs() as logs:
        asyncio.run(main())
    return logs


def payloads(count: int, prefix: bytes = b"") -> list[bytes]:
    return [prefix + str(number).encode() for number in range(count)]


async def in_flight(echo: Echo, batches: int) -> None:
    """Run the event loop until so many batches have begun."""
    while len(echo.batches) < batches:  # noqa: ASYNC110  # a turn is what is waited for
        await asyncio.sleep(0)


async def held_up(echo: Echo, batcher: Batcher) -> asyncio.Task[Reply]:
    """Return the task of a first request, whose commit waits for the gate."""
    echo.gate.clear()
    first = asyncio.create_task(batcher.submit(echo, b"!first"))
    await in_flight(echo, 1)
    return first
