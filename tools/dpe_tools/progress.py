"""The progress of long work on standard error: a line that stays in place on a terminal, else one now and then."""

from types import TracebackType
from typing import Any, Self

import click

from dpe_tools import terminal

EVERY = 5.0
"""Seconds between two lines."""


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
