"""`dpe session`: speaks as a device that `dpe register` has registered."""

from collections.abc import Callable
from typing import Any

import click

from dpe_coap.client_ids import client_id_of, client_id_text
from dpe_coap.session_messages import Answer
from dpe_server.files.shown import shown_key
from dpe_server.operators.properties import conditions, named
from dpe_server.policy.reporting import described
from dpe_server.policy.vocabulary import Vocabulary
from dpe_tools import device_state, properties, recording, terminal
from dpe_tools.conversation import Speaker, Talk
from dpe_tools.datagram import said_of
from dpe_tools.voice import Method, Voice

KNOWN = Vocabulary()
"""What a device knows without its server's policy file: the field's properties."""


@click.group()
def session() -> None:
    """Speak as a registered device: report, ask what to report, deregister.

    The messages are protected by OSCORE with the keys of the session that `dpe register CREDENTIAL` has begun. The
    state file beside CREDENTIAL has them, and the numbers that are left to it: each message takes a new one, which is
    saved before anything is sent.
    """


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--trace", is_flag=True, help="Show every datagram on standard error."),
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object."),
        click.option(
            "--timeout",
            type=click.FloatRange(0.1, 86400),
            default=60,
            show_default=True,
            metavar="SECONDS",
            help="When to give up.",
        ),
        device_state.option,
        recording.option,
    ):
        command = option(command)
    return command


@session.command()
@click.argument("credential")
@click.argument("words", metavar="[NAME=VALUE]...", nargs=-1)
@_options
def report(
    credential: str,
    words: tuple[str, ...],
    state: str | None,
    timeout: float,
    as_json: bool,
    trace: bool,
    pcap: str | None,
) -> None:
    """Report properties of the device that holds CREDENTIAL, and print what it is told to report.

    NAME is a property of the field (battery, firmware, roaming, free_memory, language, last_reboot, orientation,
    headset, bearer, signal, display), a number, or a text of your own. The VALUE of a property of the field is written
    as it is: battery=86, firmware=4.2, roaming=true. That of any other is JSON, or h'0102' for bytes. null takes a
    property away. Without any, the session is refreshed.

    Exit status 3: the server did not answer. Exit status 4: the server does not know the session, or refuses the
    report.
    """
    said = Voice()
    said.properties = properties.read(words, KNOWN)
    for word in words:
        _warn(word.partition("=")[0])
    talk = Speaker(credential, state, timeout, trace, pcap).ask(Method.REPORT, said)
    told = {"reported": named(said.properties, KNOWN)} | _told(talk)
    if as_json:
        terminal.print_json(told)
        return
    words_of_all = properties.in_words(said.properties, KNOWN)
    click.echo(f"reported: {words_of_all}" if words_of_all else "reported: nothing new")
    _print(talk)


@session.command()
@click.argument("credential")
@_options
def get(credential: str, state: str | None, timeout: float, as_json: bool, trace: bool, pcap: str | None) -> None:
    """Ask what the device that holds CREDENTIAL is to report, and when.

    Exit status 3: the server did not answer. Exit status 4: the server does not know the session.
    """
    talk = Speaker(credential, state, timeout, trace, pcap).ask(Method.GET, Voice())
    if as_json:
        terminal.print_json(_told(talk))
    else:
        _print(talk)


@session.command()
@click.argument("credential")
@_options
def end(credential: str, state: str | None, timeout: float, as_json: bool, trace: bool, pcap: str | None) -> None:
    """Deregister the device that holds CREDENTIAL: end its session, here and at the server.

    That it is to end is saved first. If the command is interrupted, the same command goes on.

    Exit status 3: the server did not answer. Exit status 4: it has ended on the device, and the server, which does not
    know it, says no more.
    """
    talk = Speaker(credential, state, timeout, trace, pcap).ask(Method.END, Voice())
    if as_json:
        terminal.print_json(_told(talk))
    else:
        click.echo(f"ended: the server has erased the session of Client ID {_client_id(talk)}")


def _warn(name: str) -> None:
    """Say on standard error that a name which is nearly one of the field's is taken as it is."""
    if KNOWN.on_wire(KNOWN.wire_of(name)) is None and "did you mean" in (guess := KNOWN.unknown(name)):
        shown = shown_key(name)
        click.echo(f"dpe: {shown}: {guess.removeprefix('unknown property; ')} It is reported as {shown}", err=True)


def _client_id(talk: Talk) -> str:
    return client_id_text(client_id_of(talk.client_id))


def _told(talk: Talk) -> dict[str, Any]:
    """Return what came of an exchange, for JSON."""
    told: dict[str, Any] = {"answer": "accepted", "code": said_of(talk.reply.code).split()[0]}
    if (answer := talk.reply.answer) is not None:
        told |= {"lifetime": answer.lifetime, "policies": conditions(answer.policies, KNOWN)}
    return told | {
        "client_id": _client_id(talk),
        "server": talk.device.server,
        "datagrams": talk.watcher.datagrams,
    }


def _print(talk: Talk) -> None:
    click.echo(f"accepted: {said_of(talk.reply.code)}, Client ID {_client_id(talk)}, at {talk.device.server}")
    if talk.reply.answer is not None:
        for line in answer_in_words(talk.reply.answer, KNOWN):
            click.echo(line)


def answer_in_words(answer: Answer, vocabulary: Vocabulary) -> list[str]:
    """Return what a device was told: how long its session lives, and what it is to report."""
    lives = "without end" if answer.lifetime is None else f"{answer.lifetime} s from now"
    if not answer.policies:
        return [f"the session lives {lives}; nothing is to be reported unasked"]
    return [
        f"the session lives {lives}; to be reported:",
        *(f"  {line}" for line in described(answer.policies, vocabulary)),
    ]
