"""The fast lane: registrations straight from the socket to the batcher, whole batches at a time.

It takes the plain request that nearly every client sends: confirmable, POST to the register resource, content format
60, nothing that asks for more, and a payload that begins like a REQUEST or a SUCCESS. Everything else goes on to the
site, and both answer alike. Responses of the lane are always piggybacked.

What stands between the CoAP token and the payload is one of a few byte strings for nearly all clients. One that is new
is parsed as the site would parse it; from then on a look-up tells that it is the lane's.

The lane keeps no memory of exchanges. A duplicate is decided again, and the service answers the same bytes with the
same bytes while that matters: RFC 7252 section 4.5 allows this where requests are idempotent.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial

from dpe_coap.binding import CONTENT_FORMAT_CBOR, MAX_PAYLOAD, Code
from dpe_coap.numbers import LABEL_TYPE, MessageType
from dpe_server.coap.datagram import POSTS, Rejected, Request, Type, parse
from dpe_server.coap.piggyback import piggybacked
from dpe_server.coap.resources import REGISTER
from dpe_server.handling.reply import Reply
from dpe_server.net.udp import Endpoint, Link, Received

FORMS = 1_024
"""The most byte strings of options that are remembered."""
LONGEST_FORM = 256
"""Bytes; with longer options a request is the site's."""
KINDS = (bytes([LABEL_TYPE, MessageType.REQUEST]), bytes([LABEL_TYPE, MessageType.SUCCESS]))
"""The bytes behind the first one of the messages that a server takes: the first entry of the map."""

Offer = Callable[[Sequence[bytes], Callable[[Sequence[Reply]], None]], None]
"""``Batcher.offer``."""


class Lane:
    """Stands before ``link`` and is a link itself, for the datagrams that it does not take.

    ``offer`` has payloads decided, those of one kind together. ``kinds`` are what may follow the first byte of a
    payload, two bytes each.
    """

    def __init__(self, link: Link, offer: Offer, *, kinds: Collection[bytes] = KINDS) -> None:
        self._link = link
        self._offer = offer
        self._kinds = kinds
        self._forms: set[bytes] = set()
        self._others: Received | None = None
        self.stop = link.stop
        self.close = link.close
        self.send = link.send

    def start(self, received: Received) -> None:
        """Take requests from now on; ``received`` gets the other datagrams."""
        self._others = received
        self._link.start(self._received)

    def _received(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        groups: dict[bytes, tuple[list[bytes], list[bytes], list[Endpoint]]]
        groups = {kind: ([], [], []) for kind in self._kinds}
        others: list[bytes] = []
        senders: list[Endpoint] = []
        forms = self._forms
        for datagram, endpoint in zip(datagrams, endpoints, strict=True):
            start = POSTS.get(datagram[:2])
            if start is not None:
                marker = datagram.find(b"\xff", start)
                group = groups.get(datagram[marker + 2 : marker + 4])
                if (
                    group is not None
                    and 0 < marker < len(datagram) - 1 <= marker + MAX_PAYLOAD
                    and (datagram[start:marker] in forms or self._learn(datagram, start, marker))
                ):
                    payloads, echoes, askers = group
                    payloads.append(datagram[marker + 1 :])
                    echoes.append(datagram[2:start])
                    askers.append(endpoint)
                    continue
            others.append(datagram)
            senders.append(endpoint)
        for payloads, echoes, askers in groups.values():  # apart: a REQUEST need not wait for the commit of a SUCCESS
            if payloads:
                self._offer(payloads, partial(self._answer, echoes, askers))
        if others and self._others is not None:
            self._others(others, senders)

    def _learn(self, datagram: bytes, start: int, marker: int) -> bool:
        """Say whether a datagram is the lane's whose options are not known; if so, remember them."""
        if marker - start > LONGEST_FORM:
            return False
        try:
            request = parse(datagram)
        except Rejected:
            return False
        # The payload is elsewhere when the first byte 0xFF belongs to an option.
        if not isinstance(request, Request) or request.payload != datagram[marker + 1 :] or not _is_plain(request):
            return False
        if len(self._forms) >= FORMS:
            self._forms.clear()
        self._forms.add(datagram[start:marker])
        return True

    def _answer(self, echoes: Sequence[bytes], askers: Sequence[Endpoint], replies: Sequence[Reply]) -> None:
        self._link.send(list(map(piggybacked, echoes, replies)), askers)


def _is_plain(request: Request) -> bool:
    """Say whether the request is the register resource's, and what it says beside the payload changes no answer."""
    return (
        request.type is Type.CON
        and request.code == Code.POST
        and request.path == REGISTER
        and request.content_format == CONTENT_FORMAT_CBOR
        and request.accept in (None, CONTENT_FORMAT_CBOR)
        and request.unrecognized is None
        and not request.proxied
        and not request.query
        and request.block1 is None
        and request.block2 is None
    )
