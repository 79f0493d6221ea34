"""Asks a server for its links, over and over, while it is loaded: whether its event loop stays responsive."""

import socket
import threading
import time
from typing import Self

from dpe_coap.binding import PATH
from dpe_coap.errors import LocalError
from dpe_tools import datagram

INTERVAL = 0.02
"""Seconds from one answer to the next question."""
PATIENCE = 2.0
"""Seconds; what has no answer by then counts as that long."""

_CONTENT = 0x45
_QUESTION = b"\x52\x01%b%b\xbb.well-known\x04core"
"""A non-confirmable GET /.well-known/core; message ID and CoAP token are missing."""
_LINK = f"</{'/'.join(PATH)}>".encode()


class Discovering(threading.Thread):
    """Asks the server at 127.0.0.1:``port`` from ``with`` to its end; ``times`` are then the response times, in s."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.times: list[float] = []
        self._port = port
        self._stopping = threading.Event()
        self._wrong = b""

    def __enter__(self) -> Self:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; LocalError when an answer was not the links."""
        self._stopping.set()
        self.join()
        if self._wrong:
            raise LocalError(f"discovery was answered wrongly: {self._wrong[:40]!r}")

    def run(self) -> None:
        """Ask and wait, one question at a time."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect(("127.0.0.1", self._port))
            number = 0
            while not self._stopping.wait(INTERVAL):
                number = number + 1 & 0xFFFF
                name = number.to_bytes(2, "big")
                began = time.monotonic()
                asking.send(_QUESTION % (name, name))
                self._hear(asking, name, began)
                self.times.append(time.monotonic() - began)

    def _hear(self, asking: socket.socket, coap_token: bytes, began: float) -> None:
        """Wait for the answer, past those to earlier questions."""
        while (left := began + PATIENCE - time.monotonic()) > 0:
            asking.settimeout(left)
            try:
                heard = asking.recv(2048)
            except TimeoutError:
                return
            answer = datagram.parse(heard)
            if answer.coap_token == coap_token:
                if answer.code != _CONTENT or _LINK not in answer.payload:
                    self._wrong = heard
                return
