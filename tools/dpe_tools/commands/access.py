"""`dpe access`: access tokens, with which programs of the operator use the HTTP API of `dpe web`."""

import time

import click

from dpe_server.operation.access import Role
from dpe_server.operation.acts import note
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.times import ago, moment
from dpe_tools import files, terminal
from dpe_tools.commands.sessions import parse_span

HEAD = ("name", "role", "created", "expires", "last used")


@click.group()
def access() -> None:
    """Create, list and revoke access tokens of the HTTP API, which dpe web serves.

    They belong to STATE: of servers that share a store, each has its own.
    """


@access.command()
@click.argument("state")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="A reader sees everything but IMEIs. An operator also ends sessions, revokes devices and sets policies.",
)
@click.option(
    "--expires",
    callback=parse_span,
    metavar="TIME",
    help="Let it expire after this time, such as 12h or 30d.  [default: never]",
)
@click.option("--out", metavar="FILE", help="Write it to a new file, mode 0600, instead of standard output.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def create(state: str, name: str, role: str, expires: int | None, out: str | None, as_json: bool) -> None:
    """Create an access token and show it once: only its hash is kept.

    NAME is for you to know it again, and stands in the audit log beside all that is done with it. Whoever has the
    access token may do what its role allows; it begins with dpe_, so that a scanner finds it where it does not belong.
    """
    opened = StateDir.open(state)
    now = int(time.time())
    if expires == 0:
        raise click.BadParameter("it would have expired already", param_hint="--expires")
    made, text = opened.access.create(name, Role(role), now, expires)
    note(opened, "access-created", access=name, role=role)
    told = made.in_json()
    if out is None:
        files.warn_of_other_readers("--out FILE")
        told["access_token"] = text
    else:
        try:
            files.write_new_private(out, f"{text}\n".encode())
        except BaseException:
            opened.access.revoke(name)
            note(opened, "access-revoked", access=name)
            raise
    if as_json:
        terminal.print_json(told)
        return
    click.echo(text if out is None else f"access token in {out}, which only you can read")
    when = "does not expire" if made.expires_at is None else f"expires {moment(made.expires_at)}"
    click.echo(f"note: it is not shown again, and {when}; revoke it with: dpe access revoke {state} {name}", err=True)


@access.command("list")
@click.argument("state")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_(state: str, as_json: bool) -> None:
    """List the access tokens of STATE. When one was last used is known to the hour."""
    now = int(time.time())
    found = StateDir.open(state).access.all()
    if as_json:
        terminal.print_json([one.in_json() | {"expired": one.is_over(now)} for one in found])
        return
    if not found:
        click.echo("no access token")
        return
    rows = [HEAD]
    for one in found:
        expires = "never" if one.expires_at is None else moment(one.expires_at)
        used = "never" if one.used_at is None else ago(one.used_at, now)
        rows.append((one.name, one.role, moment(one.created_at), "expired" if one.is_over(now) else expires, used))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@access.command()
@click.argument("state")
@click.argument("name")
@terminal.json_option
def revoke(state: str, name: str, as_json: bool) -> None:
    """Revoke an access token. A running dpe web obeys at once: it opens nothing more, and its streams end."""
    opened = StateDir.open(state)
    opened.access.revoke(name)
    note(opened, "access-revoked", access=name)
    terminal.tell({"revoked": name}, f"revoked: the access token {name}", as_json=as_json)
