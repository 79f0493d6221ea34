"""What `dpe inspect` shows of a protected message: its parts, each annotated byte by byte, and whether it opens."""

from dataclasses import dataclass
from typing import Any

import click

from dpe_coap import oscore
from dpe_coap.errors import MalformedMessage, RemoteError
from dpe_coap.keys import RequestStep
from dpe_tools import annotate, annotate_oscore, terminal
from dpe_tools.annotate import Row
from dpe_tools.datagram import OSCORE, parse
from dpe_tools.protected import Opened, named, open_message
from dpe_tools.verify import Chain, TokenCheck, session_of

UNREAD = "what is inside can be read with the session's keys: give --credential, --request, --response and --success"


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a protected message, or made from it."""

    key: str
    """Its name in JSON."""
    title: str
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Seen:
    """A protected message as far as it can be read."""

    title: str
    size: int
    parts: list[Part]
    check: TokenCheck | None
    """None: no key was given to read it with."""
    plaintext: bytes = b""
    fault: MalformedMessage | None = None
    """Why the plaintext is not a message of a session; None if it is one."""


def read(data: bytes, answers: bytes | None, start: RequestStep | None, chain: Chain) -> Seen:
    """Read the datagram of a protected message.

    ``answers`` is the datagram of the request, if it is a response; ``start`` and ``chain`` are the device's key and
    the messages of its registration. Raises LocalError if one of them is not what it should be.
    """
    seen = parse(data)
    is_request = seen.code < 32
    what = "protected request" if is_request else "protected response"
    parts = [Part("fields", "outside", list(annotate_oscore.outside(data)))]
    about = _about(seen.option(OSCORE) or b"", answers, is_request=is_request)
    if not isinstance(about, TokenCheck):
        rows = list(annotate_oscore.additional_data(*about))
        parts.append(Part("additional_data", f"additional data, {_size(rows)} bytes, authenticated, not sent", rows))
    check, plaintext, fault = None, b"", None
    if start is not None:
        opened = _open(data, about, start, chain)
        check, plaintext = opened.check, opened.plaintext
        if opened.nonce and not isinstance(about, TokenCheck):
            rows = list(annotate_oscore.nonce(opened.nonce, *about))
            parts.append(Part("nonce", f"nonce, {oscore.SIZE_NONCE} bytes, not sent: {opened.nonce.hex()}", rows))
        if plaintext:
            title = f"inside: {annotate_oscore.title(plaintext)}, {len(plaintext)} bytes"
            try:
                parts.append(Part("plaintext", title, list(annotate_oscore.inside(plaintext))))
            except MalformedMessage as error:
                fault = error
    return Seen(what, len(data), parts, check, plaintext, fault)


def _size(rows: list[Row]) -> int:
    return sum(len(row.data) for row in rows)


def _about(option: bytes, answers: bytes | None, *, is_request: bool) -> tuple[bytes, int] | TokenCheck:
    """Return the Client ID and the number that a message is about, or why they cannot be told."""
    if not is_request:
        return (
            TokenCheck(None, "needs --answers, the request before it")
            if answers is None
            else named(answers, "--answers")
        )
    try:
        return oscore.read_option(option)
    except RemoteError as error:
        return TokenCheck(False, str(error))


def _open(data: bytes, about: tuple[bytes, int] | TokenCheck, start: RequestStep, chain: Chain) -> Opened:
    if isinstance(about, TokenCheck):
        return Opened(about)
    context = session_of(start, chain)
    return Opened(context) if isinstance(context, TokenCheck) else open_message(data, about, context)


def in_json(seen: Seen) -> dict[str, Any]:
    """Return it for a program."""
    told: dict[str, Any] = {"message": seen.title, "size": seen.size}
    told |= {part.key: annotate.fields(part.rows) for part in seen.parts}
    if seen.fault is not None:
        told["plaintext"] = {"hex": seen.plaintext.hex(" "), "error": annotate.fault(seen.fault)}
    if seen.check is not None:
        told["protection"] = {"valid": seen.check.valid, "why": seen.check.why}
    return told


def show(seen: Seen) -> None:
    """Print it for a person."""
    out = terminal.console()
    out.print(f"{seen.title}, {seen.size} bytes", style="bold")
    for part in seen.parts:
        if part is not seen.parts[0]:
            out.print(part.title, style="bold")
        terminal.print_rows(out, part.rows)
    if seen.fault is not None:
        out.print(f"inside, {len(seen.plaintext)} bytes: not a message of a session: {seen.fault}", style="bold")
        for line in annotate.fault_dump(seen.plaintext, seen.fault):
            click.echo(line)
    if seen.check is None:
        out.print(UNREAD)
    else:
        out.print(f"protection: {seen.check}", style=terminal.style_of(seen.check.valid))


def status(seen: Seen) -> int:
    """Return the exit status: 0 if nothing is wrong with what was to be read."""
    return 0 if seen.fault is None and (seen.check is None or seen.check.valid) else 1
