"""A device in its session on a real socket, and a server that restarts. The device's clock jumps: nothing sleeps."""

import dataclasses
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Self

import cbor2

from dpe_coap.imei import Imei
from dpe_coap.session_messages import Property, Value
from dpe_device.session import ENDING, READY, Session
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import open_store
from dpe_server.store.record import entries
from dpe_tools import voice
from dpe_tools.stage import Memory
from dpe_tools.voice import Method, Reply, Voice
from tests.coap import Message
from tests.end_to_end.running import Running, running_on

IMEI = Imei.parse("35209900176148")
OSCORE = 9

Lose = Callable[[bool, bytes], bool]
"""Decides whether a datagram is lost; told whether the device sent it."""


def none_lost(_sent: bool, _datagram: bytes) -> bool:
    return False


class Served:
    """A server on a state directory. Where it listens changes when it is restarted."""

    def __init__(self, state: StateDir) -> None:
        self.state = state

    def __enter__(self) -> Self:
        self._context = running_on(self.state)
        self.running: Running = self._context.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._context.__exit__(None, None, None)

    def restart(self) -> None:
        self.__exit__()
        self.__enter__()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.running.uri.removeprefix("coap://").rsplit(":", 1)
        return host, int(port)


class Speaker:
    """A device that registers, and speaks in its session."""

    def __init__(self, served: Served, imei: Imei = IMEI, **options: Any) -> None:
        self.served = served
        state = served.state
        self._credential: Any = dataclasses.asdict(credential(state.keys, state.config, imei))
        self._options = options
        self.flash = Memory()
        self.lose: Lose = none_lost
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.now = 0
        self.boot()

    def boot(self) -> None:
        self.said = Voice()
        self.session: Session = voice.session(self._credential, self.flash, os.urandom, self.said, **self._options)

    def register(self) -> "Speaker":
        self.session.start()
        self._run(lambda: self.session.state == READY)
        return self

    def ask(self, method: Method, properties: Mapping[Property, Value] | None = None) -> Reply:
        """Report and so on, until a protected answer comes."""
        self.said.properties = properties or {}
        self.said.reply = None
        self.sent.clear()
        self.received.clear()
        self.session.want(method)
        self._run(lambda: self.said.reply is not None and self.session.state != ENDING)
        assert self.said.reply is not None
        return self.said.reply

    def give_up(self) -> None:
        """Deregister, whether or not that is answered."""
        self.said.reply = None
        self.sent.clear()
        self.session.want(Method.END)
        self._run(lambda: self.session.due is None)

    @property
    def numbers(self) -> list[int]:
        """The number of each protected request since it was asked, however often it was sent."""
        values = [Message.parse(datagram).option(OSCORE) for datagram in self.sent]
        return list(dict.fromkeys(int.from_bytes(value[1:-7], "big") for value in values if value))

    @property
    def held(self) -> dict[Property, Value]:
        """What the server's database has of the one session that it has."""
        store = open_store(self.served.state.store_url)
        try:
            (session,) = store.live(0)
        finally:
            store.close()
        return {cbor2.loads(entry.property): cbor2.loads(entry.value) for entry in entries(session.record)}

    def _run(self, over: Callable[[], bool], steps: int = 100) -> None:
        datagram = None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.settimeout(20)
            for _ in range(steps):
                out, due, _ = self.session.step(self.now, datagram, self.session.peer)
                datagram = None
                if out is not None:
                    self.session.peer = "server"  # any answer that comes to the socket is its
                    self.sent.append(out)
                    if not self.lose(True, out):
                        link.sendto(out, self.served.address)
                        datagram = link.recv(2048)
                        self.received.append(datagram)
                        if self.lose(False, datagram):
                            datagram = None
                if over():
                    return
                if datagram is None and due is not None:
                    self.now = max(self.now, due)
        raise AssertionError("it does not end")


class Repeater:
    """Anybody who sends what he has seen."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def __enter__(self) -> Self:
        self._link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._link.settimeout(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()

    def ask(self, datagram: bytes) -> bytes:
        self._link.sendto(datagram, self._served.address)
        return self._link.recv(2048)
