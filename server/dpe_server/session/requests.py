"""What a device asks for inside a protected request, and how the answer inside a response is written.

A plaintext is a CoAP code, options and a payload (RFC 8613 section 5.3). Any bytes give a request or RefusedInside,
which the device reads under protection.
"""

from enum import Enum

from dpe_coap import usual_reports
from dpe_coap.binding import CONTENT_FORMAT_CBOR, CONTENT_FORMAT_PROBLEM, SESSION_PATH, Code, problem
from dpe_coap.errors import MalformedMessage
from dpe_coap.session_messages import Report, decode_report
from dpe_server.coap.datagram import read_options
from dpe_server.coap.options import Option, uri_path

_PATH = list(uri_path(SESSION_PATH))
_KNOWN = (Option.URI_PATH, Option.CONTENT_FORMAT, Option.ACCEPT)
"""The critical options that a request may have inside."""
_USUAL = b"\x02\xb3dpe\x11" + bytes([CONTENT_FORMAT_CBOR]) + b"\xff"
"""How the report of nearly every device begins: POST, Uri-Path, Content-Format, and the payload marker."""
_CONTENT_FORMATS = {
    CONTENT_FORMAT_CBOR: b"\xc1" + bytes([CONTENT_FORMAT_CBOR]),
    CONTENT_FORMAT_PROBLEM: b"\xc2" + CONTENT_FORMAT_PROBLEM.to_bytes(2, "big"),
}


class Asked(Enum):
    """What a request is for that is no report. A report sets the properties given, and refreshes the session."""

    GET = "get"
    """Refreshes the session, and asks for the policies."""
    END = "end"
    """Ends the session."""


class RefusedInside(Exception):
    """The message inside cannot be accepted. ``answer`` is the plaintext that says why."""

    def __init__(self, code: Code, title: str, detail: str | None = None) -> None:
        super().__init__(title)
        self.answer = answer(code, problem(title, detail=detail), CONTENT_FORMAT_PROBLEM)


def read(plaintext: bytes) -> Report | Asked:
    """Return what a plaintext asks for, or raise RefusedInside."""
    if plaintext.startswith(_USUAL) and len(plaintext) > len(_USUAL):
        return _report(plaintext[len(_USUAL) :])
    malformed = RefusedInside(Code.BAD_REQUEST, "malformed CoAP message inside")
    if not plaintext:
        raise malformed
    options, unrecognized, payload = read_options(plaintext, 1, malformed)
    unknown = [number for number in options if number & 1 and number not in _KNOWN]
    if unrecognized is not None:
        unknown.append(unrecognized)
    if unknown:
        raise RefusedInside(Code.BAD_OPTION, "option not supported here", f"option {min(unknown)}")
    if options.get(Option.URI_PATH) != _PATH:
        raise RefusedInside(Code.NOT_FOUND, "no such resource", f"a session's messages go to /{'/'.join(SESSION_PATH)}")
    accept = _number(options, Option.ACCEPT)
    request: Report | Asked
    match plaintext[0]:
        case Code.POST:
            content_format = _number(options, Option.CONTENT_FORMAT)
            if content_format != CONTENT_FORMAT_CBOR:
                given = "no content format" if content_format is None else f"content format {content_format}"
                title = f"a report has content format {CONTENT_FORMAT_CBOR}"
                raise RefusedInside(Code.UNSUPPORTED_CONTENT_FORMAT, title, given)
            request = _report(payload)
        case Code.GET:
            request = Asked.GET
        case Code.DELETE:
            request = Asked.END
        case _:
            raise RefusedInside(Code.METHOD_NOT_ALLOWED, "method not allowed here", "POST, GET and DELETE are")
    if accept not in (None, CONTENT_FORMAT_CBOR):
        title = f"answers have content format {CONTENT_FORMAT_CBOR}"
        raise RefusedInside(Code.NOT_ACCEPTABLE, title, f"accept {accept}")
    return request


def answer(code: Code, payload: bytes = b"", content_format: int = CONTENT_FORMAT_CBOR) -> bytes:
    """Return the plaintext of a response."""
    if not payload:
        return bytes([code])
    return bytes([code]) + _CONTENT_FORMATS[content_format] + b"\xff" + payload


def _report(payload: bytes) -> Report:
    try:
        return usual_reports.read(payload) or decode_report(payload)
    except MalformedMessage as error:
        raise RefusedInside(error.code, error.fault, error.place) from None


def _number(options: dict[int, list[bytes]], option: Option) -> int | None:
    values = options.get(option)
    return None if values is None else int.from_bytes(values[0], "big")
