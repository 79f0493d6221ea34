"""Hears all datagrams between devices and nodes, sends some of them again, to any node, and knows what must not be.

Of the protected ones it can read the outside: the Client ID and the number. Under one number there must be one request
and one answer, whichever node answers: each is a nonce.
"""

import random
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import sha256

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_of
from dpe_tools.cluster.balancer import Balancer
from dpe_tools.load.network import Address, Endpoint, Received
from tests import coap

OSCORE = 9
REPEATS = 0.1
"""The share of datagrams after which one is sent again: the same at the other node, or one of the device's last."""
REMEMBERED = 64
"""The last datagrams of all devices from which one is drawn."""

Request = tuple[int, int]
"""A protected one: its Client ID and its number."""


class Eavesdropper:
    """Between the devices and a balancer."""

    def __init__(self, network: Balancer, seed: int) -> None:
        self._network = network
        self._random = random.Random(seed)
        self._last: deque[tuple[Endpoint, bytes]] = deque(maxlen=REMEMBERED)
        self._asked: dict[tuple[Endpoint, bytes], Request] = {}
        self._requests: dict[Request, bytes] = {}
        self._answers: dict[Request, bytes] = {}
        """Of each answer a hash."""
        self.answered: dict[Request, float] = {}
        """When the first answer to each was heard (Unix time)."""
        self.repeats = 0
        self.faults: list[str] = []
        self.lease = network.lease
        self.release = network.release
        self.due = None

    @property
    def peer(self) -> Address:
        """What the devices take for the address of their server."""
        return self._network.peer

    def send(self, endpoint: Endpoint, datagram: bytes) -> None:
        """Let a datagram pass, and perhaps one more."""
        self._note(endpoint, datagram)
        self._network.send(endpoint, datagram)
        self._last.append((endpoint, datagram))
        if self._random.random() < REPEATS:
            again = (endpoint, datagram) if self._random.random() < 0.5 else self._random.choice(self._last)
            self._network.send_to(self._random.randrange(len(self._network.nodes)), *again)
            self.repeats += 1

    def receive(self, ready: Iterable[socket.socket]) -> Iterator[Received]:
        """Let datagrams pass."""
        for received in self._network.receive(ready):
            self._hear(received)
            yield received

    def _note(self, endpoint: Endpoint, datagram: bytes) -> None:
        message = coap.Message.parse(datagram)
        option = message.option(OSCORE)
        if option is None:
            self._asked.pop((endpoint, message.coap_token), None)
            return
        client_id, number = oscore.read_option(option)
        request = client_id_of(client_id), number
        self._asked[endpoint, message.coap_token] = request
        if self._requests.setdefault(request, _hash(message.payload)) != _hash(message.payload):
            self.faults.append(f"{request[0]:014x}: two requests under number {number}")

    def _hear(self, received: Received) -> None:
        message = coap.Message.parse(received.datagram)
        if message.option(OSCORE) is None:
            return
        if message.option(OSCORE) != b"":
            self.faults.append("an answer with a nonce of its own")
        request = self._asked.get((received.endpoint, message.coap_token))
        if request is None:
            self.faults.append("a protected answer to nothing that was asked")
            return
        self.answered.setdefault(request, time.time())
        if self._answers.setdefault(request, _hash(message.payload)) != _hash(message.payload):
            self.faults.append(f"{request[0]:014x}: two answers under number {request[1]}")


def _hash(ciphertext: bytes) -> bytes:
    return sha256(ciphertext).digest()[:8]
