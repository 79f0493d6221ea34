"""`dpe top`: what a running server does just now, from its metrics."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from dpe_coap.errors import DpeError
from dpe_server.operators.gauging import Figures, Gauge
from dpe_server.operators.scraping import NoMetricsError, Reading, read, url_of
from dpe_tools import streams, terminal
from dpe_tools.exits import Exit, NoAnswer
from dpe_tools.progress import Working

Show = Callable[[Figures, str], None]
"""Shows figures, and what keeps them from being newer, if anything does."""


@click.command()
@click.argument("state", required=False)
@click.option("--metrics", metavar="URL", help="Read these metrics, instead of those of the server of STATE.")
@click.option(
    "--interval",
    type=click.FloatRange(0.05, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option("--once", is_flag=True, help="Look twice, print the figures, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line.")
def top(state: str | None, metrics: str | None, interval: float, once: bool, as_json: bool) -> None:
    """Show what the server of STATE does just now, until Ctrl-C.

    The server must have been started with `dpe serve --metrics`. Rates are those of the last ten seconds. Where no
    terminal shows them, they are printed again and again.

    Exit status 3: no server runs on STATE, or its metrics cannot be read.
    """
    if state is None and metrics is None:
        raise click.UsageError("name STATE, or a URL with --metrics")
    gauge = Gauge(lambda: _read(state, metrics))
    try:
        with Working("watching the server"):
            gauge.look()
            time.sleep(interval)
            figures = gauge.look()
    except NoMetricsError as error:
        raise NoAnswer(str(error), hint=error.hint) from None
    assert figures is not None
    shown = _json() if as_json else _lines() if once or not terminal.is_terminal() else _screen()
    with shown as show, suppress(KeyboardInterrupt):
        show(figures, "")
        if not once:
            _watch(gauge, figures, interval, show)


def _read(state: str | None, metrics: str | None) -> Reading:
    if metrics is None:
        assert state is not None
        metrics = url_of(Path(state))  # each time: a server that has started anew may have another
    return read(metrics)


def _watch(gauge: Gauge, figures: Figures, interval: float, show: Show) -> None:
    """Show what comes, while somebody reads. A server that does not answer may be starting anew."""
    while streams.is_read():
        time.sleep(interval)
        try:
            figures = gauge.look() or figures
            show(figures, "")
        except DpeError as error:
            show(figures, str(error))


@contextmanager
def _json() -> Iterator[Show]:
    def show(figures: Figures, fault: str) -> None:
        told = {"error": fault} if fault else asdict(figures)
        terminal.print_json(told, line=True)
        sys.stdout.flush()

    yield show


@contextmanager
def _lines() -> Iterator[Show]:
    from dpe_tools import top_view

    out = top_view.console()

    def show(figures: Figures, fault: str) -> None:
        if fault:
            click.echo(f"dpe: warning: {fault}", err=True)
        else:
            out.print(top_view.table(figures, time.time()))
            sys.stdout.flush()

    yield show


@contextmanager
def _screen() -> Iterator[Show]:
    """Show the figures in place. The terminal is as it was before, also after SIGTERM."""
    from rich.live import Live

    from dpe_tools import top_view

    def end(_number: int, _frame: object) -> NoReturn:
        sys.exit(Exit.TERMINATED)

    signal.signal(signal.SIGTERM, end)
    with Live(console=top_view.console(), screen=True, auto_refresh=False) as live:
        yield lambda figures, fault: live.update(top_view.table(figures, time.time(), fault), refresh=True)
