"""Resource discovery: GET /.well-known/core and the links that answer it (RFC 6690)."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from dpe_coap.binding import Code
from dpe_server.coap.datagram import CoapRequest, Method
from dpe_server.coap.options import Block, Option
from dpe_server.coap.response import CoapResponse, bad_option, check_accept, check_exponent, check_method, refused

WELL_KNOWN_CORE = (".well-known", "core")
"""The path of the resource."""
CONTENT = 0x45
CONTENT_FORMAT_LINKS = 40
"""application/link-format."""

Attributes = Mapping[str, str | int]
"""Link attributes by name (RFC 6690 section 3, RFC 7252 section 7.2.1). Text is quoted in a link, a number is not."""

_LISTS = ("ct", "if", "rel", "rev", "rt")
"""Attributes whose text is one value or several, separated by spaces."""


class WebLink:
    """A link to a resource of this server; path and attributes have no character that link format would escape."""

    def __init__(self, path: Iterable[str], attributes: Attributes) -> None:
        target = "/" + "/".join(path)
        self.text = f"<{target}>"
        """The link in link format."""
        self._values = {"href": [target]}
        for name, value in attributes.items():
            self.text += f";{name}={value}" if isinstance(value, int) else f';{name}="{value}"'
            self._values[name] = str(value).split(" ") if name in _LISTS else [str(value)]

    def matches(self, item: bytes) -> bool:
        """Say whether the link passes a filter, ``name=value`` or ``name=prefix*`` (RFC 6690 section 4.1)."""
        name, _, pattern = item.decode(errors="replace").partition("=")
        values = self._values.get(name, ())
        if pattern.endswith("*"):
            return any(value.startswith(pattern[:-1]) for value in values)
        return pattern in values


def link_format(links: Iterable[WebLink], query: Sequence[bytes]) -> bytes:
    """Return the links that pass every filter in ``query``, with commas between them.

    A query without an equals sign is not a filter, and is ignored.
    """
    filters = [item for item in query if b"=" in item]
    return ",".join(link.text for link in links if all(map(link.matches, filters))).encode()


class Discovery:
    """The resource /.well-known/core, which answers with ``links`` as they are when it is asked."""

    def __init__(self, links: Sequence[WebLink]) -> None:
        self._links = links

    async def answer(self, request: CoapRequest, peer: Hashable) -> CoapResponse:
        """See ``Resource``."""
        check_method(request, Method.GET)
        if request.block1 is not None:
            raise bad_option(Option.BLOCK1)
        check_accept(request, CONTENT_FORMAT_LINKS)
        links = link_format(self._links, request.query)
        if request.block2 is None:
            return CoapResponse(CONTENT, links, CONTENT_FORMAT_LINKS)
        number, _, exponent = check_exponent(request.block2)
        offset = number * request.block2.size
        end = offset + request.block2.size
        if offset and offset >= len(links):
            raise refused(Code.BAD_REQUEST, "no such block", f"option {Option.BLOCK2}")
        block2 = Block(number, end < len(links), exponent)
        return CoapResponse(CONTENT, links[offset:end], CONTENT_FORMAT_LINKS, block2=block2)
