"""Who has sent a message is found by its end, for a while, and a socket that is not asked for it notes nothing."""

import socket
from collections.abc import Sequence

import pytest

from dpe_server.handling import records
from dpe_server.net import mmsg, peers
from dpe_server.net.drain import Drain
from dpe_server.net.link import Endpoint
from dpe_server.net.peers import Peers
from dpe_server.net.udp import listen
from tests.serving import LoopThread, needs_ipv6


class Listener:
    """A socket whose senders are noted."""

    def __init__(self, address: str, noted: Peers) -> None:
        (self.socket,), _ = listen([address])
        self.socket.note_to(noted)
        self.socket.start(self._received)

    def _received(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        self.socket.send(datagrams, endpoints)


@pytest.mark.parametrize("batched", [True, False], ids=["recvmmsg", "recvmsg"])
@pytest.mark.parametrize("address", ["127.0.0.1:0", pytest.param("[::1]:0", marks=needs_ipv6)])
def test_a_sender_is_found_by_the_end_of_its_datagram(
    batched: bool, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmsg, "AVAILABLE", batched and mmsg.AVAILABLE)
    noted = Peers()
    with LoopThread() as loop:
        listener = loop.call(Listener, address, noted)
        host, _, port = listener.socket.authority.rpartition(":")
        family = socket.AF_INET6 if "[" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect((host.strip("[]"), int(port)))
            client.send(b"a datagram's last eight: 12345678")
            assert client.recv(64).endswith(b"12345678")
            assert noted.of(b"12345678") == f"{host}:{client.getsockname()[1]}"
        loop.call(listener.socket.close)
    assert noted.of(b"87654321") == ""


class Numbers:
    """Stands for a socket whose endpoints are numbers."""

    full, source = 1, slice(0)

    def receive(self) -> tuple[list[bytes], list[Endpoint]]:
        return [], []

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        raise NotImplementedError

    def ends(self, endpoint: Endpoint) -> tuple[bytes, int, bytes]:
        return bytes([127, 0, 0, endpoint[0]]), 1, b""


def test_only_the_last_are_remembered_and_of_two_alike_the_later() -> None:
    noted, numbers = Peers(remembered=3), Numbers()
    for number in range(5):
        noted.note(numbers, [b"message" + bytes([number])], [bytes([number])])
    noted.note(numbers, [b"message\x02"], [b"\x09"])
    noted.note(numbers, [b"message\x05", b"message\x06"], [b"\x05", b"\x06"])
    found = [noted.of(b"message" + bytes([number])) for number in range(7)]
    assert found == ["", "", "127.0.0.9:1", "", "", "127.0.0.5:1", "127.0.0.6:1"]


def test_the_end_is_what_the_audit_log_takes_for_it() -> None:
    assert peers.SIZE_END == records.SIZE_END


def test_a_socket_that_is_not_asked_notes_nothing() -> None:
    (bound,), _ = listen(["127.0.0.1:0"])
    assert type(bound._batches) is (mmsg.Mmsg if mmsg.AVAILABLE else Drain)
    bound.close()
