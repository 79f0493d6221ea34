"""What `dpe inspect --pcap` shows: the messages of a capture, and whether each proves whose it is.

An answer belongs to the request of the same CoAP token between the same two ends; a SUCCESS and what is protected
belong to the registration that gave out their Client ID.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dpe_coap import messages, oscore
from dpe_coap.binding import PATH
from dpe_coap.errors import LocalError, MalformedMessage, RemoteError
from dpe_coap.keys import RequestStep
from dpe_coap.messages import Message, Request, Response, Success
from dpe_coap.numbers import Status
from dpe_server.net.pcapng import End
from dpe_server.operators.capture_file import Captured
from dpe_tools import annotate, annotate_oscore, terminal
from dpe_tools.datagram import OSCORE, URI_PATH, Datagram, parse
from dpe_tools.oscore_files import Context
from dpe_tools.protected import open_message
from dpe_tools.verify import Chain, TokenCheck, session_of, verify

STRANGER = TokenCheck(None, "of none of the credentials given")
_PATH = [part.encode() for part in PATH]


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a capture."""

    captured: Captured
    name: str
    check: TokenCheck | None = None
    """None: no credential was given, or there is nothing that could be checked."""
    fault: str = ""
    """Why the payload is no message; empty: it is one."""


@dataclass(slots=True)
class _Registration:
    start: RequestStep
    chain: Chain
    context: Context | None = None


@dataclass(slots=True)
class _Exchange:
    request: Datagram
    datagram: bytes
    registration: _Registration | None = None


@dataclass(slots=True)
class Reader:
    """Reads a capture from its beginning, with the keys of some devices."""

    starts: Sequence[RequestStep] = ()
    """The first step of each device's key schedule."""
    ephemeral: bytes | None = None
    """The X25519 private key of one registration."""
    _exchanges: dict[tuple[End, End, bytes], _Exchange] = field(default_factory=dict)
    _offered: dict[bytes, list[_Registration]] = field(default_factory=dict)
    """By Client ID, what has given it out, the last one first."""

    def lines(self, packets: Iterable[Captured]) -> Iterator[Line]:
        """Yield a line for each datagram of DPE-1."""
        for one in packets:
            try:
                line = self._line(one, parse(one.datagram))
            except RemoteError:  # another protocol
                continue
            if line is not None:
                yield line

    def _line(self, one: Captured, coap: Datagram) -> Line | None:
        if 0 < coap.code < 32:
            exchange = _Exchange(coap, one.datagram)
            self._exchanges[one.source, one.destination, coap.coap_token] = exchange
        else:
            known = self._exchanges.get((one.destination, one.source, coap.coap_token))
            if known is None or coap.code == 0:
                return None
            exchange = known
        if exchange.request.option(OSCORE) is not None:
            return self._session(one, coap, exchange)
        if [value for number, value in exchange.request.options if number == URI_PATH] != _PATH:
            return None
        if not coap.payload:
            return Line(one, coap.title)
        try:
            message = messages.decode(coap.payload)
        except MalformedMessage as error:
            return Line(one, coap.title, fault=str(error))
        name = annotate.message_type(message).name
        return Line(one, name, self._check(message, coap.payload, exchange) if self.starts else None)

    def _check(self, message: Message, payload: bytes, exchange: _Exchange) -> TokenCheck:
        if isinstance(message, Request):
            start = next((start for start in self.starts if start.verify(payload)), None)
            if start is None:
                return STRANGER
            exchange.registration = _Registration(start, Chain(payload, ephemeral=self.ephemeral))
            return TokenCheck(True)
        if isinstance(message, Success):
            return self._success(message, payload, exchange)
        registration = exchange.registration
        if registration is None:
            return STRANGER
        check = verify(registration.start, message, payload, registration.chain)
        if isinstance(message, Response) and check.valid and message.client_id is not None:
            chain = Chain(registration.chain.request, payload, ephemeral=self.ephemeral)
            self._offered.setdefault(message.client_id, []).insert(0, _Registration(registration.start, chain))
        return check

    def _success(self, message: Success, payload: bytes, exchange: _Exchange) -> TokenCheck:
        check = STRANGER
        for offered in self._offered.get(message.client_id, ()):
            check = verify(offered.start, message, payload, offered.chain)
            if check.valid:
                chain = Chain(offered.chain.request, offered.chain.response, payload, self.ephemeral)
                exchange.registration = _Registration(offered.start, chain)
                if message.status == Status.OK:
                    context = session_of(offered.start, chain)
                    offered.context = context if isinstance(context, Context) else None
                break
        return check

    def _session(self, one: Captured, coap: Datagram, exchange: _Exchange) -> Line:
        """Read a request under OSCORE, or what answers it."""
        if coap.option(OSCORE) is None:
            return Line(one, coap.title)
        what = "protected request" if coap.code < 32 else "protected response"
        try:
            about = oscore.read_option(exchange.request.option(OSCORE) or b"")
        except RemoteError as error:
            return Line(one, what, fault=str(error))
        if not self.starts:
            return Line(one, f"{what}, Client ID {about[0].hex()}, number {about[1]}")
        what += f", number {about[1]}"
        context = next((known.context for known in self._offered.get(about[0], ()) if known.context), None)
        if context is None:
            return Line(one, what, TokenCheck(None, "its registration is not in the capture, or of another device"))
        opened = open_message(one.datagram, about, context)
        if opened.plaintext:
            try:
                what += f": {annotate_oscore.title(opened.plaintext)}"
            except MalformedMessage as error:
                return Line(one, what, opened.check, str(error))
        return Line(one, what, opened.check)


def in_json(line: Line) -> dict[str, Any]:
    """Return a message for a program."""
    told: dict[str, Any] = {
        "frame": line.captured.frame,
        "time": line.captured.at,
        "source": _place(line.captured.source),
        "destination": _place(line.captured.destination),
        "size": len(line.captured.datagram),
        "message": line.name,
    }
    if line.fault:
        told["error"] = line.fault
    if line.check is not None:
        told["security_token"] = {"valid": line.check.valid, "why": line.check.why}
    return told


def show(lines: Iterable[Line]) -> Iterator[Line]:
    """Print each message for a person, and hand it on."""
    out = terminal.console()
    for line in lines:
        seen = line.captured
        ends = f"{_place(seen.source)} > {_place(seen.destination)}"
        told = f"{seen.frame:5d}  {ends:<45}  {len(seen.datagram):4d} bytes  {line.name}"
        out.print(told + (f": not a message: {line.fault}" if line.fault else ""), end="" if line.check else "\n")
        if line.check is not None:
            out.print(f"  {line.check}", style=terminal.style_of(line.check.valid))
        yield line


def verdict(lines: Iterable[Line], *, with_keys: bool) -> tuple[Counter[bool | None], int]:
    """Return how many messages are valid, not valid, or cannot be told, and the exit status.

    LocalError: there is no message.
    """
    count: Counter[bool | None] = Counter()
    number = faults = 0
    for line in lines:
        number += 1
        faults += bool(line.fault)
        if line.check is not None:
            count[line.check.valid] += 1
    if not number:
        raise LocalError("no message of DPE-1 is in this capture", hint="was the server's port captured, on that link?")
    wrong = count[False] or faults or (with_keys and not count[True])
    return count, 1 if wrong else 0


def _place(end: End) -> str:
    address = ipaddress.ip_address(end.address)
    return f"[{address}]:{end.port}" if address.version == 6 else f"{address}:{end.port}"
