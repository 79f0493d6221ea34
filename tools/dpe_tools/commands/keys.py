"""`dpe keys`: generations of the server's keys. No command shows a key."""

import socket
from contextlib import closing

import click

from dpe_coap.errors import LocalError
from dpe_server.keys.ring import LAST_GENERATION, KeyKind
from dpe_server.operation import loaded, rotation
from dpe_server.operation.acts import note
from dpe_server.operation.journal import enact
from dpe_server.operation.nodes import keys_of
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import NOBODY, SetMinimumEpoch
from dpe_server.store.questions import Questions
from dpe_tools import files, terminal

KIND = click.Choice(["master", "handle"])
THERE = f"ssh {socket.gethostname()} cat"


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
        current = keys_of(opened, store)
    master, handle = sorted(current.master), sorted(current.handle)
    epoch, hkid = current.current_epoch, current.current_hkid
    if as_json:
        terminal.print_json(
            {"master": master, "handle": handle, "minimum_epoch": minimum, "epoch": epoch, "handle_key": hkid}
        )
        return
    click.echo(
        f"master keys: epochs {_list(master)}; new credentials get {epoch}, the lowest accepted is {minimum}"
        + _not_active(master, epoch)
    )
    click.echo(f"handle keys: {_list(handle)}; new handles are sealed under {hkid}" + _not_active(handle, hkid))


@keys.command()
@click.argument("kind", type=KIND)
@click.argument("state")
@terminal.json_option
def rotate(kind: KeyKind, state: str, as_json: bool) -> None:
    """Add the next generation of the master or the handle key.

    The old generations keep working. If several servers share the store, the new key is not used yet: give it to the
    others with `dpe keys take`, and then have all use it with `dpe keys activate`.
    """
    opened = StateDir.open(state)
    generation = rotation.add(opened, kind)
    note(opened, "key-added", kind=kind, generation=generation)
    what = "new credentials get epoch" if kind == "master" else "new handles are sealed under"
    if as_json:
        told = {"kind": kind, "generation": generation, "server_runs": loaded.is_running(opened)}
        terminal.print_json({**told, "active": not opened.config.store})
        return
    if opened.config.store:
        click.echo(f"{kind} key {generation} added; once it is active, {what} {generation}")
        _tell_to_load(opened, "")
        click.echo(f"next, on each other node: {THERE} {state}/keys.json | dpe keys take STATE -")
        click.echo(f"then: dpe keys activate {kind} {state}")
        return
    click.echo(f"{kind} key {generation} added: {what} {generation}")
    _tell_to_load(opened, ", and refuses new credentials until it does" if kind == "master" else "")


@keys.command()
@click.argument("state")
@click.argument("file", metavar="KEYS")
@terminal.json_option
def take(state: str, file: str, as_json: bool) -> None:
    """Take the keys that STATE lacks from KEYS, the keys.json of another node; - reads it from standard input.

    Keys are in no database, so take them over a way that nobody reads along: `ssh NODE cat STATE/keys.json | dpe keys
    take STATE -`. Only keys that the nodes know are taken, by their fingerprints in the store.
    """
    opened = StateDir.open(state)
    taken = rotation.take(opened, files.read(file).decode("utf-8", "replace"))
    for name in taken:
        note(opened, "key-taken", key=name)
    if as_json:
        terminal.print_json({"taken": taken, "server_runs": loaded.is_running(opened)})
        return
    click.echo(f"taken: {', '.join(taken)}" if taken else "nothing is missing here that it has")
    if taken:
        _tell_to_load(opened, "")


@keys.command()
@click.argument("kind", type=KIND)
@click.argument("state")
@terminal.json_option
def activate(kind: KeyKind, state: str, as_json: bool) -> None:
    """Have all servers that share the store use the newest key of a kind.

    All of them must have it, and those that run must have loaded it. They use it some seconds later. A server alone
    uses a new key when it loads it: then there is nothing to do.
    """
    opened = StateDir.open(state)
    generation, changed = rotation.activate(opened, kind)
    what = "new credentials get epoch" if kind == "master" else "new handles are sealed under"
    if changed:
        note(opened, "key-activated", kind=kind, generation=generation)
    line = f"{kind} key {generation} is active{'' if changed else ' already'}: {what} {generation}"
    terminal.tell({"kind": kind, "generation": generation, "changed": changed}, line, as_json=as_json)


@keys.command("minimum-epoch")
@click.argument("state")
@click.argument("epoch", type=click.IntRange(0, LAST_GENERATION))
@terminal.json_option
def minimum_epoch(state: str, epoch: int, as_json: bool) -> None:
    """Refuse the credentials of all devices below EPOCH.

    A running server obeys at once.
    """
    opened = StateDir.open(state)
    with closing(opened.open_store()) as store:
        newest = keys_of(opened, store).current_epoch
        if epoch > newest:
            raise LocalError(
                f"new credentials get epoch {newest}: no device could register",
                hint=f"add a key first: dpe keys rotate master {state}",
            )
        enact(opened.journal_path, store, [SetMinimumEpoch(epoch)])
    note(opened, "minimum-epoch-set", epoch=epoch)
    line = f"credentials below epoch {epoch} are refused with the status reprovision"
    terminal.tell({"minimum_epoch": epoch}, line, as_json=as_json)


def _tell_to_load(opened: StateDir, meanwhile: str) -> None:
    if loaded.is_running(opened):
        click.echo(f"the running server does not have it yet{meanwhile}: {loaded.reload_hint(opened)}")
    else:
        click.echo("no server is running here; it loads all keys when it starts")


def _not_active(generations: list[int], current: int) -> str:
    waiting = [generation for generation in generations if generation > current]
    return f"; not active yet: {_list(waiting)}" if waiting else ""


def _list(generations: list[int]) -> str:
    return ", ".join(map(str, generations))
