"""A relay that sends the client a forged answer before each true one."""

import socket
from typing import Any

from dpe_tools.relay import Address, Relay

HEADER = 8
"""Bytes of CoAP's header and token; an answer without a payload has no more."""
MAC = 16
KINDS = {
    "another message ID": slice(2, 4),
    "another CoAP token": slice(4, 8),
    "another sender": slice(0, 0),
    "the right header": slice(0, 0),
}
"""How an answer is forged: which bytes of its header are wrong. The security token is wrong in all of them."""


class Forger(Relay):
    """Forges answers of one kind; ``forged`` counts them."""

    def __init__(self, server: tuple[str, int], kind: str) -> None:
        super().__init__(server)
        self.forged = 0
        self._wrong = KINDS[kind]
        self._elsewhere = socket.socket(self._family, socket.SOCK_DGRAM) if kind == "another sender" else None

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        super().__exit__(*exception)
        if self._elsewhere is not None:
            self._elsewhere.close()

    def _send(self, from_client: bool, data: bytes, client: Address) -> None:
        if not from_client and len(data) > HEADER + MAC:
            sender: Any = self._elsewhere or self._front
            sender.sendto(self._forge(data), client)
            self.forged += 1
        super()._send(from_client, data, client)

    def _forge(self, data: bytes) -> bytes:
        forged = bytearray(data)
        wrong = [*range(len(data))[self._wrong], *range(len(data) - MAC, len(data))]
        for at in wrong:
            forged[at] ^= 0x5A
        return bytes(forged)
