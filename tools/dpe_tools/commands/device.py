"""`dpe device`: which device holds a Client ID, the keys of its session, and what to keep of a device no more.

Only `dpe device show` shows an IMEI, and only `dpe device keys` shows keys.
"""

import sys
import time
from contextlib import closing

import click

from dpe_coap.client_ids import client_id_bytes, client_id_of, client_id_text
from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_coap.numbers import SIZE_CLIENT_ID
from dpe_server.operation.acts import note
from dpe_server.operation.journal import enact
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.imposing import note_ended
from dpe_server.operators.profile import in_json, read
from dpe_server.session.contexts import SIZE_MASTER_SECRET
from dpe_server.store.contract import (
    TRACE,
    Forget,
    Outcome,
    Session,
    Store,
)
from dpe_server.store.questions import Questions, Restriction
from dpe_tools import files, profile, properties, terminal
from dpe_tools.oscore_files import FORMATS, Context

KEYS_WARNING = "whoever has these keys speaks as this device; never use them while it uses them itself"


@click.group()
def device() -> None:
    """Show which device holds a Client ID, or the keys of its session, or forget a device."""


@device.command()
@click.argument("state")
@click.argument("client_id", required=False)
@click.option("--imei-stdin", is_flag=True, help="Look the device up by its IMEI, read from standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def show(state: str, client_id: str | None, imei_stdin: bool, as_json: bool) -> None:
    """Show the device that holds CLIENT_ID (14 hex digits).

    Its session is shown, too, what the device has reported, and what it is told to report. IMEIs are encrypted in the
    store: this decrypts one with the at-rest key of STATE and prints it.
    """
    if (client_id is None) != imei_stdin:
        raise click.UsageError("give a CLIENT_ID or --imei-stdin")
    opened = StateDir.open(state)
    at_rest = opened.at_rest
    with closing(opened.open_store()) as store:
        if client_id is None:
            imei = Imei.parse(sys.stdin.readline())
            name = at_rest.device_id(imei)
            session = store.session_of(name)
        else:
            session = holder(store, client_id, state)
            name = session.device
            imei = at_rest.open_imei(session.sealed_imei, name)
        found = read(store, name, session, properties.policy_of(opened), int(time.time()))
    if as_json:
        terminal.print_json({"imei": profile.digits(imei)} | in_json(found))
    else:
        for line in profile.in_words(found, imei):
            click.echo(line)


@device.command()
@click.argument("state")
@click.argument("client_id")
@click.option(
    "--format",
    "client",
    type=click.Choice(list(FORMATS)),
    default="aiocoap",
    show_default=True,
    help="A settings.json for aiocoap, what coap-client reads with -E, or a line of Wireshark's oscore_contexts.",
)
@click.option("--out", metavar="FILE", help="Write a new file, mode 0600, instead of standard output.")
def keys(state: str, client_id: str, client: str, out: str | None) -> None:
    """Show the OSCORE keys of the session that holds CLIENT_ID (14 hex digits), for another CoAP client.

    Whoever has them speaks as this device, so use them to try a server, and not beside the device: two that count on
    their own use a number twice, which shows what both have said. A line of the audit log tells that they were shown.
    """
    opened = StateDir.open(state)
    with closing(opened.open_store()) as store:
        session = holder(store, client_id, state)
    opened_keys = opened.at_rest.open_keys(session.sealed_keys, session.client_id)
    secret, salt = opened_keys[:SIZE_MASTER_SECRET], opened_keys[SIZE_MASTER_SECRET:]
    text = FORMATS[client](Context(client_id_bytes(session.client_id), secret, salt))
    if out is None:
        files.warn_of_other_readers("--out FILE")
    else:
        files.write_new_private(out, text.encode())
    note(opened, "session-keys-shown", [session.device], format=client)
    click.echo(f"dpe: warning: {KEYS_WARNING}", err=True)
    if session.mark is not None:
        click.echo(f"note: this session has used the numbers up to {session.mark}: begin above", err=True)
    if out is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"keys in {out}, which only you can read")


@device.command()
@click.argument("state")
@click.argument("client_id", required=False)
@click.option("--imei-stdin", is_flag=True, help="Look the device up by its IMEI, read from standard input.")
@terminal.json_option
def forget(state: str, client_id: str | None, imei_stdin: bool, as_json: bool) -> None:
    """Erase what the store of STATE has of the device that holds CLIENT_ID (14 hex digits).

    Its session ends, and its sealed IMEI, its keys and its profile are gone at once. The keyed hash of its IMEI goes an
    hour later: until then it refuses what comes late. Its Client ID stays for 7 days, as that of a session that has
    ended. A revocation stays, as that hash. To keep the device from registering again, revoke it. Backups, credential
    files and logs are yours to delete.
    """
    if (client_id is None) != imei_stdin:
        raise click.UsageError("give a CLIENT_ID or --imei-stdin")
    opened = StateDir.open(state)
    with closing(opened.open_store()) as store:
        if client_id is None:
            name = opened.at_rest.device_id(Imei.parse(sys.stdin.readline()))
        else:
            name = holder(store, client_id, state).device
        # Dated so that the trace goes an hour from now, whatever the retention.
        at = int(time.time()) + TRACE - max(opened.config.retention, TRACE)
        (outcome,) = enact(opened.journal_path, store, [Forget(name, at)])
        revoked = store.look(Questions(restrictions={name})).restrictions.get(name, Restriction()).revoked
    note(opened, "device-forgotten", [name])
    note_ended(opened, [name], [outcome], "forgotten")
    if outcome is Outcome.UNCHANGED:
        line = "nothing was known of this device" + (" but its revocation, which stays" if revoked else "")
    else:
        ended = "its session has ended" if outcome is Outcome.SESSION_ENDED else "it had no session"
        line = f"forgotten: {ended}" + ("; its revocation stays" if revoked else "")
    told = {
        "known": outcome is not Outcome.UNCHANGED,
        "session_ended": outcome is Outcome.SESSION_ENDED,
        "revoked": revoked,
    }
    terminal.tell(told, line, as_json=as_json)


def parse_client_id(text: str) -> int:
    """Read a Client ID in hex. Raises BadParameter if it is none."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != SIZE_CLIENT_ID:
        raise click.BadParameter(f"a Client ID is {2 * SIZE_CLIENT_ID} hex digits", param_hint="CLIENT_ID")
    return client_id_of(found)


def holder(store: Store, client_id: str, state: str) -> Session:
    """Return the session that holds a Client ID (14 hex digits), or raise LocalError."""
    wanted = parse_client_id(client_id)
    session = store.session(wanted)
    if session is None:
        raise LocalError(f"no session holds the Client ID {client_id_text(wanted)}", hint=f"see: dpe sessions {state}")
    return session
