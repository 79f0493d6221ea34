"""Which resource answers a request, and what is refused whatever the resource (docs/protocol.md, "CoAP binding").

Free of sockets and of aiocoap: a request and its peer go in, a response comes out.
"""

from collections.abc import Hashable, Sequence
from typing import Protocol

from dpe_coap.binding import Code
from dpe_server.coap.datagram import METHODS, CoapRequest
from dpe_server.coap.discovery import WELL_KNOWN_CORE, Attributes, Discovery, WebLink
from dpe_server.coap.options import Option, uri_path
from dpe_server.coap.protected import ProtectedRequests
from dpe_server.coap.response import CoapResponse, RefusedError, bad_option, refused


class Resource(Protocol):
    """What answers the requests for one path."""

    async def answer(self, request: CoapRequest, peer: Hashable) -> CoapResponse:
        """Answer one request of ``peer``, or raise RefusedError."""
        ...


class Router:
    """The resources of a server by path, and discovery of those that are listed.

    Requests under OSCORE are all for ``protected``; without that, the option is not supported.
    """

    def __init__(self, protected: ProtectedRequests | None = None) -> None:
        self._protected = protected
        self._resources: dict[tuple[bytes, ...], Resource] = {}
        self._links: list[WebLink] = []
        self.add(WELL_KNOWN_CORE, Discovery(self._links))

    def add(self, path: Sequence[str], resource: Resource, attributes: Attributes | None = None) -> None:
        """Have ``resource`` answer at ``path``, one string a segment; ValueError if another one does already.

        Discovery lists it with ``attributes``; with None it is not listed.
        """
        key = uri_path(path)
        if key in self._resources:
            raise ValueError(f"two resources at /{'/'.join(path)}")
        self._resources[key] = resource
        if attributes is not None:
            self._links.append(WebLink(path, attributes))

    async def answer(self, request: CoapRequest, peer: Hashable) -> CoapResponse:
        """Answer one request of ``peer``."""
        if request.oscore is not None and self._protected is not None:
            return await self._protected.answer(request)
        try:
            return await self._resource(request).answer(request, peer)
        except RefusedError as refusal:
            return refusal.response

    def _resource(self, request: CoapRequest) -> Resource:
        """Return the resource that the request is for, or raise RefusedError."""
        if request.unrecognized is not None:
            raise bad_option(request.unrecognized)
        if request.oscore is not None:
            raise bad_option(Option.OSCORE)
        if request.proxied:
            raise refused(Code.PROXYING_NOT_SUPPORTED, "this server is not a proxy")
        resource = self._resources.get(request.path)
        if resource is None:
            if request.code not in METHODS:
                raise refused(Code.METHOD_NOT_ALLOWED, "method not known")
            raise refused(Code.NOT_FOUND, "no such resource")
        return resource
