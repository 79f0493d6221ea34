"""A UDP relay between clients and one server. It acts like a bad link, and shows each datagram to a tap."""

import heapq
import itertools
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Self

from dpe_tools.faults import Faults, FaultyLink

LARGEST = 2048
"""Bytes of the largest datagram that passes. DPE-1's are below 400."""
CLIENTS = 256
"""The most clients known at a time. The client that was silent longest is forgotten first."""

Address = tuple[Any, ...]

Passed = Callable[[Address, bytes, bool, bool], None]
"""Called with the client, the datagram as it was sent, whether it is an answer, and whether the relay lost it."""
Tap = Callable[[str, bytes, bool], None]
"""Called with the sender ("client" or "server"), the datagram as it was sent, and whether the relay lost it."""


class Relay:
    """Forwards datagrams in its own thread while the ``with`` block runs.

    Each client has its own socket towards the server, so the server sees as many endpoints as there are clients. What
    happens to a datagram is drawn from ``seed``, in the order of arrival.
    """

    def __init__(
        self,
        server: tuple[str, int],
        faults: Faults | None = None,
        *,
        seed: int = 0,
        tap: Tap | None = None,
        passed: Passed | None = None,
    ) -> None:
        self._server = server
        self._link = FaultyLink(faults or Faults(), seed)
        self._tap = tap
        self._passed = passed
        self._family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._selector = selectors.DefaultSelector()
        self._front = self._open((("::1" if self._family == socket.AF_INET6 else "127.0.0.1"), 0), None)
        self._wake, self._wait = socket.socketpair()
        self._selector.register(self._wait, selectors.EVENT_READ, None)
        self._backs: OrderedDict[Address, socket.socket] = OrderedDict()
        self._held: list[tuple[float, int, bool, bytes, Address]] = []
        self._count = itertools.count()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """The address to which clients send: on loopback, with a free port."""
        host, port = self._front.getsockname()[:2]
        return host, port

    def __enter__(self) -> Self:
        """Start forwarding."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and close every socket. Delayed datagrams are lost."""
        self._wake.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _open(self, bind: tuple[str, int] | None, client: Address | None) -> socket.socket:
        opened = socket.socket(self._family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        if bind is None:
            opened.connect(self._server)
        else:
            opened.bind(bind)
        self._selector.register(opened, selectors.EVENT_READ, client)
        return opened

    def _run(self) -> None:
        while True:
            wait = max(0.0, self._held[0][0] - time.monotonic()) if self._held else None
            for key, _ in self._selector.select(wait):
                if key.fileobj is self._wait:
                    return
                assert isinstance(key.fileobj, socket.socket)
                try:
                    data, sender = key.fileobj.recvfrom(LARGEST)
                except OSError:
                    continue  # forgotten in this round, or nobody listens there now
                from_client = key.fileobj is self._front
                self._take(from_client, data, sender if from_client else key.data)
            while self._held and self._held[0][0] <= time.monotonic():
                _, _, from_client, data, client = heapq.heappop(self._held)
                self._send(from_client, data, client)

    def _take(self, from_client: bool, data: bytes, client: Address) -> None:
        copies = self._link.carry(data)
        if self._tap is not None:
            self._tap("client" if from_client else "server", data, not copies)
        if self._passed is not None:
            self._passed(client, data, not from_client, not copies)
        for copy in copies:
            if copy.delay:
                due = time.monotonic() + copy.delay
                heapq.heappush(self._held, (due, next(self._count), from_client, copy.datagram, client))
            else:
                self._send(from_client, copy.datagram, client)

    def _send(self, from_client: bool, data: bytes, client: Address) -> None:
        try:
            if from_client:
                self._back(client).send(data)
            else:
                self._front.sendto(data, client)
        except OSError:
            return  # nobody listens there now: the datagram is lost, like any other loss

    def _back(self, client: Address) -> socket.socket:
        if client not in self._backs:
            if len(self._backs) >= CLIENTS:
                _, oldest = self._backs.popitem(last=False)
                self._selector.unregister(oldest)
                oldest.close()
            self._backs[client] = self._open(None, client)
        self._backs.move_to_end(client)
        return self._backs[client]
