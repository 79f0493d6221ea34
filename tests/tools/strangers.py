"""Whoever answers in place of a server."""

import socket
import threading
from collections.abc import Callable
from typing import Self


class Stranger:
    """Answers every datagram with ``answer(datagram)``, or not at all."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.uri = f"coap://127.0.0.1:{self.socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.socket.getsockname())
        self._thread.join()
        self.socket.close()

    def _run(self) -> None:
        while True:
            datagram, sender = self.socket.recvfrom(2048)
            if not datagram:
                return
            answer = self._answer(datagram)
            if answer is not None:
                self.socket.sendto(answer, sender)
