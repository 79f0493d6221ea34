"""The DPE Client on a UDP socket: the only file that has one."""

import os
import socket
import time

from .registration import BACKOFF, IDLE, Registration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Address, Any, Credential, Storage, Trace

_LONGEST = 320  # more than a message of 256 bytes needs; a longer datagram comes truncated and is refused
_PATIENCE = 3600000  # ms; less than half the period of any port's ticks_ms


def parse_uri(uri: str) -> "tuple[str, int]":
    """Return the host and port of `coap://host[:port]`, an IPv6 address without brackets; ValueError if it is none."""
    scheme, _, rest = uri.partition("://")
    authority = rest.split("/")[0]
    if authority[:1] == "[":
        host, bracket, port = authority[1:].partition("]")
        good = bracket and port[:1] in ("", ":")
        port = port[1:]
    else:
        host, _, port = authority.partition(":")
        good = True
    if not port:
        port = "5683"
    if scheme != "coap" or not good or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("not coap://host[:port]: %s" % uri)
    return host, int(port)


class Clock:
    """Milliseconds since it was made, which do not wrap as `ticks_ms` does."""

    def __init__(self) -> None:
        self._now = 0
        self._last = self._ticks()

    @staticmethod
    def _ticks() -> int:
        return time.ticks_ms() if hasattr(time, "ticks_ms") else time.monotonic_ns() // 1000000  # type: ignore[attr-defined]

    def now(self) -> int:
        """Return the time."""
        ticks = self._ticks()
        self._now += time.ticks_diff(ticks, self._last) if hasattr(time, "ticks_diff") else ticks - self._last
        self._last = ticks
        return self._now


def connect(uri: str) -> "tuple[socket.socket, Address]":
    """Return a socket and the address of a server, as the socket takes and gives addresses; OSError or ValueError."""
    host, port = parse_uri(uri)
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    return socket.socket(found[0], socket.SOCK_DGRAM), found[-1]


def register(
    credential: "Credential",
    storage: "Storage",
    *,
    deadline_ms: "int | None" = None,
    trace: "Trace | None" = None,
    **options: "Any",
) -> Registration:
    """Register over UDP, anew if the device is registered, and return the registration in its last state.

    That is REGISTERED, REFUSED, IDLE when the device has declined, or any after `deadline_ms`. `options` are those of
    `Registration`. `trace("sent" or "received", datagram)` sees every datagram; what the network or the name service
    does not take counts as lost.
    """
    registration = Registration(credential, storage, os.urandom, **options)
    registration.start()
    clock = Clock()
    link: "socket.socket | None" = None
    server = ""
    datagram = sender = None
    try:
        while True:
            now = clock.now()
            state = registration.state
            out, wake, _ = registration.step(now, datagram, sender)
            if out is not None:
                try:
                    if link is None or server != registration.server or state in (IDLE, BACKOFF):
                        if link is not None:
                            link.close()
                        link = registration.peer = None
                        server = registration.server
                        link, registration.peer = connect(server)
                    link.sendto(out, registration.peer)
                except (OSError, ValueError):
                    pass
                if trace:
                    trace("sent", out)
            if wake is None or (deadline_ms is not None and now >= deadline_ms):
                return registration
            until = min(wake, now + _PATIENCE)
            if deadline_ms is not None:
                until = min(until, deadline_ms)
            wait = max(until - now, 0) / 1000
            datagram = sender = None
            if link is None:
                time.sleep(wait)
                continue
            link.settimeout(wait)
            try:
                datagram, sender = link.recvfrom(_LONGEST)
            except OSError:
                continue
            if trace:
                trace("received", datagram)
    finally:
        if link is not None:
            link.close()
