"""`dpe inspect`: a message as annotated hex, with its security token verified, or its protection opened, on request."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from dpe_coap import messages
from dpe_coap.errors import LocalError, MalformedMessage
from dpe_coap.keys import RequestStep
from dpe_coap.messages import Message
from dpe_server.operation.credential import Credential
from dpe_server.operators import capture_file
from dpe_tools import (
    annotate,
    credentials,
    datagram,
    files,
    inspect_capture,
    inspect_protected,
    recording,
    refusals,
    terminal,
)
from dpe_tools.progress import Working
from dpe_tools.verify import Chain, TokenCheck, verify


def _input(source: str) -> bytes:
    """Return the message that the argument names: a file, standard input, or the message itself in hex."""
    if source == "-" or files.is_file(source):
        return files.unhex(files.read(source))
    given = os.fsencode(source)
    data = files.unhex(given)
    if data == given:
        raise LocalError(
            f"no such file, and not hex: {source[:40]!r}", hint="name a file, give the message in hex, or - for stdin"
        )
    return data


def _earlier(source: str | None) -> bytes | None:
    if source is None:
        return None
    data = _input(source)
    return datagram.parse(data).payload if datagram.is_coap(data) else data


def _object(message: Message, payload: bytes, check: TokenCheck | None) -> dict[str, Any]:
    """Return the annotated message for a program."""
    found: dict[str, Any] = {
        "message": annotate.TITLES[annotate.message_type(message)],
        "size": len(payload),
        "fields": annotate.fields(annotate.rows(payload)),
    }
    if check is not None:
        found["security_token"] = {"valid": check.valid, "why": check.why}
    return found


def _print(message: Message, payload: bytes, check: TokenCheck | None) -> None:
    """Print the annotated message for a person."""
    out = terminal.console()
    out.print(f"{annotate.TITLES[annotate.message_type(message)]}, {len(payload)} bytes", style="bold")
    terminal.print_rows(out, annotate.rows(payload))
    if check is not None:
        out.print(f"security token: {check}", style=terminal.style_of(check.valid))


def _malformed(payload: bytes, error: MalformedMessage, as_json: bool) -> int:
    """Show where the bytes stop being a message. Return the exit status."""
    if as_json:
        terminal.print_json({"error": annotate.fault(error)})
        return 1
    click.echo(f"not a DPE-1 message: {error}")
    for line in annotate.fault_dump(payload, error):
        click.echo(line)
    return 1


def _capture(path: str, credential_files: tuple[str, ...], ephemeral: str | None, as_json: bool) -> int:
    """Show the messages of a capture. Return the exit status."""
    known: list[Credential] = []
    for one in credential_files:
        known += credentials.load_all(Path(one)) if Path(one).is_dir() else [credentials.load(one)]
    starts = [RequestStep.of(one.device_key, one.realm) for one in known]
    private = None if ephemeral is None else files.read_ephemeral(ephemeral)
    lines = inspect_capture.Reader(starts, private).lines(capture_file.read(path))
    if as_json:
        with Working("reading the capture"):
            told = list(lines)
    else:
        told = list(inspect_capture.show(lines))
    count, status = inspect_capture.verdict(told, with_keys=bool(known))
    numbers = {"valid": count[True], "not_valid": count[False], "cannot_tell": count[None]}
    if as_json:
        found = [inspect_capture.in_json(line) for line in told]
        terminal.print_json({"messages": found} | ({"security_tokens": numbers} if known else {}))
    elif known:
        click.echo(", ".join(f"{number} {name.replace('_', ' ')}" for name, number in numbers.items()))
    return status


@click.command()
@click.argument("message", required=False, metavar="[FILE|HEX|-]")
@click.option(
    "--credential",
    "credential_files",
    multiple=True,
    metavar="CREDENTIAL",
    help="Verify the security token with this device's key. With --pcap: several, or a folder.",
)
@click.option("--request", metavar="FILE", help="The REQUEST that came before it (file or hex).")
@click.option("--response", metavar="FILE", help="The RESPONSE that came before it.")
@click.option("--success", metavar="FILE", help="The SUCCESS that came before it.")
@click.option("--ephemeral", metavar="FILE", help="The X25519 private key that `dpe message request` kept.")
@click.option("--answers", metavar="FILE", help="The protected request that a protected response answers.")
@click.option("--pcap", metavar="FILE", help="Read all messages of a capture (pcapng or pcap) instead of one.")
@click.option("--dissector", is_flag=True, help="Print Wireshark's dissector of DPE-1, in Lua.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def inspect(
    message: str | None,
    credential_files: tuple[str, ...],
    request: str | None,
    response: str | None,
    success: str | None,
    ephemeral: str | None,
    answers: str | None,
    pcap: str | None,
    dissector: bool,
    as_json: bool,
) -> int:
    """Explain a DPE-1 message: its bytes, its diagnostic notation, and the OMA document's names for its fields.

    The argument is a file (binary or hex), the message in hex, or - for standard input. A whole CoAP datagram is
    accepted, too. With --credential and the messages that came before, the security token is verified.

    A message of a session is protected by OSCORE, and must be a whole datagram. With --credential and the three
    messages of the registration (--request, --response, --success), it is decrypted; a response needs --answers, too.

    With --pcap, it is a whole capture: every message of DPE-1 in it has a line. With credentials, each security token
    is verified with the messages that came before, and each protected message is opened.

    Exit status 1: this is not a message, or its security token or its protection could not be verified.
    """
    if dissector:
        click.echo(recording.dissector(), nl=False)
        return 0
    if pcap is not None:
        if not message == request == response == success == answers:
            raise click.UsageError("--pcap reads all messages of a capture, so name none")
        return _capture(pcap, credential_files, ephemeral, as_json)
    if len(credential_files) > 1:
        raise click.UsageError("one message has one --credential; several go with --pcap")
    credential = credential_files[0] if credential_files else None
    if message is None and sys.stdin.isatty():
        raise click.UsageError("name a file, give the message in hex, or pipe it in")
    payload = _input(message or "-")
    start, chain = None, Chain()
    if credential is not None:
        private = None if ephemeral is None else files.read_ephemeral(ephemeral)
        chain = Chain(_earlier(request), _earlier(response), _earlier(success), private)
        known = credentials.load(credential)
        start = RequestStep.of(known.device_key, known.realm)
    if datagram.is_coap(payload):
        carrier = datagram.parse(payload)
        if not as_json:
            click.echo(f"CoAP {carrier.title}, message ID {carrier.message_id}, {len(payload)} bytes")
        if carrier.option(datagram.OSCORE) is not None:
            seen = inspect_protected.read(payload, None if answers is None else _input(answers), start, chain)
            if as_json:
                terminal.print_json(inspect_protected.in_json(seen))
            else:
                inspect_protected.show(seen)
            return inspect_protected.status(seen)
        if not carrier.payload:
            raise LocalError("the datagram has no payload", hint=refusals.CODES.get(carrier.code, ""))
        payload = carrier.payload
    try:
        decoded = messages.decode(payload)
    except MalformedMessage as error:
        return _malformed(payload, error, as_json)
    check = None if start is None else verify(start, decoded, payload, chain)
    if as_json:
        terminal.print_json(_object(decoded, payload, check))
    else:
        _print(decoded, payload, check)
    return 0 if check is None or check.valid else 1
