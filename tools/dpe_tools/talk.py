"""A device that stays on, on a stage: it registers, and then talks to its server through a UDP relay with a tap."""

import os
import queue
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

from dpe_coap.errors import LocalError
from dpe_coap.session_messages import Property, Value
from dpe_device.session import ENDING, READY
from dpe_server.operation.credential import Credential
from dpe_tools import credentials, voice
from dpe_tools.client import Client
from dpe_tools.relay import LARGEST, Relay
from dpe_tools.stage import Memory, Seen, Stage
from dpe_tools.voice import Method, Reply, Voice

PATIENCE = 10.0
"""Seconds after which a device on this machine should have been answered."""


class Deaf:
    """Tells nobody."""

    def sent(self, datagram: bytes, place: str) -> None:
        """Take a datagram that was sent."""

    def received(self, datagram: bytes, place: str) -> None:
        """Take a datagram that came."""

    def told(self, news: str) -> None:
        """Take news."""


class Talk:
    """One device and its session, while the ``with`` block runs. Every call returns the datagrams that the tap saw."""

    def __init__(self, stage: Stage, device: Credential) -> None:
        self._stage = stage
        self._device = device
        self._taps: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        self._known: set[tuple[str, bytes]] = set()
        self._cleanup = ExitStack()
        self._start = time.monotonic()
        self.said = Voice()

    def __enter__(self) -> Self:
        """Switch the device on."""
        relay = Relay(self._stage.server.address, tap=self._tap, passed=self._stage.passed)
        self._relay = self._cleanup.enter_context(relay)
        host, port = self._relay.address
        given = credentials.for_device(replace(self._device, server=f"coap://{host}:{port}"))
        self.session = voice.session(given, Memory(), os.urandom, self.said)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the relay."""
        self._cleanup.close()

    def register(self) -> list[Seen]:
        """Register the device. LocalError: that did not succeed."""
        seen = self._until(lambda: self.session.state == READY)
        if self._stage.recording is not None:
            self._stage.recording.session(self.session.client_id, self.session.oscore)
        return seen

    def ask(self, method: Method, properties: Mapping[Property, Value] | None = None) -> tuple[Reply, list[Seen]]:
        """Have the device ask for something, or report ``properties``; return the protected reply, too."""
        self.said.properties = properties or {}
        self.said.reply = None
        self.session.want(method)
        seen = self._until(lambda: self.said.reply is not None and self.session.state != ENDING)
        assert self.said.reply is not None
        return self.said.reply, seen

    def repeat(self, datagram: bytes) -> list[Seen]:
        """Send a datagram, as anybody can who has seen it, and wait for an answer."""
        self._seen()  # what came late before
        self._start = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anybody:
            anybody.settimeout(PATIENCE)
            anybody.sendto(datagram, self._relay.address)
            anybody.recv(LARGEST)
        return self._seen()

    def _until(self, over: Callable[[], bool]) -> list[Seen]:
        self._seen()
        self._start = time.monotonic()
        Client(self.session, Deaf(), PATIENCE, over=over).run()
        if not over():
            raise LocalError("the device was not answered", hint="see what the server logs")
        return self._seen()

    def _tap(self, sender: str, datagram: bytes, lost: bool) -> None:
        repeated = (sender, datagram) in self._known
        self._known.add((sender, datagram))
        self._taps.put(Seen(time.monotonic() - self._start, sender == "client", datagram, lost, repeated))

    def _seen(self) -> list[Seen]:
        found = []
        while not self._taps.empty():
            found.append(self._taps.get())
        return found
