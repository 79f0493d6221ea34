"""An asyncio event loop on the world's clock: one simulated process, stopped for good at any of its steps."""

import asyncio
import inspect
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any

from dpe_tools.simulation.world import World


class Killed(BaseException):  # nothing of the server may catch it
    """The process ends here."""


class Loop(asyncio.AbstractEventLoop):
    """An event loop. ``point`` is called with "await" before each callback, and raises Killed where the process ends.

    ``thread`` gives two times in ms: how long the one thread of the executor takes to begin with something, and how
    long to tell that it is done. ``defect`` is told of exceptions that nobody handled.
    """

    def __init__(
        self,
        world: World,
        point: Callable[[str], None],
        clock: Callable[[], float],
        thread: Callable[[], tuple[int, int]],
        defect: Callable[[str], None],
    ) -> None:
        self.time = clock  # type: ignore[method-assign]
        self.dead = False
        self._world = world
        self._point = point
        self._thread = thread
        self._defect = defect
        self._free_at: dict[int, int] = {}
        self._tasks: list[asyncio.Task[Any]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """See ``asyncio``."""
        handle = asyncio.Handle(callback, args, self, context)
        self._world.after(0, partial(self._run, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See ``asyncio``."""
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        self._world.after(int(delay * 1000), partial(self._run, handle))
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See ``asyncio``."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """See ``asyncio``."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        """See ``asyncio``."""
        task = asyncio.Task(coro, loop=self, **options)
        self._tasks = [one for one in self._tasks if not one.done()]
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Call ``func`` in the executor's one thread, which takes its time, and longer for an error that says so."""
        future = self.create_future()
        begins, tells = self._thread()
        begin_at = max(self._free_at.get(id(executor), 0), self._world.now) + begins
        self._free_at[id(executor)] = begin_at + tells

        def begin() -> None:
            if self.dead:
                return
            try:
                result = partial(future.set_result, func(*args))
            except Killed:
                return
            except Exception as error:
                result = partial(future.set_exception, error)
                takes = getattr(error, "takes", 0)
                if takes:
                    self._free_at[id(executor)] = self._world.now + takes + tells
                    self._world.after(takes + tells, lambda: future.cancelled() or self.call_soon(result))
                    return
            self._world.after(tells, lambda: future.cancelled() or self.call_soon(result))

        self._world.after(begin_at - self._world.now, begin)
        return future

    def get_debug(self) -> bool:
        """See ``asyncio``."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell of a defect, unless the process is dead."""
        error = context.get("exception")
        if not self.dead and not isinstance(error, Killed):
            self._defect(f"{context['message']}: {type(error).__name__}")

    def kill(self) -> None:
        """Never run anything again."""
        self.dead = True

    def bury(self) -> None:
        """Drop the tasks of a dead loop without a warning."""

        def bury() -> None:
            for task in self._tasks:
                if not task.done():
                    _end(task)

        self.enter(bury)

    def enter(self, action: Callable[[], Any]) -> None:
        """Do something as a callback of this loop does."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            action()
        except Killed:
            pass
        finally:
            events._set_running_loop(before)

    def _run(self, handle: asyncio.Handle) -> None:
        if self.dead or handle.cancelled():
            return
        try:
            self._point("await")
        except Killed:
            return
        self.enter(handle._run)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a handle that is cancelled; nothing to do."""


def _end(task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    assert inspect.iscoroutine(coroutine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a coroutine was never begun
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            with suppress(GeneratorExit):  # from Python 3.12 on, close() alone frees what it holds only later
                coroutine.throw(GeneratorExit)
        coroutine.close()
