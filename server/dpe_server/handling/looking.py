"""Has batches decided whose looks at the store take a network's time, without the event loop's waiting for it."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

from dpe_server.handling.handler import Part, deciding
from dpe_server.store.contract import StoreError
from dpe_server.store.questions import Facts, Questions

_Deciding = Generator[Questions, Facts | None, dict[int, Exception]]


class Looking:
    """Decides some batches at a time; ``look`` is called in a thread of its own, all else in the event loop's.

    ``clock`` is monotonic and ``wall`` Unix time, both in seconds.
    """

    def __init__(
        self, look: Callable[[Questions], Facts], clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._look = look
        self._clock = clock
        self._wall = wall
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dpe-look")

    def decide(self, parts: Sequence[Part], done: Callable[[dict[int, Exception]], None]) -> None:
        """Decide batches, and call ``done`` with their defects: before this returns, if nothing must be looked up.

        No others may be given before that.
        """
        under_way = deciding(parts, self._clock, self._wall)
        self._go_on(under_way, lambda: next(under_way), done)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _go_on(
        self, under_way: _Deciding, step: Callable[[], Questions], done: Callable[[dict[int, Exception]], None]
    ) -> None:
        try:
            asked = step()
        except StopIteration as end:
            done(end.value)
            return
        looking = asyncio.get_running_loop().run_in_executor(self._thread, self._look, asked)

        def looked(looking: asyncio.Future[Facts]) -> None:
            error = looking.exception()
            if error is None:
                self._go_on(under_way, lambda: under_way.send(looking.result()), done)
            elif isinstance(error, StoreError):
                self._go_on(under_way, lambda: under_way.send(None), done)
            else:
                self._go_on(under_way, lambda: under_way.throw(error), done)

        looking.add_done_callback(looked)
