"""`dpe init`: a new server's state directory."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
from click.core import ParameterSource

from dpe_server.files.uris import is_loopback, uri_fault
from dpe_server.operation import founding
from dpe_server.operation.config import host_name, node_fault, realm_fault
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import shared_fault
from dpe_tools import terminal
from dpe_tools.progress import Working

_DEFAULT = ParameterSource.DEFAULT


def _checked(fault_of: Callable[[object], str | None]) -> Callable[[click.Context, click.Parameter, str], str]:
    def check(_: click.Context, __: click.Parameter, value: str) -> str:
        if fault := fault_of(value):
            raise click.BadParameter(fault)
        return value

    return check


def _checked_if_given(
    fault_of: Callable[[object], str | None],
) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    check = _checked(fault_of)
    return lambda context, parameter, value: None if value is None else check(context, parameter, value)


checked_url = _checked_if_given(shared_fault)
checked_name = _checked_if_given(node_fault)


@click.command()
@click.argument("state")
@click.option(
    "--realm",
    default="dpe",
    show_default=True,
    metavar="NAME",
    callback=_checked(realm_fault),
    help="The name of the server cluster.",
)
@click.option(
    "--uri",
    default="coap://127.0.0.1:5683",
    show_default=True,
    metavar="URI",
    callback=_checked(uri_fault),
    help="Where devices find the server. Every credential contains it.",
)
@click.option(
    "--store",
    metavar="URL",
    callback=checked_url,
    help="Have the store in a PostgreSQL database: postgresql://USER@HOST,HOST/DATABASE, without a password.",
)
@click.option("--one-machine", is_flag=True, help="With --store: the database may be without a synchronous standby.")
@click.option(
    "--join",
    "source",
    metavar="FROM",
    help="Make a further node of a cluster, from the state directory FROM of another node or a copy of it. "
    "-: from a tar archive on standard input.",
)
@click.option(
    "--node",
    metavar="NAME",
    callback=checked_name,
    help="With --store or --join: this node's name among the others.  [default: the machine's name]",
)
@terminal.json_option
@click.pass_context
def init(
    context: click.Context,
    state: str,
    realm: str,
    uri: str,
    store: str | None,
    one_machine: bool,
    source: str | None,
    node: str | None,
    as_json: bool,
) -> None:
    """Create the state directory STATE with a configuration, a policy, fresh keys and an empty store.

    It overwrites nothing.

    With --store, the store is made in a database that several servers, its nodes, can share. With --join, STATE becomes
    a further node's: with the configuration, the policy and the keys of another one. Keys are in no database: take them
    over SSH, as in `ssh NODE tar -C STATE -ch config.toml policy.toml keys.json beat.json | dpe init STATE --join -`.
    """
    if source is not None:
        if one_machine or any(context.get_parameter_source(name) is not _DEFAULT for name in ("realm", "uri")):
            raise click.UsageError("--realm, --uri and --one-machine are the other node's: --join takes none of them")
        _join(state, source, node or host_name(), store, as_json=as_json)
        return
    if store is None and (one_machine or node is not None):
        raise click.UsageError("--one-machine and --node go with --store URL")
    if store is None:
        made = StateDir.create(state, realm, uri)
    else:
        with Working("making the store"):
            made = founding.found(state, realm, uri, store, node=node or host_name(), one_machine=one_machine)
    if as_json:
        terminal.print_json(_told(made))
        return
    click.echo(f"{made.path}: realm {made.config.realm}, for devices at {made.config.uri}")
    if store is not None:
        click.echo(f"the database has its store; this is the node {made.config.node}")
    click.echo("  config.toml  where to listen, what devices are told")
    click.echo("  policy.toml  who is registered, and what devices report; now every device of DPE 1.x is, for 7 days")
    click.echo("  keys.json    the secrets of all devices: back it up, show it to nobody")
    if not is_loopback(uri):
        click.echo("to do: name the addresses to listen on in config.toml; until then, only this machine can reach it")
    click.echo(f"next: dpe serve {state}; dpe provision {state} IMEI --out DIR; dpe register DIR/device-*.cbor")


def _told(made: StateDir) -> dict[str, str | None]:
    """Return what was made, for a program."""
    config = made.config
    return {"state": str(made.path), "realm": config.realm, "uri": config.uri, "node": config.node or None}


def _join(state: str, source: str, node: str, store: str | None, *, as_json: bool) -> None:
    files = founding.files_in(sys.stdin.buffer) if source == "-" else founding.files_of(Path(source))
    with Working("joining the cluster"):
        made = founding.join(state, files, node=node, store=store)
    if as_json:
        terminal.print_json(_told(made))
        return
    click.echo(f"{made.path}: the node {made.config.node} of realm {made.config.realm}")
    click.echo("  config.toml  is the other node's but for the name: look at `listen`")
    click.echo("  keys.json    the secrets of all devices, as on all nodes")
    click.echo(f"next: dpe serve {state}")
