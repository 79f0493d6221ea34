"""What the server does now, once a second while somebody watches: from its metrics or, without them, its audit log."""

import asyncio
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from dpe_coap.errors import DpeError
from dpe_server.operators import audit_log
from dpe_server.operators.gauging import Gauge
from dpe_server.operators.scraping import Reading, read, url_of

EVERY = 1.0
"""Seconds between two looks."""
KEPT = 300
"""Points that a page has to begin with."""
WATCHED = 30.0
"""Seconds for which looking goes on after nobody watches any more."""
OVER = 4.0
"""Seconds over which a rate is made."""
FIND_AGAIN = 5.0
"""Seconds after which metrics that were not there are looked for again."""
LINES = 20_000
"""The most lines of the audit log that are counted in one look."""
_EVERYTHING = audit_log.Wanted()


@dataclass(frozen=True, slots=True)
class Point:
    """What the server did at a moment. Rates are per second; None: not known."""

    at: float
    """Unix seconds."""
    made: float
    """Sessions that were made."""
    refused: float
    """Requests that were refused, by the policy or before it."""
    reports: float | None
    p50: float | None
    """Seconds that half of the commits took at most."""
    p99: float | None
    waiting: int | None
    """Requests without a reply."""
    transactions: int | None
    sessions: int | None
    processes: int | None


class Sampler:
    """Looks once a second. Used by one event loop."""

    def __init__(self, state: Path, audit: Path, metrics: str | None) -> None:
        self._state = state
        self._audit = audit
        self._metrics = metrics
        self.points: deque[Point] = deque(maxlen=KEPT)
        self.why = ""
        """Why there are no metrics; empty: there are."""
        self.hint = ""
        self._gauge: Gauge | None = None
        self._tried = float("-inf")
        self._place: audit_log.Place | None = None
        self._counts: deque[tuple[float, Counter[str]]] = deque()
        self._watchers = 0
        self._left = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    async def watch(self, seen: float) -> list[Point]:
        """Return the points after ``seen`` (Unix seconds) once there is one, or nothing after EVERY and a half."""
        self._watchers += 1
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run())
            async with self._news:
                try:
                    async with asyncio.timeout(1.5 * EVERY):
                        await self._news.wait_for(lambda: self.points and self.points[-1].at > seen)
                except TimeoutError:
                    return []
            return [point for point in self.points if point.at > seen]
        finally:
            self._watchers -= 1
            self._left = time.monotonic()

    async def _run(self) -> None:
        while self._watchers or time.monotonic() - self._left < WATCHED:
            began = time.monotonic()
            point = await run_in_threadpool(self.look)
            if point is not None:
                self.points.append(point)
                async with self._news:
                    self._news.notify_all()
            await asyncio.sleep(max(0.1, EVERY - (time.monotonic() - began)))

    def look(self) -> Point | None:
        """Look once, in a thread; None at the first time, which has nothing to compare with."""
        gauge = self._gauge or self._found()
        if gauge is not None:
            try:
                figures = gauge.look()
            except DpeError as error:
                self._gauge = None
                self.why, self.hint = str(error), error.hint
            else:
                self.why = self.hint = ""
                self._place = None
                if figures is None:
                    return None
                made = figures.registrations
                return Point(
                    at=time.time(),
                    made=made.get("committed", 0.0) + made.get("replaced", 0.0),
                    refused=sum(figures.refusals.values())
                    + sum(rate for status, rate in figures.responses.items() if status != "ok"),
                    reports=sum(figures.reports.values()),
                    p50=figures.commit_seconds.get(0.5),
                    p99=figures.commit_seconds.get(0.99),
                    waiting=figures.waiting,
                    transactions=figures.transactions,
                    sessions=figures.sessions,
                    processes=figures.processes,
                )
        return self._of_audit_log()

    def _found(self) -> Gauge | None:
        """Find where the metrics are, now and then."""
        now = time.monotonic()
        if now - self._tried < FIND_AGAIN:
            return None
        self._tried = now
        try:
            url = self._metrics or url_of(self._state)
        except DpeError as error:
            self.why, self.hint = str(error), error.hint
            return None

        def reading() -> Reading:
            return read(url)

        self._gauge = Gauge(reading, OVER)
        return self._gauge

    def _of_audit_log(self) -> Point | None:
        """Count the lines that have come since the last look."""
        now = time.monotonic()
        try:
            if self._place is None:
                self._place = audit_log.end_of(self._audit)
                self._counts.clear()
                self._counts.append((now, Counter()))
                return None
            found = audit_log.since(self._audit, _EVERYTHING, self._place, most=LINES)
        except OSError:
            return None
        self._place = found.place or self._place
        self._counts.append((now, Counter(map(_counted, found.lines))))
        while len(self._counts) > 2 and now - self._counts[0][0] > OVER:
            self._counts.popleft()
        seconds = now - self._counts[0][0]
        total: Counter[str] = Counter()
        for _, counts in list(self._counts)[1:]:
            total += counts
        return Point(time.time(), total["made"] / seconds, total["refused"] / seconds, *(None,) * 7)


def _counted(line: dict[str, Any]) -> str:
    """Return as what a line of the audit log counts."""
    event = line["event"]
    if event == "established":
        return "made"
    if event in ("unauthenticated", "malformed", "limited") or (event == "response" and line.get("status") != "ok"):
        return "refused"
    return ""


def in_json(point: Point) -> dict[str, Any]:
    """Return a point for the page."""
    return asdict(point)
