"""The fast lane: plain requests straight from the socket to their handlers, whole batches at a time.

It takes the plain request that nearly every client sends: a confirmable POST to one of the lane's entrances, with the
entrance's content format, nothing that asks for more, and a payload that begins as its handler expects. It
also takes the plain request under OSCORE. Everything else goes on to the endpoint behind, and both answer alike.
Responses of the lane are always piggybacked.

For nearly all clients, one of a few byte strings stands between the CoAP token and the payload. A new one is parsed as
the endpoint would parse it; from then on a look-up tells which entrance it is for.

The lane keeps no memory of exchanges. A duplicate is decided again, and the handlers answer the same bytes with the
same bytes while that matters: RFC 7252 section 4.5 allows this where requests are idempotent.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dpe_coap.binding import Code
from dpe_server.coap.datagram import POSTS, CoapRequest, Rejected, Type, parse
from dpe_server.coap.piggyback import piggybacked
from dpe_server.coap.protected import PLAIN, plain
from dpe_server.handling.reply import Deliver, Reply
from dpe_server.net.link import Endpoint, Link, Received

FORMS = 1_024
"""The most byte strings of options that are remembered."""
LONGEST_FORM = 256
"""Bytes. A request with longer options is not for the lane."""

Take = Callable[[Sequence[bytes], Deliver], None]
"""Has payloads decided together, and their replies delivered: ``Batcher.take`` for a handler."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """One resource whose plain requests the lane takes."""

    path: tuple[bytes, ...]
    """As ``uri_path`` makes it."""
    content_format: int
    longest: int
    """The most bytes of a payload."""
    kinds: Collection[bytes]
    """What may follow the first byte of a payload, 2 bytes each. Payloads of one kind are decided together, and apart
    from other kinds, so that no kind need wait for the commit of another."""
    take: Take

    def admits(self, request: CoapRequest) -> bool:
        """Say whether a request is for this resource, and has no option that changes the answer."""
        return (
            request.type is Type.CON
            and request.code == Code.POST
            and request.path == self.path
            and request.content_format == self.content_format
            and request.accept in (None, self.content_format)
            and request.oscore is None
            and request.unrecognized is None
            and not request.proxied
            and not request.query
            and request.block1 is None
            and request.block2 is None
        )


class Lane:
    """Stands before ``link`` and is a link itself, for the datagrams that none of ``entrances`` takes.

    ``protected`` takes the plain requests under OSCORE.
    """

    def __init__(self, link: Link, entrances: Sequence[Entrance], protected: Take | None = None) -> None:
        self._link = link
        self._protected = protected
        self._entrances = entrances
        self._doors: list[Entrance] = []
        """The entrance of each group that a batch is sorted into."""
        self._groups: dict[tuple[bytes, ...], dict[bytes, int]] = {}
        """By path, the number of the group of each kind."""
        for entrance in entrances:
            if entrance.path in self._groups:
                raise ValueError(f"two entrances at {entrance.path}")
            self._groups[entrance.path] = {
                kind: number for number, kind in enumerate(entrance.kinds, start=len(self._doors))
            }
            self._doors += [entrance] * len(entrance.kinds)
        self._kinds = frozenset(kind for entrance in entrances for kind in entrance.kinds)
        self._longest = [entrance.longest for entrance in self._doors]
        self._forms: dict[bytes, Mapping[bytes, int]] = {}
        self._others: Received | None = None
        self.taken = 0
        """How many requests the lane has taken."""
        self.stop = link.stop
        self.close = link.close
        self.send = link.send

    def start(self, received: Received) -> None:
        """Take requests from now on; ``received`` gets the other datagrams."""
        self._others = received
        self._link.start(self._received)

    def _received(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        groups: list[tuple[list[bytes], list[bytes], list[Endpoint]]] = [([], [], []) for _ in self._doors]
        protected: tuple[list[bytes], list[bytes], list[Endpoint]] = ([], [], [])
        others: list[bytes] = []
        senders: list[Endpoint] = []
        kinds, longest, forms = self._kinds, self._longest, self._forms
        for datagram, endpoint in zip(datagrams, endpoints, strict=True):
            start = POSTS.get(datagram[:2])
            if start is not None:
                payload = plain(datagram, start) if datagram[start : start + 2] in PLAIN else None
                if payload is not None and self._protected is not None:
                    protected[0].append(payload)
                    protected[1].append(datagram[2:start])
                    protected[2].append(endpoint)
                    continue
                marker = datagram.find(b"\xff", start)
                kind = datagram[marker + 2 : marker + 4]
                if kind in kinds and 0 < marker < len(datagram) - 1:
                    form = forms.get(datagram[start:marker])
                    if form is None:
                        form = self._learn(datagram, start, marker)
                    number = form.get(kind)
                    if number is not None and len(datagram) - 1 <= marker + longest[number]:
                        payloads, echoes, askers = groups[number]
                        payloads.append(datagram[marker + 1 :])
                        echoes.append(datagram[2:start])
                        askers.append(endpoint)
                        continue
            others.append(datagram)
            senders.append(endpoint)
        self.taken += len(datagrams) - len(others)
        for entrance, (payloads, echoes, askers) in zip(self._doors, groups, strict=True):
            if payloads:
                entrance.take(payloads, partial(self._answer, echoes, askers))
        if protected[0] and self._protected is not None:
            self._protected(protected[0], partial(self._answer, *protected[1:]))
        if others and self._others is not None:
            self._others(others, senders)

    def _learn(self, datagram: bytes, start: int, marker: int) -> Mapping[bytes, int]:
        """Return the groups of a datagram whose options are new, and remember them; empty if it is not for the lane."""
        if marker - start > LONGEST_FORM:
            return {}
        try:
            request = parse(datagram)
        except Rejected:
            return {}
        # The payload is elsewhere if the first byte 0xFF belongs to an option.
        if not isinstance(request, CoapRequest) or request.payload != datagram[marker + 1 :]:
            return {}
        for entrance in self._entrances:
            if entrance.admits(request):
                if len(self._forms) >= FORMS:
                    self._forms.clear()
                form = self._forms[datagram[start:marker]] = self._groups[entrance.path]
                return form
        return {}

    def _answer(self, echoes: Sequence[bytes], askers: Sequence[Endpoint], replies: Sequence[Reply]) -> None:
        self._link.send(list(map(piggybacked, echoes, replies)), askers)
