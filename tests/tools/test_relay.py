"""The relay forwards both ways, loses by its seed, and shows every datagram to its tap."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dpe_tools.faults import Faults
from dpe_tools.relay import CLIENTS, Relay


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.settimeout(10)
        opened.bind(("127.0.0.1", 0))
        yield opened


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.settimeout(10)
        yield opened


def test_forwards_both_ways_and_taps(server: socket.socket, client: socket.socket) -> None:
    seen: list[tuple[str, bytes, bool]] = []
    with Relay(server.getsockname(), tap=lambda *what: seen.append(what)) as relay:
        client.sendto(b"ping", relay.address)
        data, back = server.recvfrom(100)
        assert data == b"ping"
        server.sendto(b"pong", back)
        assert client.recv(100) == b"pong"
    assert seen == [("client", b"ping", False), ("server", b"pong", False)]


def test_tells_whose_datagram_passes(server: socket.socket, client: socket.socket) -> None:
    seen: list[tuple[object, ...]] = []
    with Relay(server.getsockname(), passed=lambda *what: seen.append(what)) as relay:
        client.sendto(b"ping", relay.address)
        server.sendto(b"pong", server.recvfrom(100)[1])
        assert client.recv(100) == b"pong"
        own = ("127.0.0.1", client.getsockname()[1])
    assert seen == [(own, b"ping", False, False), (own, b"pong", True, False)]


def test_each_client_has_its_own_endpoint(server: socket.socket, client: socket.socket) -> None:
    with Relay(server.getsockname()) as relay, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.settimeout(10)
        backs: dict[bytes, tuple[str, int]] = {}
        for name, source in ((b"one", client), (b"two", other), (b"one", client)):
            source.sendto(name, relay.address)
            data, back = server.recvfrom(100)
            assert backs.setdefault(data, back) == back
        assert backs[b"one"] != backs[b"two"]
        server.sendto(b"for two", backs[b"two"])
        assert other.recv(100) == b"for two"


def _losses(server: socket.socket, seed: int) -> list[bool]:
    """What a relay does to 40 datagrams; the last, which is never lost on purpose, tells that all have been seen."""
    lost: list[bool] = []
    with (
        Relay(
            server.getsockname(), Faults(loss=0.3), seed=seed, tap=lambda _sender, _data, gone: lost.append(gone)
        ) as relay,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        for number in range(40):
            client.sendto(bytes([number]), relay.address)
            while len(lost) <= number:
                pass
    return lost


def test_loss_repeats_with_its_seed(server: socket.socket) -> None:
    first = _losses(server, 7)
    assert first == _losses(server, 7)
    assert first != _losses(server, 8)
    assert 4 <= sum(first) <= 20


def test_survives_a_server_that_is_not_there(server: socket.socket, client: socket.socket) -> None:
    address = server.getsockname()
    server.close()
    passed = threading.Semaphore(0)
    with (
        Relay(address, tap=lambda *_: passed.release()) as relay,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reborn,
    ):
        for _ in range(2):  # when the second is there, the first has gone
            client.sendto(b"into the void", relay.address)
            passed.acquire()
        reborn.settimeout(10)
        reborn.bind(address)
        for _ in range(3):  # the first may still meet the refusal that the void answered with
            client.sendto(b"again", relay.address)
        assert b"again" in (reborn.recv(100), reborn.recv(100))


def test_a_doubled_datagram_comes_twice_both_ways(server: socket.socket, client: socket.socket) -> None:
    with Relay(server.getsockname(), Faults(duplication=1)) as relay:
        client.sendto(b"ping", relay.address)
        (data, back), again = server.recvfrom(100), server.recvfrom(100)
        assert (data, back) == again == (b"ping", back)
        server.sendto(b"pong", back)
        assert [client.recv(100), client.recv(100)] == [b"pong", b"pong"]


def test_delayed_datagrams_overtake_each_other_and_none_is_lost(server: socket.socket, client: socket.socket) -> None:
    sent = [bytes([number]) for number in range(40)]
    with Relay(server.getsockname(), Faults(reordering=0.5, hold=0.02)) as relay:
        for datagram in sent:
            client.sendto(datagram, relay.address)
        came = [server.recv(100) for _ in sent]
    assert sorted(came) == sent
    assert came != sent


def test_a_corrupted_datagram_arrives_changed_and_the_tap_sees_it_whole(
    server: socket.socket, client: socket.socket
) -> None:
    seen: list[bytes] = []
    with Relay(server.getsockname(), Faults(corruption=1), tap=lambda _sender, data, _lost: seen.append(data)) as relay:
        for _ in range(20):
            client.sendto(b"registration", relay.address)
            assert server.recv(100) != b"registration"
    assert seen == [b"registration"] * 20


def test_forgets_the_client_that_was_silent_longest(server: socket.socket, client: socket.socket) -> None:
    with Relay(server.getsockname()) as relay, ExitStack() as others:
        client.sendto(b"first", relay.address)
        _, back = server.recvfrom(100)
        for _ in range(CLIENTS):  # all open at a time, so that each has a port of its own
            other = others.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            other.sendto(b"other", relay.address)
            server.recvfrom(100)
        client.sendto(b"again", relay.address)
        data, new_back = server.recvfrom(100)
        assert data == b"again"
        assert new_back != back
        server.sendto(b"found", new_back)
        assert client.recv(100) == b"found"
