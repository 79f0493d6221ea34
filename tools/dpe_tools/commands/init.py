"""`dpe init`: a new server's state directory."""

from collections.abc import Callable

import click

from dpe_server.files.uris import is_loopback, uri_fault
from dpe_server.operation.config import realm_fault
from dpe_server.operation.state_dir import StateDir


def _checked(fault_of: Callable[[object], str | None]) -> Callable[[click.Context, click.Parameter, str], str]:
    def check(_: click.Context, __: click.Parameter, value: str) -> str:
        if fault := fault_of(value):
            raise click.BadParameter(fault)
        return value

    return check


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
def init(state: str, realm: str, uri: str) -> None:
    """Create the state directory STATE with a configuration, a policy, fresh keys and an empty store.

    It overwrites nothing.
    """
    made = StateDir.create(state, realm, uri)
    click.echo(f"{made.path}: realm {made.config.realm}, for devices at {made.config.uri}")
    click.echo("  config.toml  where to listen, what devices are told")
    click.echo("  policy.toml  who is registered, and what devices report; now every device of DPE 1.x is, for 7 days")
    click.echo("  keys.json    the secrets of all devices: back it up, show it to nobody")
    if not is_loopback(uri):
        click.echo("to do: name the addresses to listen on in config.toml; until then, only this machine can reach it")
    click.echo(f"next: dpe serve {state}; dpe provision {state} IMEI --out DIR; dpe register DIR/device-*.cbor")
