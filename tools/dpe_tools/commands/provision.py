"""`dpe provision`: credentials for one device or for thousands."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import click

from dpe_coap.imei import Imei
from dpe_server.operation import loaded
from dpe_server.operation.credential import Credential, credential
from dpe_server.operation.nodes import current_keys
from dpe_server.operation.provisioning import Layout, Provisioning
from dpe_server.operation.state_dir import StateDir
from dpe_tools import files, imeis, terminal

Item = TypeVar("Item")


@click.command()
@click.argument("state")
@imeis.sources
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each device.")
@click.option(
    "--file",
    metavar="FILE",
    help="Write the credential of one device into a new file, mode 0600: CBOR if its name ends in .cbor, else JSON.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the credentials of many devices into DIR, with an index.csv. Given again, it goes on.",
)
@click.option(
    "--layout",
    type=click.Choice([layout.value for layout in Layout]),
    default=Layout.FILES.value,
    show_default=True,
    help="With --out: a CBOR and a JSON file for each device, in DIR or in folders; or one file for all.",
)
def provision(state: str, given: imeis.Source, as_json: bool, file: str | None, out: Path | None, layout: str) -> None:
    """Make a credential for each IMEI: the secret with which that device registers.

    Give IMEIs as arguments, with --csv FILE, or with --stdin (or -). Other users of this machine can see arguments in
    the list of processes, but not standard input.

    Do not redirect the output into a file that others can read: --file and --out write files for their owner only.
    """
    if file is not None and (out is not None or as_json):
        raise click.UsageError("--file goes neither with --out nor with --json")
    opened = StateDir.open(state)
    keys = current_keys(opened)
    found = given.read()

    def make(one: Imei) -> Credential:
        return credential(keys, opened.config, one)

    devices = found.devices
    count = len(devices) + len(found.faults)
    if file is not None:
        if count != 1:
            raise click.UsageError("--file is for one device; use --out DIR for several")
        _write_one(file, make(devices[0][1]))
    elif out is not None:
        if devices:
            _write_all(
                out, Provisioning(out, devices, make, opened.at_rest.device_id, Layout(layout)), len(devices), as_json
            )
    else:
        files.warn_of_other_readers("--file FILE")
        with progress(devices, len(devices), hidden=terminal.is_terminal()) as shown:
            for row, one in shown:
                row_if_any = row if given.is_file or count > 1 else None
                show(make(one), as_json or not terminal.is_terminal(), row_if_any)
    if devices and f"master key {keys.current_epoch}" in loaded.lacking(opened):
        hint = loaded.reload_hint(opened)
        click.echo(f"note: the running server refuses these credentials until it loads the new key: {hint}", err=True)
    if found.faults:
        raise imeis.fault_of(found, len(devices))


def _write_one(file: str, made: Credential) -> None:
    data = made.to_cbor() if file.endswith(".cbor") else f"{made.to_json()}\n".encode()
    files.write_new_private(file, data)
    click.echo(f"credential in {file}, which only you can read; it is all that is needed to be this device")


def _write_all(out: Path, provisioning: Provisioning, count: int, as_json: bool) -> None:
    try:
        with closing(provisioning.write()) as writing, progress(writing, count, hidden=False) as written:
            for row, made in written:
                if as_json and made is not None:
                    show(made, as_json, row)
    except KeyboardInterrupt:
        click.echo(f"dpe: error: interrupted; {provisioning.done}", err=True)
        click.echo("hint: give the same command again: it goes on from there", err=True)
        raise
    before = f", {provisioning.before} of them from before" if provisioning.before else ""
    what = "credential" if count == 1 else "credentials"
    click.echo(f"{count} {what} in {out}{before}; index.csv says which row is which {provisioning.unit}", err=as_json)


def show(made: Credential, as_json: bool, row: int | None = None) -> None:
    """Print one credential, as a line of JSON or for a person. ``row`` is where its IMEI was in a list."""
    if as_json:
        click.echo(made.to_json(row))
        return
    if row is not None:
        click.echo(f"{'row':<11} {row}")
    for name in ("server", "realm", "handle", "device_key", "epoch"):
        value = getattr(made, name)
        click.echo(f"{name:<11} {value.hex() if isinstance(value, bytes) else value}")
    click.echo("secret: it is all that is needed to be this device (--file or --out write files)\n")


@contextmanager
def progress(items: Iterable[Item], total: int, *, hidden: bool) -> Iterator[Iterable[Item]]:
    """Return the items, and count them as they pass if standard error is a terminal."""
    if hidden or not terminal.is_terminal(stderr=True):
        yield items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.console(stderr=True), transient=True) as bar:
        yield bar.track(items, total, description="provisioning")
