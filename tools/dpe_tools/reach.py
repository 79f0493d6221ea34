"""Finds a server: tries every address of its name, and tells at once what is known to be wrong.

The name service is asked in a thread of its own, because it may block for longer than anybody wants to wait.
"""

import errno
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from dpe_coap.errors import LocalError
from dpe_device.udp import parse_uri
from dpe_server.net.udp import authority
from dpe_tools.exits import NoAnswer

SECONDS = 5.0
"""How long to wait for the name service, and then for the server."""
AGAIN = 1.0
"""Seconds after which a ping is sent again."""
PING, PONG = b"\x40\0\0\1", b"\x70\0\0\1"
"""An empty confirmable message, and the reset that answers it (RFC 7252 section 4.3)."""
UNHEARD = "no answer"
"""Why a place has not answered, if it is not known why."""
REFUSED = "nobody listens there"
UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Place(NamedTuple):
    """An address to send to."""

    family: int
    address: tuple[Any, ...]
    """As a socket takes it."""

    def __str__(self) -> str:
        """Return host and port, as in a URI."""
        return authority(self.family, self.address)

    def connect(self) -> socket.socket:
        """Return a socket that sends there, and learns when nobody listens there. Raises OSError."""
        made = socket.socket(self.family, socket.SOCK_DGRAM)
        try:
            made.connect(self.address)
        except OSError:
            made.close()
            raise
        return made

    def why(self, error: OSError) -> str:
        """Return what an error of its socket says about the way to it."""
        if isinstance(error, ConnectionRefusedError):
            return REFUSED
        if error.errno == errno.EINVAL and self.family == socket.AF_INET6 and not self.address[3]:
            return "an address of one link needs its zone, as in fe80::1%eth0"
        return "there is no way to it from here" if error.errno in UNREACHABLE else str(error.strerror)


def look_up(
    uri: str, seconds: float = SECONDS, patience: float = SECONDS, tell: Callable[[str], None] | None = None
) -> list[Place]:
    """Return every address of ``coap://HOST[:PORT]``, the preferred one first.

    If it takes longer than ``patience`` seconds, ``tell`` is told what is being waited for. Raises LocalError if it is
    no such URI, and NoAnswer if the name service knows no address, or tells none within ``seconds``.
    """
    try:
        host, port = parse_uri(uri)
    except ValueError:
        raise LocalError(f"not a server's URI: {uri}", hint="write coap://HOST or coap://HOST:PORT") from None
    told: queue.SimpleQueue[list[Place] | OSError] = queue.SimpleQueue()
    threading.Thread(target=_ask, args=[host, port, told], name="names", daemon=True).start()
    try:
        answer = told.get(timeout=max(0.0, min(seconds, patience)))
    except queue.Empty:
        if tell is not None and patience < seconds:
            tell(f"the name service does not say yet where {host} is")
        try:
            answer = told.get(timeout=max(0.0, seconds - patience))
        except queue.Empty:
            answer = OSError(socket.EAI_AGAIN, "")
    if isinstance(answer, OSError):
        raise _no_address(host, answer)
    return answer


def _ask(host: str, port: int, told: "queue.SimpleQueue[list[Place] | OSError]") -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        told.put(list(dict.fromkeys(Place(family, address) for family, _, _, _, address in found)))
    except OSError as error:
        told.put(error)
    except UnicodeError:  # a label that no name can have
        told.put(OSError(socket.EAI_NONAME, ""))


def _no_address(host: str, error: OSError) -> NoAnswer:
    if error.errno == socket.EAI_AGAIN:
        return NoAnswer(
            f"the name service does not say where {host} is", hint="does this machine reach its name service?"
        )
    address, _, zone = host.partition("%")
    if zone:
        return NoAnswer(f"{address} is of a link that this machine does not have: {zone}", hint="see: ip link")
    return NoAnswer(f"no address is known for the name {host}", hint="is the name written right?")


def knock(uri: str, places: Iterable[Place], seconds: float = SECONDS) -> Place:
    """Return the first of ``places``, which ``uri`` names, where a CoAP server answers a ping.

    Raises NoAnswer: after ``seconds``, or at once if nobody listens at any of them.
    """
    failures: dict[Place, str] = {}
    waiting: dict[socket.socket, Place] = {}
    try:
        for place in places:
            failures[place] = f"{UNHEARD} in {seconds:g} s"
            try:
                waiting[place.connect()] = place
            except OSError as error:
                failures[place] = place.why(error)
        end = time.monotonic() + seconds
        while waiting and time.monotonic() < end:
            _send(waiting, failures)
            again = min(time.monotonic() + AGAIN, end)
            while waiting and (left := again - time.monotonic()) > 0:
                for ready in select.select(list(waiting), [], [], left)[0]:
                    try:
                        if ready.recv(len(PONG) + 1) == PONG:
                            return waiting[ready]
                    except OSError as error:
                        _give_up(waiting, failures, ready, error)
        raise silence(f"no CoAP server answers at {uri}", failures)
    finally:
        for one in waiting:
            one.close()


def _send(waiting: dict[socket.socket, Place], failures: dict[Place, str]) -> None:
    for one in list(waiting):
        try:
            one.send(PING)
        except OSError as error:
            _give_up(waiting, failures, one, error)


def _give_up(
    waiting: dict[socket.socket, Place], failures: dict[Place, str], one: socket.socket, error: OSError
) -> None:
    place = waiting.pop(one)
    failures[place] = place.why(error)
    one.close()


def reasons(failures: Mapping[Place, str]) -> str:
    """Return why each place has not answered."""
    return "; ".join(f"{place}: {reason}" for place, reason in failures.items())


def silence(what: str, failures: Mapping[Place, str]) -> NoAnswer:
    """Return the error for a server of which no place has answered. ``what`` says what did not happen."""
    hint = ""
    if any(reason == REFUSED or reason.startswith(UNHEARD) for reason in failures.values()):
        hint = "is it running (dpe serve STATE), and listening there?"
    if any(reason.startswith(UNHEARD) for reason in failures.values()):
        hint += " Does UDP get through?"
    return NoAnswer(f"{what} ({reasons(failures)})", hint=hint)
