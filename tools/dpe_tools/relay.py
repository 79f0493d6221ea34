"""A UDP relay between clients and one server that loses datagrams from a seed and shows each one to a tap."""

import random
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

LARGEST = 2048
"""Bytes of the largest datagram that passes; DPE-1's are below 400."""

Address = tuple[Any, ...]

Tap = Callable[[str, bytes, bool], None]
"""Called with "client" or "server" (who sent it), the datagram, and whether the relay lost it."""


class Relay:
    """Forwards datagrams in a thread of its own while the ``with`` block runs.

    Each client gets its own socket towards the server, so the server sees as many endpoints as there are. A datagram
    is lost with probability ``loss`` (0 to 1), drawn from ``seed`` in the order of arrival.
    """

    def __init__(self, server: tuple[str, int], *, loss: float = 0.0, seed: int = 0, tap: Tap | None = None) -> None:
        self._server = server
        self._loss = loss
        self._random = random.Random(seed)  # noqa: S311  # a simulation must repeat
        self._tap = tap
        self._family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._selector = selectors.DefaultSelector()
        self._front = self._open((("::1" if self._family == socket.AF_INET6 else "127.0.0.1"), 0), None)
        self._wake, self._wait = socket.socketpair()
        self._selector.register(self._wait, selectors.EVENT_READ, None)
        self._backs: dict[Address, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients send to: a loopback address and a free port."""
        host, port = self._front.getsockname()[:2]
        return host, port

    def __enter__(self) -> Self:
        """Start to forward."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and close every socket."""
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
            for key, _ in self._selector.select():
                if key.fileobj is self._wait:
                    return
                assert isinstance(key.fileobj, socket.socket)
                try:
                    data, sender = key.fileobj.recvfrom(LARGEST)
                    self._forward(key.fileobj, data, sender, key.data)
                except OSError:
                    continue  # nobody listens there now: to a datagram that is a loss like any other

    def _forward(self, source: socket.socket, data: bytes, sender: Address, client: Address) -> None:
        lost = self._random.random() < self._loss
        from_client = source is self._front
        if self._tap is not None:
            self._tap("client" if from_client else "server", data, lost)
        if lost:
            return
        if from_client:
            if sender not in self._backs:
                self._backs[sender] = self._open(None, sender)
            self._backs[sender].send(data)
        else:
            self._front.sendto(data, client)
