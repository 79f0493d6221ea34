"""The progress of long work on standard error: a line that stays in place on a terminal, else one now and then."""

import threading
import time
from types import TracebackType
from typing import Any, Self

import click

from dpe_tools import terminal

EVERY = 5.0
"""Seconds between two lines."""
AFTER = 2.0
"""Seconds after which a person is told that a command still works."""


class ProgressLine:
    """Shows a line, while the ``with`` block runs."""

    def __init__(self) -> None:
        self._next = EVERY
        self._live: Any = None

    def __enter__(self) -> Self:
        """Begin."""
        if terminal.is_terminal(stderr=True):
            from rich.live import Live

            self._live = Live(console=terminal.console(stderr=True), transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the line."""
        if self._live is not None:
            self._live.stop()

    def show(self, line: str, seconds: float) -> None:
        """Show a line. ``seconds`` have passed since the beginning."""
        if self._live is not None:
            self._live.update(line)
        elif seconds >= self._next:
            self._next = seconds + EVERY
            click.echo(line, err=True)


class Working:
    """Tells a person on a terminal what a command is doing, if that takes longer than ``after`` seconds.

    Nothing may be printed meanwhile. ``total`` is how many things there are to do, if that is known.
    """

    def __init__(self, what: str, total: int | None = None, *, after: float = AFTER) -> None:
        self.done = 0
        """How many things are done."""
        self.shown = threading.Event()
        """Set when it was told for the first time."""
        self._what = what
        self._total = total
        self._after = after
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin."""
        if terminal.is_terminal(stderr=True):
            self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove what is shown."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def add(self, count: int) -> None:
        """Count so many things as done."""
        self.done += count

    def _show(self) -> None:
        start = time.monotonic()
        if self._over.wait(self._after):
            return
        with ProgressLine() as line:
            while True:
                seconds = time.monotonic() - start
                done = f", {self.done:,}" if self.done or self._total else ""
                of = f" of {self._total:,}" if self._total else ""
                line.show(f"{self._what}{done}{of}, {seconds:.0f} s", seconds)
                self.shown.set()
                if self._over.wait(0.5):
                    return
