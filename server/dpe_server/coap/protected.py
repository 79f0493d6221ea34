"""Requests under OSCORE as they come (RFC 8613 sections 2, 4 and 8.2): what is outside, before anything is verified.

What is handed on for a decision is the value of the OSCORE option, a payload marker and the ciphertext. The request in
its plain form, which nearly every device sends, has exactly these bytes behind each other, so it is cut out and not
read. Whoever proves nothing hears a code and no more.
"""

from dpe_coap import oscore
from dpe_coap.binding import Code
from dpe_server.coap.datagram import CoapRequest, Method, Type
from dpe_server.coap.options import Option
from dpe_server.coap.posts import Decide
from dpe_server.coap.response import CoapResponse

MAX_CIPHERTEXT = 1_100
"""Bytes. What is longer cannot hold a message of a session."""
FETCH = 0x05
"""RFC 8132. With Observe, it would be the outer code of an observation (RFC 8613 section 4.1.3.5)."""

PLAIN = {
    bytes([Option.OSCORE << 4 | 1 + size + oscore.MAX_ID, oscore.KID | size]): 1 + size + oscore.MAX_ID
    for size in range(1, 5)
}
"""How a plain request begins behind the CoAP token: the head of the OSCORE option, and its flags. By these two bytes,
the size of the option's value: the Partial IV has 1 to 4 bytes, and a Client ID follows."""


def plain(datagram: bytes, start: int) -> bytes | None:
    """Return what is to be decided of a plain request, whose options begin at ``start``; None if it is none."""
    size = PLAIN.get(datagram[start : start + 2])
    if size is None:
        return None
    marker = start + 1 + size
    if datagram[marker : marker + 1] != b"\xff" or not 1 < len(datagram) - marker <= 1 + MAX_CIPHERTEXT:
        return None
    if not datagram[start + 2] and size > 2 + oscore.MAX_ID:  # a Partial IV with a leading zero
        return None
    return datagram[start + 1 :]


def named(datagram: bytes, start: int) -> bytes:
    """Return the Client ID that a plain request names, 7 bytes; empty if it is none."""
    size = PLAIN.get(datagram[start : start + 2])
    return b"" if size is None else datagram[start + 1 + size - oscore.MAX_ID : start + 1 + size]


class ProtectedRequests:
    """Answers every request that has an OSCORE option, whatever its path. ``decide`` decides it."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    async def answer(self, request: CoapRequest) -> CoapResponse:
        """Answer one request. A non-confirmable one is not answered with an error that is not protected."""
        refusal = _refusal(request)
        if refusal is not None:
            return CoapResponse(refusal, silent=request.type is Type.NON)
        assert request.oscore is not None
        reply = await self._decide(request.oscore + b"\xff" + request.payload)
        if reply.protected:
            code = Code.CONTENT if request.code == FETCH else reply.code
            return CoapResponse(code, reply.payload, protected=True)
        return CoapResponse(reply.code, max_age=reply.max_age, silent=request.type is Type.NON)


def _refusal(request: CoapRequest) -> Code | None:
    """Return the code that refuses a request before it is decided; None if it is to be decided."""
    if request.proxied:
        return Code.PROXYING_NOT_SUPPORTED
    if request.unrecognized is not None:
        return Code.BAD_OPTION
    if request.code not in (Method.POST, FETCH):
        return Code.METHOD_NOT_ALLOWED
    try:
        oscore.read_option(request.oscore or b"")
    except (oscore.BadOption, oscore.UnknownContext) as error:
        return error.code
    if not request.payload:
        return Code.BAD_OPTION
    return Code.REQUEST_ENTITY_TOO_LARGE if len(request.payload) > MAX_CIPHERTEXT else None


class Unprotected:
    """The path of sessions, for those who come without OSCORE: nothing is there for them."""

    async def answer(self, _request: CoapRequest, _peer: object) -> CoapResponse:
        """Answer 4.01."""
        return CoapResponse(Code.UNAUTHORIZED)
