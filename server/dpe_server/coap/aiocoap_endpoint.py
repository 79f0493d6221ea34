"""The server's CoAP endpoint on aiocoap: duplicates, piggybacked and separate responses, retransmission.

``datagram.py`` reads the datagrams and the resources of a router answer them; aiocoap drives the messages between. No
other file of the server imports aiocoap, which has no type information.

A request costs ten times as much here as in the lane. So only some are begun in a turn of the event loop, and when too
many are under way, the next gets 5.03 without being parsed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import aiocoap
from aiocoap.message import Direction
from aiocoap.messagemanager import MessageManager
from aiocoap.tokenmanager import TokenManager

from dpe_coap.binding import CONTENT_FORMAT_CBOR, Code
from dpe_server.coap.datagram import Acknowledgement, CoapRequest, Rejected, Type, parse
from dpe_server.coap.duplicates import Duplicates
from dpe_server.coap.piggyback import refusal
from dpe_server.coap.response import CoapResponse
from dpe_server.coap.router import Router
from dpe_server.files.logs import log_defect
from dpe_server.handling.reply import busy
from dpe_server.net.link import Endpoint, Link

LOGGER = "dpe_server.coap"
"""aiocoap's logger. Below ERROR it reports what peers do, with their addresses: not for an operator's log."""

TURN = 16
"""The most datagrams of one link begun in one turn of the event loop."""
NO_RESPONSE = 0b11010
"""Of the classes 2, 4 and 5 (RFC 7967 section 2.1): aiocoap sends none."""
UNDER_WAY = 256
"""When this many requests wait or are being answered, further ones are refused."""


class _Remote(bytes):
    """An endpoint, with what aiocoap asks of one."""

    __slots__ = ()
    is_multicast = False
    is_multicast_locally = False

    def as_response_address(self) -> "_Remote":
        return self


class _MessageManager(MessageManager):  # type: ignore[misc]
    """aiocoap's message layer, with bounded memory of past exchanges and no timer for each."""

    def __init__(self, token_manager: Any) -> None:
        super().__init__(token_manager)
        self.duplicates = Duplicates()

    def _deduplicate_message(self, message: Any) -> bool:
        if (message.token, message.remote) in self.token_manager.incoming_requests:
            self.duplicates.resent += 1
            return True  # under way. A second request with its CoAP token is lost; a retransmission may find it free
        reply = self.duplicates.begin(_exchange(message), message.datagram, self.loop.time())
        if reply and message.mtype == Type.CON:
            self.message_interface.send_datagram(reply, message.remote)
        return reply is not None

    def _store_response_for_duplicates(self, message: Any) -> None:
        if message.mtype == Type.ACK:  # other types have a message ID of ours, which means nothing among the peer's
            self.duplicates.remember(_exchange(message), message.encode())


def _exchange(message: Any) -> bytes:
    """Return what identifies an exchange: the peer and its message ID."""
    return bytes(message.remote) + message.mid.to_bytes(2, "big")  # type: ignore[no-any-return]


class _Interface:
    """aiocoap's message interface over one link."""

    def __init__(self, link: Link, manager: Any, site: "_Site", retry_after: int) -> None:
        self._link = link
        self._manager = manager
        self._site = site
        self._busy = busy(retry_after)
        self._waiting: deque[tuple[bytes, Endpoint]] = deque()

    def start(self) -> None:
        self._link.start(self._received)

    def stop(self) -> None:
        self._link.stop()
        while self._waiting:
            self._dispatch(*self._waiting.popleft())

    async def shutdown(self) -> None:
        self._link.close()

    def send(self, message: Any) -> None:
        self.send_datagram(message.encode(), message.remote)

    def send_datagram(self, datagram: bytes, remote: _Remote) -> None:
        self._link.send([datagram], [remote])

    def _received(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        idle = not self._waiting
        room = max(0, UNDER_WAY - len(self._site.answering) - len(self._waiting))
        self._waiting.extend(zip(datagrams[:room], endpoints[:room], strict=True))
        for datagram, endpoint in zip(datagrams[room:], endpoints[room:], strict=True):
            answer = refusal(datagram, self._busy)
            if answer is not None:
                self._link.send([answer], [endpoint])
        if idle:
            self._turn()

    def _turn(self) -> None:
        for _ in range(min(TURN, len(self._waiting))):
            self._dispatch(*self._waiting.popleft())
        if self._waiting:
            self._manager.loop.call_soon(self._turn)

    def _dispatch(self, datagram: bytes, endpoint: Endpoint) -> None:
        remote = _Remote(endpoint)
        try:
            self._manager.dispatch_message(_to_aiocoap(parse(datagram), datagram, remote))
        except Rejected as rejected:
            if rejected.reset is not None:
                self.send_datagram(bytes([0x70, 0]) + rejected.reset.to_bytes(2, "big"), remote)
        except Exception as error:
            log_defect("datagram failed", error)


def _to_aiocoap(parsed: CoapRequest | Acknowledgement, datagram: bytes, remote: _Remote) -> Any:
    """Return the message as aiocoap's layers need it: its header. The request itself goes along in ``parsed``."""
    message: Any = aiocoap.Message(code=parsed.code if isinstance(parsed, CoapRequest) else aiocoap.EMPTY)
    message.mtype = aiocoap.Type(parsed.type)
    message.mid = parsed.message_id
    message.remote = remote
    message.direction = Direction.INCOMING
    if isinstance(parsed, CoapRequest):
        message.token = parsed.coap_token
        message.parsed = parsed
        message.datagram = datagram
    return message


class _Site:
    """What aiocoap calls to have a request answered."""

    def __init__(self, router: Router, retry_after: int) -> None:
        self._router = router
        self._failed = CoapResponse(Code.SERVICE_UNAVAILABLE, max_age=retry_after)
        self.answering: set[asyncio.Task[Any]] = set()

    async def render_to_pipe(self, pipe: Any) -> None:
        task = asyncio.current_task()
        assert task is not None  # aiocoap makes a task for each request
        self.answering.add(task)
        try:
            response = await self._router.answer(pipe.request.parsed, pipe.request.remote)
        except Exception as error:
            log_defect("request failed", error)
            response = self._failed
        finally:
            self.answering.discard(task)
        pipe.add_response(_message(response), is_last=True)


def _message(response: CoapResponse) -> Any:
    # A separate response without a DPE message is non-confirmable, so it is not retransmitted: whoever asked has proved
    # nothing, and the address may be a victim's. One with a message is sent as the request was.
    proved = response.protected or response.content_format == CONTENT_FORMAT_CBOR
    tuning = None if proved else aiocoap.Unreliable()
    message: Any = aiocoap.Message(code=response.code, payload=response.payload, transport_tuning=tuning)
    for name in ("content_format", "max_age", "block1", "block2", "size1"):
        value = getattr(response, name)
        if value is not None:
            setattr(message.opt, name, value)
    if response.protected:
        message.opt.oscore = b""
    if response.silent:
        message.opt.no_response = NO_RESPONSE
    return message


class CoapServer:
    """Answers CoAP requests on ``links``, which it closes in the end. To be made in the running event loop.

    ``router`` has their resources. ``retry_after`` (seconds) is what a peer is told when its request meets a defect.
    """

    def __init__(self, links: Sequence[Link], router: Router, *, retry_after: int) -> None:
        logging.getLogger(LOGGER).setLevel(logging.ERROR)
        self._site = _Site(router, retry_after)
        self._context: Any = aiocoap.Context(loop=asyncio.get_running_loop(), serversite=self._site, loggername=LOGGER)
        self._interfaces: list[_Interface] = []
        self._duplicates: list[Duplicates] = []
        for link in links:
            tokens: Any = TokenManager(self._context)
            messages: Any = _MessageManager(tokens)
            interface = _Interface(link, messages, self._site, retry_after)
            messages.message_interface = interface
            tokens.token_interface = messages
            self._context.request_interfaces.append(tokens)
            self._interfaces.append(interface)
            self._duplicates.append(messages.duplicates)

    @property
    def begun(self) -> int:
        """How many exchanges were begun."""
        return sum(one.begun for one in self._duplicates)

    @property
    def resent(self) -> int:
        """How many requests came again."""
        return sum(one.resent for one in self._duplicates)

    def start(self) -> None:
        """Take requests from now on."""
        for interface in self._interfaces:
            interface.start()

    async def stop(self) -> None:
        """Take no more datagrams; those already taken are on their way to their resource when this returns."""
        for interface in self._interfaces:
            interface.stop()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Send the answers that are still being made, then free the ports."""
        if self._site.answering:
            await asyncio.wait(self._site.answering)
        await self._context.shutdown()
