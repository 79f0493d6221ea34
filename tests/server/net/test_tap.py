"""What passes a captured socket is in the capture, in both directions, and a capture that ends disturbs nobody."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from dpe_server.net import mmsg
from dpe_server.net.drain import Drain
from dpe_server.net.link import Endpoint
from dpe_server.net.pcapng import Capture, End
from dpe_server.net.udp import UdpSocket, listen
from dpe_server.operators.capture_file import read
from tests.serving import LoopThread, needs_ipv6

V6 = pytest.param("[::1]:0", marks=needs_ipv6)


class Echo:
    """A captured socket that answers every datagram with itself, twice."""

    def __init__(self, address: str, capture: Capture) -> None:
        (self.socket,), _ = listen([address])
        self.ended: list[str] = []
        self.socket.capture_to(capture, self.ended.append)
        self.socket.start(self._received)

    def _received(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        self.socket.send([2 * one for one in datagrams], endpoints)


def _ask(bound: UdpSocket, datagram: bytes) -> tuple[End, End]:
    """Send a datagram and wait for its answer; return the ends of the client and of the server."""
    host, _, port = bound.authority.rpartition(":")
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((host.strip("[]").replace("0.0.0.0", "127.0.0.1"), int(port)))
        client.send(datagram)
        assert client.recv(64) == 2 * datagram
        return End.of(client.getsockname()), End.of(client.getpeername())


@pytest.mark.parametrize("batched", [True, False], ids=["recvmmsg", "recvmsg"])
@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0", V6])
def test_both_directions_are_captured(
    batched: bool, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmsg, "AVAILABLE", batched and mmsg.AVAILABLE)
    capture = Capture(tmp_path / "file", "me")
    with LoopThread() as loop:
        echo = loop.call(Echo, address, capture)
        ends = [_ask(echo.socket, datagram) for datagram in (b"one", b"another")]
        loop.call(echo.socket.close)
    capture.close()
    found = [(one.source, one.destination, one.datagram) for one in read(str(tmp_path / "file"))]
    (first, server), (second, _) = ends
    assert found == [
        (first, server, b"one"),
        (server, first, b"oneone"),
        (second, server, b"another"),
        (server, second, b"anotheranother"),
    ]


def test_goes_on_when_the_capture_ends(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "file", "me", limit=200)
    with LoopThread() as loop:
        echo = loop.call(Echo, "127.0.0.1:0", capture)
        for _ in range(3):
            _ask(echo.socket, b"one")
        loop.call(echo.socket.close)
    assert [why.partition(": ")[2] for why in echo.ended] == ["it would be longer than 200 bytes"]
    assert [one.datagram for one in read(str(tmp_path / "file"))] == [b"one"]


def test_a_socket_that_is_not_captured_has_no_tap() -> None:
    (bound,), _ = listen(["127.0.0.1:0"])
    assert type(bound._batches) is (mmsg.Mmsg if mmsg.AVAILABLE else Drain)
    bound.close()
