"""Asks a CoAP server which resources it offers: the discovery probe of `dpe doctor`.

A health check runs it every few seconds, so it imports little.
"""

import secrets
import select
import socket
import time
from contextlib import suppress

from dpe_coap.binding import Code
from dpe_coap.errors import RemoteError
from dpe_tools import reach
from dpe_tools.datagram import URI_PATH, Datagram, parse

SIZE_TOKEN = 8
LONGEST = 65_535


def discover(uri: str, timeout: float) -> Datagram:
    """Return what ``uri``'s server answers to GET /.well-known/core (RFC 6690).

    Every address of a name is tried. Raises NoAnswer if no address is known, or no CoAP server answers a ping within
    ``timeout`` seconds, and then the request within ``timeout``; LocalError if ``uri`` is none.
    """
    place = reach.knock(uri, reach.look_up(uri, timeout), timeout)
    answer, reason = None, f"it answers pings, and no request in {timeout:g} s"
    try:
        with place.connect() as connected:
            answer = _asked(connected, time.monotonic() + timeout)
    except OSError as error:
        reason = place.why(error)
    if answer is None:
        raise reach.silence(f"no CoAP server answers at {uri}", {place: reason})
    return answer


def _asked(connected: socket.socket, until: float) -> Datagram | None:
    """Send the request, again each second, until a response comes, or the time is over."""
    token, message_id = secrets.token_bytes(SIZE_TOKEN), secrets.randbelow(1 << 16)
    options = ((URI_PATH, b".well-known"), (URI_PATH, b"core"))
    request = bytes(Datagram("CON", Code.GET, message_id, token, options, b""))
    while time.monotonic() < until:
        connected.send(request)
        again = min(time.monotonic() + reach.AGAIN, until)
        while (left := again - time.monotonic()) > 0 and select.select([connected], [], [], left)[0]:
            with suppress(RemoteError):
                answer = parse(connected.recv(LONGEST))
                if answer.coap_token == token and answer.code >> 5 >= 2:
                    if answer.type == "CON":
                        connected.send(bytes(Datagram("ACK", 0, answer.message_id, b"", (), b"")))
                    return answer
    return None
