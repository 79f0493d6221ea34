"""microCoAPy with DPE-1's messages on top, as `drive` calls it. LIMIT is how often a message is posted.

Once is how microCoAPy's own documentation uses it: post, poll, and what the callback gets is the response. More often
is a careful application's loop around it: what is not under a valid security token does not end the wait, and a wait
without a response is followed by the same message again, after the times of RFC 7252 section 4.2.
"""

import os
import socket
import time

import drive  # type: ignore[import-not-found]
from microcoapy import COAP_CONTENT_FORMAT, Coap  # type: ignore[import-not-found]

from dpe_device import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PATIENCE = 5  # ACK_TIMEOUTs for a message that is posted once; more would change nothing
_PERIOD = 5  # ms between two looks at the socket; microCoAPy's default is 500
_LABEL_CLIENT_ID = 3
_LABEL_STATUS = 4


class Client:
    """microCoAPy on a socket of its own, which keeps what the callback was called with last."""

    def __init__(self, host: str, port: int, ack_timeout: int, tries: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.coap = Coap()
        self.coap.debug = False
        self.coap.setCustomSocket(self.socket)  # its own start() binds to an address that this port does not take
        self.coap.resposeCallback = self._received  # spelled so
        self.taken = 0
        self._server = host, port
        self._ack_timeout = ack_timeout
        self._tries = tries

    def _received(self, packet: "Any", _sender: "Any") -> None:
        self.taken += 1
        self._payload = packet.payload

    def ask(self, message: bytes, read: "Callable[[bytes], Any]") -> "Any":
        """Return what `read` makes of the answer to a message, or None if there is none that it can read."""
        host, port = self._server
        coap_token = os.urandom(4)
        wait = self._ack_timeout * _PATIENCE
        if self._tries > 1:
            wait = self._ack_timeout + self._ack_timeout * os.urandom(1)[0] // 512
        for _ in range(self._tries):
            cbor = COAP_CONTENT_FORMAT.COAP_APPLICATION_CBOR
            self.coap.post(host, port, "dpe/register", message, None, cbor, coap_token)
            found = self._await(wait, read)
            if found:
                return found
            wait *= 2
        return None

    def _await(self, wait: int, read: "Callable[[bytes], Any]") -> "Any":
        start = time.ticks_ms()  # type: ignore[attr-defined]
        while True:
            left = wait - time.ticks_diff(time.ticks_ms(), start)  # type: ignore[attr-defined]
            self._payload = b""
            if left <= 0 or not self.coap.poll(left, _PERIOD):
                return None
            try:
                return read(self._payload or b"")
            except ValueError:
                if self._tries == 1:
                    return None


def _register(
    realm: str, handle: bytes, key: bytes, host: str, port: int, ack_timeout: int, limit: int
) -> "tuple[bytes | None, int]":
    client = Client(host, port, ack_timeout, limit)
    try:
        return _exchange(client, realm, handle, key), client.taken
    finally:
        client.socket.close()


def _exchange(client: Client, realm: str, handle: bytes, key: bytes) -> "bytes | None":
    request = messages.make_request(key, realm, handle, (1, 0), os.urandom(16), None, None)
    offered = client.ask(request, lambda payload: messages.open_response(key, request, payload, None, b""))
    if not offered or offered[0][_LABEL_STATUS]:
        return None
    fields, prk3, th = offered
    success = messages.make_success(prk3, fields[_LABEL_CLIENT_ID], 0)
    th = messages.sha256(th + success).digest()
    confirmed = client.ask(success, lambda payload: messages.open_confirm(prk3, th, payload))
    return fields[_LABEL_CLIENT_ID] if confirmed and not confirmed[_LABEL_STATUS] else None


drive.run(_register)
