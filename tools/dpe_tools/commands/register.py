"""`dpe register`: the real device client, on this machine, over UDP."""

import os
import time
from pathlib import Path
from typing import Any

import click

from dpe_coap.errors import DpeError, LocalError, RemoteError
from dpe_coap.messages import Version
from dpe_coap.numbers import MessageType, Status
from dpe_device import registration as client
from dpe_device import x25519
from dpe_device.store import FileStore
from dpe_device.udp import register as register_over_udp
from dpe_tools import annotate, credentials, refusals, terminal
from dpe_tools.commands.message import parse_firmware, parse_version
from dpe_tools.datagram import Datagram, parse
from dpe_tools.exits import NoAnswer, Refused


class Watcher:
    """Sees every datagram of the client. Shows them, and ends a registration that cannot succeed."""

    def __init__(self, *, every: bool, again: bool) -> None:
        self.sent = 0
        self.received = 0
        self._every = every
        self._again = again
        self._start = time.monotonic()
        self._last = b""
        self._asking = False
        self.refusals = 0

    def __call__(self, direction: str, data: bytes) -> None:
        """Take one datagram. Raises Refused when the server has refused the device's key twice.

        A 4.01 has no security token, so a device must not believe it, but a person wants to know. A single one may come
        from a server that was restarted between REQUEST and SUCCESS.
        """
        try:
            seen = parse(data)
        except RemoteError:
            return
        if direction == "sent":
            self.sent += 1
            self._tell("->", seen, data, "again" if data == self._last else "")
            self._last = data
            self._asking = seen.payload[2:3] == bytes([MessageType.REQUEST])
            return
        self.received += 1
        self._tell("<-", seen, data, "")
        if seen.code == 0x81 and self._asking:
            self.refusals += 1
            if self.refusals == 2:
                raise unauthorized()

    def _tell(self, arrow: str, seen: Datagram, data: bytes, note: str) -> None:
        if self._every or (note and self._again):
            passed = time.monotonic() - self._start
            name = annotate.name_of(seen.payload)
            click.echo(f"{passed:7.3f} s {arrow} {len(data):3d} bytes  {seen.title}  {name} {note}".rstrip(), err=True)


def unauthorized() -> Refused:
    """Return the error for a server that does not accept the device's key."""
    return Refused("the server refuses this credential: 4.01 Unauthorized", hint=refusals.UNAUTHORIZED)


@click.command()
@click.argument("credential")
@click.option(
    "--state", metavar="FILE", show_default="CREDENTIAL.state", help="The file in which the device keeps its state."
)
@click.option("--x25519", "use_x25519", is_flag=True, help="Use the X25519 suite from the start.")
@click.option(
    "--version",
    "versions",
    multiple=True,
    default=["1.0"],
    callback=lambda context, parameter, values: [parse_version(context, parameter, value) for value in values],
    show_default=True,
    metavar="V",
    help="A DPE version that the device supports. May be given several times, the preferred one first.",
)
@click.option(
    "--firmware",
    callback=parse_firmware,
    metavar="TEXT",
    help="The name of the firmware, 1 to 32 bytes, sent in clear.",
)
@click.option("--decline", is_flag=True, help="Decline the Client ID that is offered.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 86400),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="When to give up.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--trace", is_flag=True, help="Show every datagram on standard error.")
def register(
    credential: str,
    state: str | None,
    use_x25519: bool,
    versions: list[Version],
    firmware: str | None,
    decline: bool,
    timeout: float,
    as_json: bool,
    trace: bool,
) -> None:
    """Register the device that holds CREDENTIAL with its server, and print its Client ID.

    It runs the code of a real device: retransmission, back-off, a state file that survives power cuts.

    Exit status 3: the server did not answer. Exit status 4: the server refused the device.
    """
    known = credentials.load(credential)
    state = writable(state or f"{credential}.state")
    watcher = Watcher(every=trace, again=terminal.is_terminal(stderr=True))
    done = register_over_udp(
        credentials.for_device(known),
        FileStore(state),
        versions=tuple(versions),
        firmware=firmware,
        x25519=x25519,
        suite=2 if use_x25519 else 1,
        accept=(lambda _client_id, _version: int(Status.DECLINED)) if decline else None,
        deadline_ms=int(timeout * 1000),
        trace=watcher,
    )
    if done.state == client.REFUSED:
        highest = f", the server supports up to {Version(*done.version)}"
        raise refusals.refused(done.status or 0, highest if done.status == Status.VERSION_NOT_SUPPORTED else "")
    if done.state == client.IDLE and not decline:
        raise LocalError(
            "not registered: the device could not save its state, or the server selected a version it does not speak",
            hint=f"can {state} be written? Is the version that the policy selects one of --version?",
        )
    if done.state not in (client.REGISTERED, client.IDLE):
        raise no_answer(known.server, timeout, watcher, done.status)
    told: dict[str, Any] = {"state": "REGISTERED" if done.state == client.REGISTERED else "DECLINED"}
    if done.client_id is not None and done.state == client.REGISTERED:
        told |= {
            "client_id": done.client_id.hex(),
            "version": str(Version(*done.version)),
            "lifetime": done.lifetime,
        }
    told |= {"server": done.server, "datagrams": {"sent": watcher.sent, "received": watcher.received}}
    if as_json:
        terminal.print_json(told)
    elif done.state == client.REGISTERED:
        click.echo(f"registered: Client ID {told['client_id']}")
        ends = "without end" if done.lifetime is None else f"for {done.lifetime} s"
        click.echo(f"DPE version {told['version']}, session {ends}, at {done.server}")
    else:
        click.echo("declined: the server has released the Client ID")


def writable(state: str) -> str:
    """Return the path of the state file. Raises LocalError if its directory is not writable."""
    directory = Path(state).absolute().parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise LocalError(
            f"cannot write {state}", hint="a device needs a place for its state; name one with --state FILE"
        )
    return state


def no_answer(server: str, timeout: float, watcher: Watcher, status: int | None) -> DpeError:
    """Return the error for a registration that did not end in time."""
    if watcher.refusals:
        return unauthorized()
    if status == Status.UNAVAILABLE:
        return Refused(f"{server} could not register it in {timeout:g} s", hint=refusals.HINTS[Status.UNAVAILABLE])
    if watcher.received:
        return LocalError(
            f"not registered with {server} in {timeout:g} s, though {watcher.received} datagrams came back",
            hint="see them with --trace; is the credential of this server?",
        )
    return NoAnswer(
        f"no answer from {server} in {timeout:g} s",
        hint="is the server running and listening there (dpe serve STATE), and does UDP get through?",
    )
