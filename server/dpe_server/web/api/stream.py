"""A stream of server-sent events (HTML Living Standard, 9.2): bounded, however slowly it is read."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dpe_server.files.logs import log_defect
from dpe_server.operation.access import AccessError, AccessFile
from dpe_server.store.contract import StoreError
from dpe_server.web.api.context import Asked
from dpe_server.web.api.places import Part, Place
from dpe_server.web.api.problems import Problem, too_busy

EVENTS = "text/event-stream"
MOST = 200
"""About how many sessions are read at once."""
INTERVAL = 1.0
"""Seconds between two looks for what has changed."""
ALIVE = 15.0
"""Seconds without an event after which a comment is sent, so that nobody on the way takes the stream for dead."""
PATIENCE = 30.0
"""Seconds within which the client must take what was sent; who does not is disconnected."""
FAREWELL = 2.0
"""Seconds for the end of a stream, when this process ends."""
STREAMS = 32
"""The most streams at once."""
EACH = 8
"""The most streams of one access token."""

Read = Callable[[Asked, Place | None, int], Part]


class Streams:
    """Counts the streams that are open. Used by the event loop alone."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        """By the name of the access token."""

    @contextmanager
    def opening(self, name: str) -> Iterator["Slot"]:
        """Give room for a stream; Problem if there is none. It is free again in the end, unless it was taken."""
        if self.open.total() >= STREAMS or self.open[name] >= EACH:
            raise too_busy(
                f"there are too many streams: {STREAMS} in all, {EACH} for each access token",
                hint="close those of no use, or ask for one part at a time as application/json",
                after=10,
            )
        self.open[name] += 1
        slot = Slot(self, name)
        try:
            yield slot
        finally:
            if not slot.is_taken:
                slot.free()


class Slot:
    """Room for one stream."""

    def __init__(self, streams: Streams, name: str) -> None:
        self._streams = streams
        self._name = name
        self.is_taken = False

    def taken(self) -> "Slot":
        """Keep it until it is freed."""
        self.is_taken = True
        return self

    def free(self) -> None:
        """Let another stream have it."""
        self._streams.open[self._name] -= 1
        self._streams.open += Counter()  # drops who has none any more


class Stream(Response):
    """The answer that is a stream. It begins with what was read ``first``."""

    media_type = EVENTS

    def __init__(self, slot: Slot, who: Asked, first: Part, read: Read) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._slot = slot
        self._who = who
        self._first = first
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves, its access token is revoked, or this process ends."""
        tasks = [asyncio.create_task(one) for one in (self._send(send), _left(receive), self._who.site.ending.wait())]
        sending, leaving, _ = tasks
        has_left, broken = False, None
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            has_left, broken = leaving.done(), sending.exception() if sending.done() else None
            if broken is not None and not isinstance(broken, TimeoutError):
                log_defect("stream failed", broken)
        finally:
            self._slot.free()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not has_left and broken is None:
            with suppress(TimeoutError):
                await _send(send, b"", more=False, patience=FAREWELL)

    async def _send(self, send: Send) -> None:
        async with asyncio.timeout(PATIENCE):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        part, silent_since = self._first, time.monotonic()
        if not part.told:
            await _send(send, b": ok\n\n")  # so that the client knows at once
        while True:
            if part.told:
                await _send(send, b"".join(map(event, part.told)))
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since >= ALIVE:
                await _send(send, b": alive\n\n")
                silent_since = time.monotonic()
            if not part.more:
                await asyncio.sleep(INTERVAL)
            try:
                part = await run_in_threadpool(self._next, part.place)
            except StoreError:  # a database elsewhere may be moving to another machine
                part = Part([], part.place, False)
            except Problem as problem:
                await _send(send, b"event: problem\ndata: " + json.dumps(problem.document).encode() + b"\n\n")
                return

    def _next(self, place: Place) -> Part:
        """Read on, if the access token is still good; Problem, StoreError."""
        with suppress(AccessError):
            if AccessFile(self._who.site.state).is_valid(self._who.access, time.time()):
                return self._read(self._who, place, MOST)
        raise Problem(401, "the access token was revoked, or has expired", hint="create another one: dpe access create")


def event(told: dict[str, Any]) -> bytes:
    """Return an event. Where all begins, its id is empty: a client forgets its cursor then."""
    return f"id: {told.get('cursor', '')}\ndata: {json.dumps(told)}\n\n".encode()


async def _send(send: Send, data: bytes, *, more: bool = True, patience: float = 0.0) -> None:
    """Send, and wait until the client has taken nearly all of it; TimeoutError."""
    async with asyncio.timeout(patience or PATIENCE):
        await send({"type": "http.response.body", "body": data, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
