"""`dpe keys`: generations of the server's keys. No command shows a key."""

from contextlib import closing
from typing import cast

import click

from dpe_coap.errors import LocalError
from dpe_server.keys.ring import LAST_GENERATION
from dpe_server.operation import loaded
from dpe_server.operation.acts import note
from dpe_server.operation.journal import enact
from dpe_server.operation.state_dir import KeyKind, StateDir
from dpe_server.store.contract import NOBODY, SetMinimumEpoch
from dpe_server.store.questions import Questions
from dpe_tools import terminal


@click.group()
def keys() -> None:
    """List, rotate and retire a server's keys.

    Device keys derive from the master key of an epoch; handles are sealed under a handle key. Old generations keep
    working until they are retired: a device below the minimum epoch is told that it needs a new credential.
    """


@keys.command("list")
@click.argument("state")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def list_(state: str, as_json: bool) -> None:
    """List the generations of the keys in STATE.

    The keys themselves are never shown.
    """
    opened = StateDir.open(state)
    with closing(opened.open_store()) as store:
        minimum = store.look(Questions(restrictions={NOBODY})).minimum_epoch
    master, handle = sorted(opened.keys.master), sorted(opened.keys.handle)
    if as_json:
        terminal.print_json({"master": master, "handle": handle, "minimum_epoch": minimum})
        return
    click.echo(
        f"master keys: epochs {_list(master)}; new credentials get {master[-1]}, the lowest accepted is {minimum}"
    )
    click.echo(f"handle keys: {_list(handle)}; new handles are sealed under {handle[-1]}")


@keys.command()
@click.argument("kind", type=click.Choice(["master", "handle"]))
@click.argument("state")
def rotate(kind: str, state: str) -> None:
    """Add the next generation of the master or the handle key.

    The old generations keep working.
    """
    opened = StateDir.open(state)
    generation = opened.rotate(cast(KeyKind, kind))
    note(opened, "key-added", kind=kind, generation=generation)
    what = "new credentials get epoch" if kind == "master" else "new handles are sealed under"
    click.echo(f"{kind} key {generation} added: {what} {generation}")
    if loaded.is_running(opened):
        refused = ", and refuses new credentials until it does" if kind == "master" else ""
        click.echo(f"the running server does not have it yet{refused}: {loaded.reload_hint(opened)}")
    else:
        click.echo("no server is running here; it loads all keys when it starts")


@keys.command("minimum-epoch")
@click.argument("state")
@click.argument("epoch", type=click.IntRange(0, LAST_GENERATION))
def minimum_epoch(state: str, epoch: int) -> None:
    """Refuse the credentials of all devices below EPOCH.

    A running server obeys at once.
    """
    opened = StateDir.open(state)
    if epoch > opened.keys.current_epoch:
        raise LocalError(
            f"the newest master key is of epoch {opened.keys.current_epoch}: no device could register",
            hint=f"add one first: dpe keys rotate master {state}",
        )
    with closing(opened.open_store()) as store:
        enact(opened.journal_path, store, [SetMinimumEpoch(epoch)])
    note(opened, "minimum-epoch-set", epoch=epoch)
    click.echo(f"credentials below epoch {epoch} are refused with the status reprovision")


def _list(generations: list[int]) -> str:
    return ", ".join(map(str, generations))
