"""How a load goes on, on standard error: a line that stays in its place on a terminal, else a line now and then."""

from types import TracebackType
from typing import Any, Self

import click

from dpe_tools import terminal
from dpe_tools.load.tally import Tally

EVERY = 5.0
"""Seconds between two lines."""


class Progress:
    """Shows a tally as it grows, while the ``with`` block runs. ``title`` says what is being done."""

    def __init__(self, title: str) -> None:
        self._title = title
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
        """Take the line away."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, tally: Tally) -> None:
        """Show what was counted so far."""
        if self._live is not None:
            self._live.update(self._line(tally))
        elif tally.seconds >= self._next:
            self._next += EVERY
            click.echo(self._line(tally), err=True)

    def _line(self, tally: Tally) -> str:
        rate = tally.registered / tally.seconds if tally.seconds else 0
        states = ", ".join(f"{state} {count}" for state, count in sorted(tally.under_way.items())) or "none"
        return (
            f"{self._title}: {tally.seconds:.0f} s, {tally.registered} REGISTERED ({rate:.0f}/s), "
            f"{tally.failed.total()} failed; under way: {states}; sent again {tally.retransmissions}; "
            f"p50 {tally.registration.percentile(50) / 1000:.1f} ms, "
            f"p99 {tally.registration.percentile(99) / 1000:.1f} ms"
        )
