"""A CoAP server in a thread, whose answers a test makes: right ones and wrong ones, for the load generator to judge."""

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

CHANGED = 0x44
FORMAT = b"\xc1\x3c"
"""Content-Format 60 as the first option."""


class ReceivedRequest(NamedTuple):
    """What the generator sent."""

    sender: Any
    message_id: bytes
    coap_token: bytes
    payload: bytes
    """What is behind the first 0xff: right unless an option has one."""
    rest: bytes
    """Options and payload."""

    def reply(
        self,
        payload: bytes,
        *,
        kind: int = 0x60,
        code: int = CHANGED,
        message_id: bytes | None = None,
        coap_token: bytes | None = None,
        options: bytes = FORMAT,
    ) -> bytes:
        """Return the datagram of a response, an acknowledgement unless told otherwise."""
        token = self.coap_token if coap_token is None else coap_token
        head = bytes([kind | len(token), code]) + (message_id or self.message_id)
        return head + token + options + b"\xff" + payload


Responder = Callable[[ReceivedRequest], Iterable[bytes]]


class Peer:
    """Answers each request with the datagrams that ``answer`` gives, and notes what comes."""

    def __init__(self, answer: Responder) -> None:
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)
        self.port: int = self._socket.getsockname()[1]
        self.seen: list[tuple[Any, bytes]] = []
        """Sender and message ID of each request."""
        self.acknowledged = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            datagram, sender = self._socket.recvfrom(1500)
            if not datagram:
                return
            if datagram[0] >> 4 == 6:
                self.acknowledged += 1
                continue
            self.seen.append((sender, datagram[2:4]))
            start = 4 + (datagram[0] & 15)
            rest = datagram[start:]
            request = ReceivedRequest(sender, datagram[2:4], datagram[4:start], rest.partition(b"\xff")[2], rest)
            for reply in self._answer(request):
                self._socket.sendto(reply, sender)
