"""`dpe provision`: credentials for one device or for thousands."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dpe_coap.imei import Imei
from dpe_server.operation.credential import Credential, credential
from dpe_server.operation.provisioning import write_credentials
from dpe_server.operation.state_dir import StateDir
from dpe_tools import imeis, terminal


@click.command()
@click.argument("state")
@imeis.sources
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each device.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write credentials as CBOR and JSON files, with an index, into DIR.",
)
def provision(state: str, imei: tuple[str, ...], csv: str | None, stdin: bool, as_json: bool, out: Path | None) -> None:
    """Make a credential for each IMEI: the secret with which that device registers.

    Give IMEIs as arguments, with --csv FILE, or with --stdin (or -). Other users of this machine can see arguments in
    the list of processes, but not standard input.
    """
    opened = StateDir.open(state)
    good = imeis.Good(imeis.rows(imei, csv, stdin))

    def make(one: Imei) -> Credential:
        made = credential(opened.keys, opened.config, one)
        if out is not None and as_json:
            show(made, as_json)
        return made

    hidden = out is None and terminal.is_terminal()
    with progress(good, None if hidden else imeis.total(imei, csv), hidden=hidden) as devices:
        if out is not None:
            count = sum(1 for _ in write_credentials(out, devices, make, opened.at_rest.device_id))
        else:
            for _, one in devices:
                show(make(one), as_json or not terminal.is_terminal())
    if out is not None and count:
        written = f"{count} credential{'s' if count > 1 else ''}"
        click.echo(f"{written} in {out}; index.csv says which row is which file", err=as_json)
    good.finish()


def show(made: Credential, as_json: bool) -> None:
    """Print one credential, as a line of JSON or for a person."""
    if as_json:
        click.echo(made.to_json())
        return
    for name in ("server", "realm", "handle", "device_key", "epoch"):
        value = getattr(made, name)
        click.echo(f"{name:<11} {value.hex() if isinstance(value, bytes) else value}")
    click.echo("secret: it is all that is needed to be this device (--out DIR writes files)\n")


@contextmanager
def progress(good: imeis.Good, total: int | None, *, hidden: bool) -> Iterator[Iterable[tuple[int, Imei]]]:
    """Return the IMEIs, and count them as they pass if standard error is a terminal."""
    if hidden or not terminal.is_terminal(stderr=True):
        yield good
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.console(stderr=True), transient=True) as bar:
        yield bar.track(good, total, description="provisioning")
