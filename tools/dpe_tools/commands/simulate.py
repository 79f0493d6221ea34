"""`dpe simulate`: the server and the client under one virtual clock, with everything that can go wrong, by seed."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from dpe_tools import terminal
from dpe_tools.progress import ProgressLine
from dpe_tools.simulation import mutation, runner
from dpe_tools.simulation.runner import Result

MOST_SHOWN = 20
"""How many failures are shown one by one."""


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=2000, show_default=True, metavar="N", help="How many to run.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, metavar="S", help="The first seed.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="one per core",
    metavar="J",
    help="How many processes to use.",
)
@click.option("--seed", type=click.IntRange(0), metavar="S", help="Run this seed alone.")
@click.option("--trace", is_flag=True, help="With --seed: show what happens.")
@click.option("--mutants", is_flag=True, help="Plant faults in the product, one by one, and check that each is caught.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def simulate(**options: Any) -> None:
    """Run devices and servers through simulated trouble, seed by seed, and check after every step what must hold.

    The real client, CoAP endpoint, batcher, handlers and store run under one virtual clock. Devices register, and in
    most seeds they report. The network loses, duplicates, reorders, delays and damages datagrams; NATs rebind; either
    side crashes at any await, write or commit; databases are put back; attackers record, replay, reflect, mix, forge
    and flood. A seed does the same every time.

    With --mutants, a fault must be caught within --seeds seeds.

    Exit status 1: a seed failed (the command that repeats it is shown), or a mutant was not caught.
    """
    if options["trace"] and options["seed"] is None:
        raise click.UsageError("--trace is for one seed: give --seed S")
    if options["mutants"] and options["seed"] is not None:
        raise click.UsageError("give --mutants or --seed, not both")
    signal.signal(signal.SIGTERM, _terminated)
    if options["mutants"]:
        _mutants(options)
        return
    if options["seed"] is not None:
        result = runner.run_one(options["seed"], click.echo if options["trace"] else None)
    else:
        seeds = range(options["first"], options["first"] + options["seeds"])
        with ProgressLine() as line:
            result = runner.run(seeds, options["jobs"], _watch(line, len(seeds)))
    _tell(result, as_json=options["as_json"])
    if result.interrupted:
        sys.exit(130)
    if result.failures:
        sys.exit(1)


def _watch(line: ProgressLine, seeds: int) -> Callable[[Result], None]:
    told: set[int] = set()

    def watch(result: Result) -> None:
        for failure in result.failures:
            if failure.seed not in told:
                told.add(failure.seed)
                click.echo(f"seed {failure.seed} failed: {failure.invariant}; again: {failure.replay}", err=True)
        rate = result.seeds / result.seconds if result.seconds else 0
        left = (seeds - result.seeds) / rate if rate else 0
        text = f"{result.seeds} of {seeds} seeds ({rate:.0f}/s), {len(result.failures)} failed, {left:.0f} s to go"
        line.show(text, result.seconds)

    return watch


def _tell(result: Result, *, as_json: bool) -> None:
    if as_json:
        failures = [
            {"seed": one.seed, "invariant": one.invariant, "what": one.what, "replay": one.replay}
            for one in result.failures
        ]
        told = {"seeds": result.seeds, "seconds": round(result.seconds, 3), "failures": failures}
        terminal.print_json({**told, "counts": dict(sorted(result.counts.items()))})
        return
    for one in result.failures[:MOST_SHOWN]:
        click.echo(f"seed {one.seed} failed: {one.invariant}: {one.what}\n  again: {one.replay}")
    if len(result.failures) > MOST_SHOWN:
        click.echo(f"and {len(result.failures) - MOST_SHOWN} more")
    counts = result.counts
    click.echo(
        f"{result.seeds} seeds, {len(result.failures)} failed: {counts['datagrams']} datagrams, "
        f"{counts['registrations']} registrations, {counts['requests accepted']} requests in sessions, "
        f"{counts['crashes']} crashes, {counts['power cuts']} power cuts"
    )
    if result.seconds:
        click.echo(f"{result.seconds:.1f} s, {result.seeds / result.seconds:.0f} seeds/s")


def _mutants(options: dict[str, Any]) -> None:
    with ProgressLine() as line:
        findings = mutation.run(range(options["seeds"]), options["jobs"], line.show)
    if options["as_json"]:
        terminal.print_json([one.json() for one in findings])
    else:
        for text in mutation.table(findings):
            click.echo(text)
    if not all(one.is_caught for one in findings):
        sys.exit(1)


def _terminated(_number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does: with what was found, and no process left."""
    raise KeyboardInterrupt
