"""What `dpe top` shows of a server's figures: a table that also fits a narrow terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpe_server.operators.gauging import Figures

WELL = ("committed", "ok")
"""Outcomes and statuses that are shown first."""


def console() -> Console:
    """Return a console for the table: unlike others, it wraps."""
    return Console(markup=False, highlight=False, emoji=False)


def table(figures: Figures, now: float, fault: str = "") -> Table:
    """Return the table. ``now`` is Unix time in seconds; ``fault`` says why the figures are not newer."""
    made = Table.grid(padding=(0, 2), expand=True)
    made.add_column("name", no_wrap=True)
    made.add_column("number", justify="right", no_wrap=True)
    made.add_column("more", ratio=1, overflow="fold")

    def row(name: str, number: str, more: str = "", *, bad: bool = False) -> None:
        made.add_row(name, Text(number, style="bold red" if bad else "bold"), Text(more, style="dim"))

    def of(name: str, rates: Mapping[str, float], more: str = "", *, bad: bool = False) -> None:
        total = sum(rates.values())
        parts = [part for part in (_parts(rates), more) if part]
        row(name, rate(total), ", ".join(parts), bad=bad and total > 0)

    title = "DPE Server" if figures.started is None else f"DPE Server, up {span(now - figures.started)}"
    workers = "1 process" if figures.processes == 1 else f"{figures.processes} processes"
    made.add_row(
        Text("per second", style="dim"),
        "",
        Text(fault, style="bold red") if fault else Text(f"{title}, {workers}; the last {figures.seconds:.0f} s"),
    )
    of("registrations", figures.registrations)
    of("responses", figures.responses)
    of("refusals", figures.refusals, bad=True)
    of("reports", figures.reports)
    row("requests", rate(figures.requests), "" if figures.batch is None else f"{figures.batch:.1f} in a batch")
    of("sent again", figures.resent)
    row("turned away", rate(figures.turned_away), bad=figures.turned_away > 0)
    took = ", ".join(f"p{quantile * 100:g} {duration(value)}" for quantile, value in figures.commit_seconds.items())
    row("commits", rate(figures.commits), took)
    row("failed commits", rate(figures.failed_commits), bad=figures.failed_commits > 0)
    row("audit", rate(figures.suppressed), "records without a line")
    made.add_row(Text("now", style="dim"))
    row("backlog", f"{figures.waiting:,}", "requests without a reply")
    row("under way", f"{figures.transactions:,}", "registrations, or over for less than 300 s")
    row("sessions", "?" if figures.sessions is None else f"{figures.sessions:,}", "live, counted once a minute")
    row("keys found", "-" if figures.hits is None else f"{figures.hits:.1%}", "of sessions, in memory")
    return made


def _parts(rates: Mapping[str, float]) -> str:
    """Return the rates that are not 0: first those of what went well, then the highest."""
    some = sorted(rates.items(), key=lambda one: (one[0] not in WELL, -one[1]))
    return ", ".join(f"{name} {rate(value)}" for name, value in some if value)


def rate(value: float) -> str:
    """Return a rate in three or four digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Return what something took."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def span(seconds: float) -> str:
    """Return how long something has lasted, in its two largest units."""
    left = max(0, int(seconds))
    found: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not found):
            found.append(f"{count} {unit}")
    return " ".join(found[:2])
