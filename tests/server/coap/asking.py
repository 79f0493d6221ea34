"""Requests to a router, without an endpoint."""

import asyncio

import cbor2

from dpe_coap.binding import Code
from dpe_server.coap.datagram import CoapRequest, parse
from dpe_server.coap.response import CoapResponse
from dpe_server.coap.router import Router
from dpe_server.handling.reply import Reply
from tests.coap import CON, Message, Options


async def reverse(payload: bytes) -> Reply:
    """Stands for the batcher: the reply is the payload reversed."""
    return Reply.cbor(Code.CHANGED, payload[::-1])


def ask(router: Router, code: int, options: Options, payload: bytes = b"", peer: str = "peer") -> CoapResponse:
    """Return the response to one request."""
    request = parse(bytes(Message(CON, code, 1, b"", options, payload)))
    assert isinstance(request, CoapRequest)
    return asyncio.run(router.answer(request, peer))


def dotted(response: CoapResponse) -> str:
    """Return the code as people write it."""
    return f"{response.code >> 5}.{response.code & 31:02d}"


def check_refusal(response: CoapResponse, code: str, detail: str | None) -> None:
    """Check that a response has this code, and problem details with a title and this detail (RFC 9290)."""
    assert (dotted(response), response.content_format) == (code, 257)
    problem = cbor2.loads(response.payload)
    assert isinstance(problem[-1], str)
    assert problem.get(-2) == detail


def block(number: int, more: bool, exponent: int) -> bytes:
    """Return the value of a Block option."""
    value = number << 4 | more << 3 | exponent
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
