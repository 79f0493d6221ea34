"""Resources that take POSTs of small messages, whole or in blocks (RFC 7959), and have them decided."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace

from dpe_coap.binding import CONTENT_FORMAT_CBOR, MAX_PAYLOAD, Code
from dpe_server.coap.datagram import CoapRequest, Method
from dpe_server.coap.options import Block, Option
from dpe_server.coap.response import (
    CoapResponse,
    RefusedError,
    bad_option,
    check_accept,
    check_exponent,
    check_method,
    refused,
)
from dpe_server.handling.reply import Reply

CONTINUE = 0x5F
REQUEST_ENTITY_INCOMPLETE = 0x88
UPLOADS = 256
"""The most block-wise requests under way; the oldest goes first."""

Decide = Callable[[bytes], Awaitable[Reply]]
"""Returns the reply to a payload."""


class Uploads:
    """The block-wise requests under way, each as far as it has come: at most ``UPLOADS`` of all resources together."""

    def __init__(self) -> None:
        self._begun: OrderedDict[Hashable, bytes] = OrderedDict()

    def add(self, request: CoapRequest, block: Block, key: Hashable, largest: int) -> bytes | None:
        """Add a block to the upload ``key`` (RFC 7959 section 2.5); return the payload if this is the last, else None.

        Raise RefusedError if the payload is, or is bound to be, longer than ``largest`` bytes, or if the block is not
        the next one.
        """
        check_exponent(block)
        offset = block.number * block.size
        # If there is more to come, at least one byte follows a full block.
        least = offset + (block.size + 1 if block.more else len(request.payload))
        if max(least, request.size1 or 0) > largest:
            raise _too_large(largest)
        if len(request.payload) > block.size or (block.more and len(request.payload) < block.size):
            raise refused(Code.BAD_REQUEST, "the payload is not of the block's size")
        before = self._begun.pop(key, b"") if block.number else b""
        if len(before) != offset:
            raise RefusedError(CoapResponse(REQUEST_ENTITY_INCOMPLETE))
        payload = before + request.payload
        if not block.more:
            return payload
        self._begun[key] = payload
        if len(self._begun) > UPLOADS:
            self._begun.popitem(last=False)
        return None


class PostResource:
    """A resource that takes POSTs of one content format, and answers in the same.

    ``decide`` returns the reply to a payload. All resources of a server share ``uploads``. ``largest`` (bytes, at most
    1,024) bounds the payload of a request and of an answer, which is never sent in blocks.
    """

    def __init__(
        self,
        decide: Decide,
        uploads: Uploads,
        *,
        content_format: int = CONTENT_FORMAT_CBOR,
        largest: int = MAX_PAYLOAD,
    ) -> None:
        self._decide = decide
        self._uploads = uploads
        self._content_format = content_format
        self._largest = largest

    async def answer(self, request: CoapRequest, peer: Hashable) -> CoapResponse:
        """See ``Resource``."""
        self._check(request)
        if request.block1 is None:
            if len(request.payload) > self._largest:
                raise _too_large(self._largest)
            return CoapResponse.of(await self._decide(request.payload))
        key = (request.path, peer, request.request_tag)
        payload = self._uploads.add(request, request.block1, key, self._largest)
        if payload is None:
            return CoapResponse(CONTINUE, block1=request.block1)
        return replace(CoapResponse.of(await self._decide(payload)), block1=request.block1)

    def _check(self, request: CoapRequest) -> None:
        check_method(request, Method.POST)
        if request.query:
            raise bad_option(Option.URI_QUERY)
        check_accept(request, self._content_format)
        if request.content_format != self._content_format:
            given = (
                "no content format" if request.content_format is None else f"content format {request.content_format}"
            )
            title = f"a request has content format {self._content_format}"
            raise refused(Code.UNSUPPORTED_CONTENT_FORMAT, title, given)
        if request.block2 is not None:
            check_exponent(request.block2)
            if request.block2.number or request.block2.size < self._largest:  # an answer is never sent in blocks
                raise bad_option(Option.BLOCK2)


def _too_large(largest: int) -> RefusedError:
    return refused(Code.REQUEST_ENTITY_TOO_LARGE, "the payload is too large", f"at most {largest} bytes", size1=largest)
