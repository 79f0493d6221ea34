"""The DPE Client on a UDP socket, as a call that blocks."""

import os
import socket
import time

from .registration import BACKOFF, IDLE, Registration

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Address, Any, Credential, Settings, Storage, Trace, Unpack

LONGEST = 320  # more than a message of 256 bytes needs; a longer datagram comes truncated and is refused
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


def resolve(uri: str) -> "Any":
    """Return what the name service gives for a server's URI, of `getaddrinfo`; OSError or ValueError."""
    host, port = parse_uri(uri)
    return socket.getaddrinfo(host, port)[0]  # with more arguments lwIP's boards print a warning


class Driver:
    """A registration on a socket: all but the waiting, which blocks here, and lets others run in `aio`."""

    def __init__(self, registration: Registration, deadline_ms: "int | None", trace: "Trace | None") -> None:
        registration.start()
        self.registration = registration
        self.socket: "socket.socket | None" = None
        self._deadline = deadline_ms
        self._trace = trace
        self._clock = Clock()
        self._server = ""

    def step(self, received: "tuple[bytes, Address] | None") -> str:
        """Step the registration with what was received; return a URI to resolve for `open`, or "" if there is none."""
        datagram, sender = received or (None, None)
        if self._trace and datagram is not None:
            self._trace("received", datagram)
        registration = self.registration
        state = registration.state
        self._out, self._wake, _ = registration.step(self._clock.now(), datagram, sender)
        if self._out is None:
            return ""
        if state in (IDLE, BACKOFF) or self._server != registration.server:
            self._server = registration.server
            self.close()
        return "" if self.socket else self._server

    def open(self, found: "Any") -> None:
        """Make a socket to the address that was found; OSError."""
        self.socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self.registration.peer = found[-1]  # as the socket takes and gives addresses

    def send(self) -> "float | None":
        """Send what the step left to send; return for how long to receive, in s, or None when it is over."""
        if self._out is not None:
            try:
                if self.socket:
                    self.socket.sendto(self._out, self.registration.peer)
            except OSError:
                pass
            if self._trace:
                self._trace("sent", self._out)
        now = self._clock.now()
        if self._wake is None or (self._deadline is not None and now >= self._deadline):
            return None
        until = min(self._wake, now + _PATIENCE)
        if self._deadline is not None:
            until = min(until, self._deadline)
        return max(until - now, 0) / 1000

    def close(self) -> None:
        """Close the socket."""
        if self.socket:
            self.socket.close()
        self.socket = self.registration.peer = None


def register(
    credential: "Credential",
    storage: "Storage",
    *,
    deadline_ms: "int | None" = None,
    trace: "Trace | None" = None,
    **settings: "Unpack[Settings]",
) -> Registration:
    """Register over UDP, anew if the device is registered, and return the registration in its last state.

    That is REGISTERED, REFUSED, IDLE when the device has declined, or any after `deadline_ms`. `settings` are the
    keywords of `Registration`. `trace("sent" or "received", datagram)` sees every datagram; what the network or the
    name service does not take counts as lost.
    """
    driver = Driver(Registration(credential, storage, os.urandom, **settings), deadline_ms, trace)
    received = None
    try:
        while True:
            uri = driver.step(received)
            received = None
            try:
                if uri:
                    driver.open(resolve(uri))
            except (OSError, ValueError):
                pass
            wait = driver.send()
            if wait is None:
                return driver.registration
            if driver.socket is None:
                time.sleep(wait)
                continue
            driver.socket.settimeout(wait)
            try:
                received = driver.socket.recvfrom(LONGEST)
            except OSError:
                pass
    finally:
        driver.close()
