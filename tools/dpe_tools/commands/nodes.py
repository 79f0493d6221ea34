"""`dpe nodes`: the servers that share a store."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import click

from dpe_coap.errors import LocalError
from dpe_server.operation.acts import note
from dpe_server.operation.nodes import SILENT
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.nodes import Node, Nodes
from dpe_server.store.opening import nodes_of
from dpe_tools import terminal
from dpe_tools.commands.sessions import Sessions


@click.group(cls=Sessions, subcommand_metavar="STATE | COMMAND [ARGS]...")
def nodes() -> None:
    """List the servers that share the store of STATE, or forget one of them.

    `dpe nodes STATE` is short for `dpe nodes list STATE`. What is wrong with them says `dpe doctor STATE`.
    """


@nodes.command("list")
@click.argument("state")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_(state: str, as_json: bool) -> None:
    """List the servers that share the store of STATE."""
    opened = StateDir.open(state)
    with _nodes(opened) as known:
        found = known.all()
    if as_json:
        terminal.print_json([_in_json(node) for node in found])
        return
    rows = [(node.name, _standing(node), node.version, node.policy, _started(node)) for node in found]
    rows.insert(0, ("node", "is", "version", "policy", "started"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@nodes.command()
@click.argument("state")
@click.argument("name")
@terminal.json_option
def forget(state: str, name: str, as_json: bool) -> None:
    """Forget the node NAME, which is gone for good: a new key need not wait for it any more.

    If its server runs, or is started again, it is back.
    """
    opened = StateDir.open(state)
    with _nodes(opened) as known:
        if not known.forget(name):
            raise LocalError(f"there is no node {name}", hint=f"see: dpe nodes {state}")
    note(opened, "node-forgotten", node=name)
    terminal.tell({"forgotten": name}, f"forgotten: the node {name}", as_json=as_json)


@contextmanager
def _nodes(opened: StateDir) -> Iterator[Nodes]:
    with closing(opened.open_store()) as store:
        found = nodes_of(store)
        if found is None:
            raise LocalError(
                "this server has its store for itself", hint="a store is shared in PostgreSQL: dpe store copy --help"
            )
        yield found


def _standing(node: Node) -> str:
    if node.started_at is None:
        return "new"
    if node.silent is None:
        return "stopped"
    return "running" if node.silent <= SILENT else f"silent for {node.silent} s"


def _started(node: Node) -> str:
    return "" if node.started_at is None else f"{datetime.fromtimestamp(node.started_at, UTC):%Y-%m-%d %H:%M:%SZ}"


def _in_json(node: Node) -> dict[str, object]:
    standing = _standing(node).partition(" ")[0]
    return {**node._asdict(), "is": standing}
