"""What the server's two resources answer, and how every other request is refused (docs/protocol.md, "CoAP binding").

Free of sockets and of aiocoap: a request and its peer go in, an answer comes out.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace

from dpe_coap.binding import CONTENT_FORMAT_CBOR, CONTENT_FORMAT_PROBLEM, MAX_PAYLOAD, PATH, Code, problem
from dpe_server.coap import discovery
from dpe_server.coap.datagram import CoapRequest
from dpe_server.coap.options import Block, Option
from dpe_server.handling.reply import Reply

GET = 0x01
KNOWN_METHODS = range(0x01, 0x05)
CONTENT = 0x45
CONTINUE = 0x5F
REQUEST_ENTITY_INCOMPLETE = 0x88
CONTENT_FORMAT_LINKS = 40
UPLOADS = 256
"""The most block-wise requests under way; the oldest goes first."""

REGISTER = tuple(segment.encode() for segment in PATH)
_DISCOVERY = (b".well-known", b"core")
_RESERVED_EXPONENT = 7


@dataclass(frozen=True, slots=True)
class CoapResponse:
    """A CoAP response without its header. ``size1`` is the largest payload in bytes that would be taken."""

    code: int
    payload: bytes = field(default=b"", repr=False)
    content_format: int | None = None
    max_age: int | None = None
    block1: Block | None = None
    block2: Block | None = None
    size1: int | None = None

    @classmethod
    def of(cls, reply: Reply) -> "CoapResponse":
        """Return what the registrar replied."""
        return cls(reply.code, reply.payload, reply.content_format, reply.max_age)


class _RefusedError(Exception):
    """The request gets an answer other than that of its resource."""

    def __init__(self, answer: CoapResponse) -> None:
        super().__init__(answer.code)
        self.answer = answer


def _refused(code: int, title: str, detail: str | None = None, *, size1: int | None = None) -> _RefusedError:
    return _RefusedError(CoapResponse(code, problem(title, detail=detail), CONTENT_FORMAT_PROBLEM, size1=size1))


def _bad_option(number: int) -> _RefusedError:
    return _refused(Code.BAD_OPTION, "option not supported here", f"option {number}")


class Resources:
    """The resources by path. ``submit`` decides the payload of a POST to the register resource."""

    def __init__(self, submit: Callable[[bytes], Awaitable[Reply]]) -> None:
        self._submit = submit
        self._uploads: OrderedDict[Hashable, bytes] = OrderedDict()

    async def answer(self, request: CoapRequest, peer: Hashable) -> CoapResponse:
        """Answer one request of ``peer``."""
        try:
            if request.unrecognized is not None:
                raise _bad_option(request.unrecognized)
            if request.proxied:
                raise _refused(Code.PROXYING_NOT_SUPPORTED, "this server is not a proxy")
            if request.path == REGISTER:
                return await self._register(request, peer)
            if request.path == _DISCOVERY:
                return self._discover(request)
            if request.code not in KNOWN_METHODS:
                raise _refused(Code.METHOD_NOT_ALLOWED, "method not known")
            raise _refused(Code.NOT_FOUND, "no such resource")
        except _RefusedError as refused:
            return refused.answer

    async def _register(self, request: CoapRequest, peer: Hashable) -> CoapResponse:
        if request.code != Code.POST:
            raise _refused(Code.METHOD_NOT_ALLOWED, "method not allowed here", "POST is")
        if request.query:
            raise _bad_option(Option.URI_QUERY)
        if request.accept not in (None, CONTENT_FORMAT_CBOR):
            raise _refused(Code.NOT_ACCEPTABLE, "answers have content format 60", f"accept {request.accept}")
        if request.content_format != CONTENT_FORMAT_CBOR:
            given = (
                "no content format" if request.content_format is None else f"content format {request.content_format}"
            )
            raise _refused(Code.UNSUPPORTED_CONTENT_FORMAT, "a request has content format 60", given)
        if request.block2 is not None:
            _check_exponent(request.block2)
            if request.block2.number or request.block2.size < MAX_PAYLOAD:  # every answer fits one block of 256 bytes
                raise _bad_option(Option.BLOCK2)
        if request.block1 is None:
            if len(request.payload) > MAX_PAYLOAD:
                raise _too_large()
            return CoapResponse.of(await self._submit(request.payload))
        payload = self._assemble(request, request.block1, (peer, request.request_tag))
        if payload is None:
            return CoapResponse(CONTINUE, block1=request.block1)
        return replace(CoapResponse.of(await self._submit(payload)), block1=request.block1)

    def _assemble(self, request: CoapRequest, block: Block, key: Hashable) -> bytes | None:
        """Add a block to an upload (RFC 7959 section 2.5); return the payload when it is the last, else None."""
        _check_exponent(block)
        offset = block.number * block.size
        # With more to come there is at least one byte behind a full block.
        least = offset + (block.size + 1 if block.more else len(request.payload))
        if max(least, request.size1 or 0) > MAX_PAYLOAD:
            raise _too_large()
        if len(request.payload) > block.size or (block.more and len(request.payload) < block.size):
            raise _refused(Code.BAD_REQUEST, "the payload is not of the block's size")
        before = self._uploads.pop(key, b"") if block.number else b""
        if len(before) != offset:
            raise _RefusedError(CoapResponse(REQUEST_ENTITY_INCOMPLETE))
        payload = before + request.payload
        if not block.more:
            return payload
        self._uploads[key] = payload
        if len(self._uploads) > UPLOADS:
            self._uploads.popitem(last=False)
        return None

    def _discover(self, request: CoapRequest) -> CoapResponse:
        if request.code != GET:
            raise _refused(Code.METHOD_NOT_ALLOWED, "method not allowed here", "GET is")
        if request.block1 is not None:
            raise _bad_option(Option.BLOCK1)
        if request.accept not in (None, CONTENT_FORMAT_LINKS):
            raise _refused(Code.NOT_ACCEPTABLE, "answers have content format 40", f"accept {request.accept}")
        links = discovery.links(request.query)
        if request.block2 is None:
            return CoapResponse(CONTENT, links, CONTENT_FORMAT_LINKS)
        number, _, exponent = _check_exponent(request.block2)
        offset = number * request.block2.size
        end = offset + request.block2.size
        if offset and offset >= len(links):
            raise _refused(Code.BAD_REQUEST, "no such block", f"option {Option.BLOCK2}")
        block2 = Block(number, end < len(links), exponent)
        return CoapResponse(CONTENT, links[offset:end], CONTENT_FORMAT_LINKS, block2=block2)


def _check_exponent(block: Block) -> Block:
    if block.exponent == _RESERVED_EXPONENT:
        raise _refused(Code.BAD_REQUEST, "block size exponent 7 is reserved")
    return block


def _too_large() -> _RefusedError:
    return _refused(
        Code.REQUEST_ENTITY_TOO_LARGE, "the payload is too large", f"at most {MAX_PAYLOAD} bytes", size1=MAX_PAYLOAD
    )
