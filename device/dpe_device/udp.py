"""The DPE Client on a UDP socket, as calls that block."""

import os
import socket
import time

from .registration import Registration

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Address, Any, Credential, Property, Sequence, Settings, Storage, Trace, Unpack, Value

LONGEST = 320  # more than a message of 256 bytes needs; a longer datagram comes truncated and is refused
_LITTLE = const(256)  # bytes: with half of that, not even a registration would go on
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


def resolve(uri: str) -> "list[Any]":
    """Return what the name service gives for each address of a server's URI, of `getaddrinfo`; OSError or ValueError.

    The order is the name service's, which has the preferred one first.
    """
    host, port = parse_uri(uri)
    found: "list[Any]" = []
    for entry in socket.getaddrinfo(host, port):  # with more arguments lwIP's boards print a warning
        if not found or entry[-1] != found[-1][-1]:  # CPython has each once for every type of socket, in a row
            found.append(entry)
    return found


def _find(uri: str) -> "Sequence[Any]":
    try:
        return resolve(uri) if uri else ()
    except (OSError, ValueError):
        return ()


class Driver:
    """A registration on a socket: all but the waiting, which blocks here, and lets others run in `aio`.

    Each attempt has a socket of its own, to the next address of the server. An address to which there is no way is
    passed over.
    """

    longest = LONGEST

    def __init__(self, registration: "Any", deadline_ms: "int | None", trace: "Trace | None") -> None:
        self.registration = registration
        self.socket: "socket.socket | None" = None
        self._deadline = deadline_ms
        self._trace = trace
        self._clock = Clock()
        self._server = ""
        self._turn = 0  # which of the server's addresses an attempt begins with

    def step(self, received: "tuple[bytes, Address] | None") -> str:
        """Step the registration with what was received; return a URI to resolve for `send`, or "" if there is none."""
        datagram, sender = received or (None, None)
        if self._trace and datagram is not None:
            self._trace("received", datagram)
        registration = self.registration
        self._out = registration.step(self._clock.now(), datagram, sender)[0]
        if self._out is None:
            return ""
        if self.socket and registration.peer is None:
            self.close()
            self._turn += 1
        if self._server != registration.server:
            self._server = registration.server
            self._turn = 0
        return "" if self.socket else self._server

    def left(self) -> "float | None":
        """Return the time to the deadline, in s; None if there is none."""
        return None if self._deadline is None else max(self._deadline - self._clock.now(), 0) / 1000

    def send(self, found: "Sequence[Any]") -> "float | None":
        """Send what the step left to send; return for how long to receive, in s, or None when it is over.

        `found` is what `resolve` returned, for a new socket.
        """
        left = self.left()
        if left == 0:  # before anything is sent: the name service may have taken all the time
            return None
        if self._out is not None and self._send(self._out, found) and self._trace:
            self._trace("sent", self._out)
        due = self.registration.due
        if due is None:
            return None
        wait: float = max(min(due - self._clock.now(), _PATIENCE), 0) / 1000
        return wait if left is None else min(wait, left)

    def _send(self, out: bytes, found: "Sequence[Any]") -> bool:
        # Whether the network took it.
        if self.socket:
            try:
                self.socket.sendto(out, self.registration.peer)
            except OSError:
                return False
            return True
        for passed in range(len(found)):
            entry = found[(self._turn + passed) % len(found)]
            try:
                self.socket = socket.socket(entry[0], socket.SOCK_DGRAM)
                self.socket.sendto(out, entry[-1])
            except OSError:  # this machine does not have such addresses, or knows no way there
                self.close()
                continue
            self.registration.peer = entry[-1]  # as the socket takes and gives addresses
            self._turn += passed
            return True
        return False

    def close(self) -> None:
        """Close the socket."""
        if self.socket:
            self.socket.close()
        self.socket = self.registration.peer = None


def _run(driver: Driver) -> None:
    received = None
    try:
        while True:
            wait = driver.send(_find(driver.step(received)))  # no name for what is found: it goes before the long wait
            received = None
            if wait is None:
                return
            if driver.socket is None:
                time.sleep(wait)
                continue
            driver.socket.settimeout(wait)
            try:
                received = driver.socket.recvfrom(driver.longest)
            except OSError:
                pass
            except MemoryError:
                if driver.longest < _LITTLE:
                    raise
                driver.longest //= 2
    finally:
        driver.close()


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
    keywords of `Registration`. `trace("sent" or "received", datagram)` sees every datagram that the network took or
    gave. What it does not take counts as lost, and so does what is for a name that the name service does not know. The
    name service blocks, so that it can delay the deadline.
    """
    registration = Registration(credential, storage, os.urandom, **settings)
    registration.start()
    _run(Driver(registration, deadline_ms, trace))
    return registration


def report(
    device: "Any", values: "dict[Property, Value]", *, deadline_ms: "int | None" = None
) -> "dict[Property | None, int]":
    """Report what is due of these values and those before, and refresh the session if it is time; register if needed.

    `device` is a `device.Device`. This ends when nothing is due any more, when the device must not go on by itself
    (`device.registration.state` is REFUSED or IDLE) or after `deadline_ms`: then the rest stays due. It returns what
    was dropped meanwhile, as `Reporter.dropped`.
    """
    device.begin(values, deadline_ms)
    _run(device)
    dropped: "dict[Property | None, int]" = device.reporter.dropped
    return dropped


def deregister(device: "Any", *, deadline_ms: "int | None" = None) -> bool:
    """End the session; return whether the server has confirmed that. After `deadline_ms` it goes on with the next call.

    A device that has no session is not registered for this.
    """
    if device.registration.state == "IDLE":
        return False
    device.begin(None, deadline_ms)
    _run(device)
    confirmed: bool = device.reporter.code == 0x42
    return confirmed
