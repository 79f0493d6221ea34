"""`dpe register`: the real device client, on this machine, over UDP."""

import os
from contextlib import nullcontext
from typing import Any

import click

from dpe_coap.binding import Code
from dpe_coap.errors import DpeError, LocalError
from dpe_coap.messages import Version
from dpe_coap.numbers import MessageType, Status
from dpe_device import registration as client
from dpe_device import x25519
from dpe_device.registration import Registration
from dpe_device.store import FileStore
from dpe_tools import annotate, credentials, device_state, reach, recording, refusals, terminal
from dpe_tools.client import Client
from dpe_tools.commands.message import parse_firmware, parse_version
from dpe_tools.datagram import Datagram
from dpe_tools.exits import NoAnswer, Refused
from dpe_tools.recording import Recording
from dpe_tools.watcher import Watcher


class RegistrationWatcher(Watcher):
    """Ends a registration that cannot succeed."""

    def __init__(self, *, every: bool, again: bool) -> None:
        super().__init__(every=every, again=again)
        self._asking = False
        self._refusals = 0

    def sent(self, datagram: bytes, place: str) -> None:
        """Take a datagram that was sent."""
        super().sent(datagram, place)
        self._asking = self.last.payload[2:3] == bytes([MessageType.REQUEST])

    def refused(self, seen: Datagram, place: str) -> None:
        """Take an error without a security token. Raises Refused when the server has refused the device's key twice.

        A device must not believe it, but a person wants to know. A single one may come from a server that was restarted
        between REQUEST and SUCCESS.
        """
        if seen.code == Code.UNAUTHORIZED and self._asking:
            self._refusals += 1
            if self._refusals == 2:
                raise unbelievable(seen, "")
        super().refused(seen, place)


def unbelievable(seen: Datagram, when: str) -> Refused:
    """Return the error for a server that answered with an error that had no security token."""
    if seen.code == Code.UNAUTHORIZED:
        return Refused(f"the server refuses this credential: {seen.said}", hint=refusals.UNAUTHORIZED)
    return Refused(f"the server did not register it{when}: {seen.said}", hint=refusals.hint_of(seen.code))


@click.command()
@click.argument("credential")
@device_state.option
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
@recording.option
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
    pcap: str | None,
) -> None:
    """Register the device that holds CREDENTIAL with its server, and print its Client ID.

    It runs the code of a real device: retransmission, back-off, a state file that survives power cuts. What is known of
    the way to the server (no such name, nobody listens there) is told at once on standard error; after two seconds
    without an answer, what is being tried. Every address of the server's name is tried.

    Exit status 3: the server did not answer. Exit status 4: the server refused the device.
    """
    known = credentials.load(credential)
    state = device_state.writable(state or f"{credential}.state")
    watcher = RegistrationWatcher(every=trace, again=terminal.is_terminal(stderr=True))
    with device_state.held(state), nullcontext() if pcap is None else Recording(pcap) as recorded:
        registration = Registration(
            credentials.for_device(known),
            FileStore(state),
            os.urandom,
            versions=tuple(versions),
            firmware=firmware,
            x25519=x25519,
            suite=2 if use_x25519 else 1,
            accept=(lambda _client_id, _version: int(Status.DECLINED)) if decline else None,
        )
        registration.start()
        way = Client(registration, watcher, timeout, recording=recorded)
        done = way.run()
        if recorded is not None:
            recorded.session(done.client_id, done.oscore)
    if done.state == client.REFUSED and done.status is None:
        raise LocalError(
            "the device has counted as many attempts as it can, and makes none any more",
            hint="give it another key: a credential of a newer key epoch",
        )
    if done.state == client.REFUSED:
        highest = f", the server supports up to {Version(*done.version)}"
        raise refusals.refused(done.status or 0, highest if done.status == Status.VERSION_NOT_SUPPORTED else "")
    if done.state == client.IDLE and not decline:
        raise given_back(done, versions, state)
    if done.state not in (client.REGISTERED, client.IDLE):
        raise not_in_time(done, way, watcher, timeout)
    told: dict[str, Any] = {"state": "REGISTERED" if done.state == client.REGISTERED else "DECLINED"}
    if done.client_id is not None and done.state == client.REGISTERED:
        told |= {
            "client_id": done.client_id.hex(),
            "version": str(Version(*done.version)),
            "lifetime": done.lifetime,
        }
    told |= {"server": done.server, "datagrams": watcher.datagrams}
    if as_json:
        terminal.print_json(told)
    elif done.state == client.REGISTERED:
        click.echo(f"registered: Client ID {told['client_id']}")
        ends = "without end" if done.lifetime is None else f"for {done.lifetime} s"
        click.echo(f"DPE version {told['version']}, session {ends}, at {done.server}")
    else:
        click.echo("declined: the server has released the Client ID")


def given_back(done: Registration, versions: list[Version], state: str) -> LocalError:
    """Return the error for a Client ID that the device has declined of itself."""
    selected = Version(*done.version)
    if selected not in versions:
        return LocalError(
            f"not registered: the server selected DPE version {selected}, which this device does not speak",
            hint="see which rule selects it: dpe policy explain STATE --imei IMEI --version VERSION",
        )
    return LocalError(
        "not registered: the device could not save its state", hint=f"can {state} be written, and is there room for it?"
    )


def not_in_time(done: Registration, way: Client, watcher: Watcher, timeout: float) -> DpeError:
    """Return the error for a registration that did not end in time."""
    when = f" in {timeout:g} s"
    if done.status in (Status.UNAVAILABLE, Status.SUPERSEDED):
        return Refused(
            f"{done.server} did not register it{when}: {annotate.status_name(done.status)}",
            hint=refusals.HINTS[done.status],
        )
    if watcher.refusal is not None:
        return unbelievable(watcher.refusal, when)
    if way.nowhere is not None:
        return NoAnswer(f"{way.nowhere} (tried for {timeout:g} s)", hint=way.nowhere.hint)
    if done.status == Status.OK:
        return NoAnswer(
            f"{done.server} did not confirm it{when}, though it had answered the REQUEST",
            hint="the same command goes on where it stopped; see with --trace which datagrams do not get through",
        )
    if watcher.datagrams["received"]:
        return LocalError(
            f"not registered with {done.server}{when}: nothing that came back has a security token for this device",
            hint="see them with --trace; is the credential of this server?",
        )
    return reach.silence(f"no answer from {done.server}{when}", way.failures)
