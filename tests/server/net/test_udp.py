"""Sockets: where the server listens, from where it answers, and what it does not hear."""

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from dpe_server.net import mmsg, udp
from dpe_server.net.link import Endpoint, Scheduling
from dpe_server.net.udp import LOOPBACK, ListenError, UdpSocket, listen
from tests.serving import LoopThread, needs_ipv6


class Echo:
    """A socket that answers every datagram with itself."""

    def __init__(self, address: str, scheduling: Scheduling | None = None) -> None:
        (self.socket,), self.left_out = listen([address], scheduling=scheduling)
        self.heard: list[bytes] = []
        self.endpoints: list[Endpoint] = []
        self.socket.start(self._received)

    def _received(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        self.heard += datagrams
        self.endpoints += endpoints
        self.socket.send(datagrams, endpoints)


@pytest.fixture(params=[True, False], ids=["recvmmsg", "recvmsg"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopThread]:
    """For each way of reading a socket that there is."""
    if request.param and not mmsg.AVAILABLE:
        pytest.skip("this machine has no recvmmsg")
    monkeypatch.setattr(mmsg, "AVAILABLE", request.param)
    with LoopThread() as loop:
        yield loop


def port(bound: UdpSocket) -> int:
    return int(bound.authority.rpartition(":")[2])


def close(sockets: list[UdpSocket]) -> None:
    for bound in sockets:
        bound.close()


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        ("127.0.0.1:0", "127.0.0.1:"),
        ("0.0.0.0:0", "0.0.0.0:"),
        pytest.param("[::1]:0", "[::1]:", marks=needs_ipv6),
        pytest.param("[::]:0", "[::]:", marks=needs_ipv6),
    ],
)
def test_port_0_takes_a_free_port(address: str, authority: str) -> None:
    sockets, left_out = listen([address])
    assert [bound.authority.startswith(authority) for bound in sockets] == [True]
    assert port(sockets[0]) > 0
    assert left_out == []
    close(sockets)


def test_several_addresses_and_names_are_listened_on() -> None:
    sockets, _ = listen(["127.0.0.1:0", "localhost:0"])
    assert len(sockets) >= 2
    assert len({bound.authority for bound in sockets}) == len(sockets)
    close(sockets)


def test_sockets_on_one_address_share_its_peers(loop: LoopThread) -> None:
    echo = loop.call(Echo, "127.0.0.1:0")
    further = [echo.socket.another() for _ in range(2)]
    assert {bound.authority for bound in further} == {echo.socket.authority}
    with ExitStack() as stack:
        askers = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(60)]
        for asker in askers:
            asker.sendto(b"ping", ("127.0.0.1", port(echo.socket)))
        loop.run(asyncio.sleep(0))
        heard = [bound._batches.receive()[0] for bound in further]
        assert all(heard), "one socket heard all"
        assert sum(map(len, heard)) + len(echo.heard) == len(askers)
        assert echo.heard
    with pytest.raises(ListenError, match="the port is in use"):
        listen([echo.socket.authority])
    close(further)
    loop.call(echo.socket.close)


@pytest.mark.parametrize("address", ["127.0.0.1:0", pytest.param("[::1]:0", marks=needs_ipv6)])
def test_a_port_in_use_is_one_clear_error(address: str) -> None:
    sockets, _ = listen([address])
    taken = sockets[0].authority
    with pytest.raises(ListenError, match="the port is in use") as caught:
        listen(["127.0.0.1:0", taken])
    assert taken in str(caught.value)
    assert "--listen" in caught.value.hint
    close(sockets)
    close(listen([taken])[0])


BAD = [
    "",
    ":5683",
    "127.0.0.1:",
    "127.0.0.1:x",
    "127.0.0.1:65536",
    "127.0.0.1:-1",
    "127.0.0.1:\u0663",
    "::1:5683",
    "[::1",
    "[127.0.0.1]:5683",
    "[]:5683",
    "coap://127.0.0.1",
]


@pytest.mark.parametrize("address", BAD)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ListenError) as caught:
        listen([address])
    assert caught.value.hint


@pytest.mark.parametrize("address", ["192.0.2.1:0", "a..b:0", "x" * 64 + ":0", "a\0b:0"])
def test_what_is_no_address_of_this_machine_is_refused(address: str) -> None:
    with pytest.raises(ListenError, match="cannot listen on"):
        listen([address])


def test_a_name_that_is_unknown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(ListenError, match="no such host"):
        listen(["nowhere.invalid:5683"])


def test_a_host_alone_has_the_default_port(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def lookup(host: str, port: int, **_: object) -> list[object]:
        asked.append((host, port))
        return []

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    for address in ("127.0.0.1", "[::1]", "server.example"):
        with pytest.raises(ListenError):
            listen([address])
    assert asked == [("127.0.0.1", 5683), ("::1", 5683), ("server.example", 5683)]


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_listens_on_ipv4_by_default(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    made: list[object] = []

    class NoIPv6(UdpSocket):
        def __init__(self, family: int, address: tuple[str, int], **options: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(number, "no IPv6")
            super().__init__(family, (address[0], 0), **options)
            made.append(address)

    monkeypatch.setattr(udp, "UdpSocket", NoIPv6)
    sockets, left_out = listen()
    assert made == [("127.0.0.1", 5683)]
    assert len(left_out) == 1
    assert LOOPBACK[1] in left_out[0]
    close(sockets)
    with pytest.raises(ListenError):
        listen(["[::1]:0"])


@pytest.mark.parametrize(
    ("bind", "ask", "family"),
    [
        ("127.0.0.1:0", "127.0.0.1", socket.AF_INET),
        ("127.0.0.2:0", "127.0.0.2", socket.AF_INET),
        ("0.0.0.0:0", "127.0.0.1", socket.AF_INET),
        ("0.0.0.0:0", "127.77.0.3", socket.AF_INET),
        pytest.param("[::1]:0", "::1", socket.AF_INET6, marks=needs_ipv6),
        pytest.param("[::]:0", "::1", socket.AF_INET6, marks=needs_ipv6),
    ],
)
def test_the_answer_comes_from_the_address_that_was_asked(
    loop: LoopThread, bind: str, ask: str, family: socket.AddressFamily
) -> None:
    echo = loop.call(Echo, bind)
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.sendto(b"ping", (ask, port(echo.socket)))
        answer, sender = asker.recvfrom(100)
    assert (answer, sender[:2]) == (b"ping", (ask, port(echo.socket)))
    loop.call(echo.socket.close)


@needs_ipv6
def test_both_families_may_have_one_port() -> None:
    first, _ = listen(["0.0.0.0:0"])
    second, _ = listen([f"[::]:{port(first[0])}"])
    close(first + second)


def test_the_largest_datagrams_come_whole(loop: LoopThread) -> None:
    echo = loop.call(Echo, "127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.connect(("127.0.0.1", port(echo.socket)))
        for size in (0, 1, 65_507):
            asker.send(bytes(size))
            assert asker.recv(65_535) == bytes(size)
    loop.call(echo.socket.close)


def test_multicast_and_broadcast_are_not_heard(loop: LoopThread) -> None:
    echo = loop.call(Echo, "0.0.0.0:0")
    group = socket.inet_aton("224.0.1.187")
    loopback = socket.inet_aton("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + loopback)  # the host hears the group
        asker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asker.sendto(b"multicast", ("224.0.1.187", port(echo.socket)))
        asker.sendto(b"broadcast", ("127.255.255.255", port(echo.socket)))
        asker.sendto(b"unicast", ("127.0.0.1", port(echo.socket)))
        assert asker.recv(100) == b"unicast"
    assert echo.heard == [b"unicast"]
    loop.call(echo.socket.close)


@needs_ipv6
def test_ipv6_multicast_is_not_heard(loop: LoopThread) -> None:
    echo = loop.call(Echo, "[::]:0")
    group = socket.inet_pton(socket.AF_INET6, "ff02::fd")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 0)  # not beyond this machine
        for interface, _ in socket.if_nameindex():
            try:
                asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", interface))
                asker.sendto(b"multicast", ("ff02::fd", port(echo.socket), 0, interface))
            except OSError:  # the loopback interface takes no IPv6 multicast
                continue
        asker.sendto(b"unicast", ("::1", port(echo.socket)))
        assert asker.recv(100) == b"unicast"
    assert echo.heard == [b"unicast"]
    loop.call(echo.socket.close)


def ask(echo: Echo, asker: socket.socket, datagram: bytes = b"ping") -> Endpoint:
    """Have a datagram answered; return its endpoint."""
    asker.settimeout(10)
    asker.sendto(datagram, ("127.0.0.1", port(echo.socket)))
    assert asker.recv(100) == datagram
    return echo.endpoints[-1]


def test_what_the_kernel_will_not_send_is_lost_alone(loop: LoopThread) -> None:
    echo = loop.call(Echo, "127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        endpoint = ask(echo, asker)
        sent = [b"first", bytes(70_000), b"second", bytes(70_000), bytes(70_000), b"third"]
        loop.call(echo.socket.send, sent, [endpoint] * len(sent))
        assert [asker.recv(100) for _ in range(3)] == [b"first", b"second", b"third"]
        loop.call(echo.socket.close)
        loop.call(echo.socket.send, [b"after closing"], [endpoint])


def test_a_burst_is_received_whole_and_answered_whole(loop: LoopThread) -> None:
    """More than one system call takes."""
    echo = loop.call(Echo, "127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        endpoint = ask(echo, asker)
        asker.settimeout(10)
        for size in (1, 200, 600):
            sent = [number.to_bytes(2, "big") + bytes(size) for number in range(100)]
            echo.heard.clear()
            for datagram in sent:
                asker.sendto(datagram, ("127.0.0.1", port(echo.socket)))
            assert sorted(asker.recv(1_000) for _ in sent) == sent
            assert sorted(echo.heard) == sent
        assert set(echo.endpoints) == {endpoint}
        many = [bytes([number & 0xFF]) for number in range(2 * mmsg.BATCH + 1)]
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        received = loop.run(_send_and_receive(echo, many, endpoint, asker))
        assert received == many
    loop.call(echo.socket.close)


async def _send_and_receive(
    echo: Echo, datagrams: list[bytes], endpoint: Endpoint, asker: socket.socket
) -> list[bytes]:
    received: list[bytes] = []
    for start in range(0, len(datagrams), mmsg.BATCH):
        piece = datagrams[start : start + mmsg.BATCH]
        echo.socket.send(piece, [endpoint] * len(piece))
        received += [asker.recv(100) for _ in piece]
    return received


def test_endpoints_tell_peers_and_our_addresses_apart(loop: LoopThread) -> None:
    echo = loop.call(Echo, "0.0.0.0:0")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        for asker in (one, two, one, two):
            for address in ("127.0.0.1", "127.0.0.9"):
                asker.settimeout(10)
                asker.sendto(b"ping", (address, port(echo.socket)))
                assert asker.recvfrom(100) == (b"ping", (address, port(echo.socket)))
    assert len(set(echo.endpoints)) == 4
    loop.call(echo.socket.close)


def test_our_addresses_are_remembered_in_bounds(loop: LoopThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmsg, "_LOCALS", 2)
    echo = loop.call(Echo, "0.0.0.0:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        for number in [*range(1, 9), *range(1, 9)]:
            asker.sendto(b"ping", (f"127.0.0.{number}", port(echo.socket)))
            assert asker.recvfrom(100)[1][0] == f"127.0.0.{number}"
    loop.call(echo.socket.close)


def test_a_peer_that_is_gone_does_not_disturb_the_socket(loop: LoopThread) -> None:
    """The ICMP error for an answer to a closed port must not reach the next reader."""
    echo = loop.call(Echo, "127.0.0.1:0")
    for _ in range(5):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            gone.sendto(b"first", ("127.0.0.1", port(echo.socket)))
            gone.sendto(b"second", ("127.0.0.1", port(echo.socket)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.sendto(b"still there", ("127.0.0.1", port(echo.socket)))
        assert asker.recv(100) == b"still there"
    loop.call(echo.socket.close)


def test_a_stopped_socket_hears_nothing_but_still_sends(loop: LoopThread) -> None:
    echo = loop.call(Echo, "127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        endpoint = ask(echo, asker)
        loop.call(echo.socket.stop)
        asker.sendto(b"another", ("127.0.0.1", port(echo.socket)))
        loop.run(asyncio.sleep(0))
        loop.call(echo.socket.send, [b"pong"], [endpoint])
        assert asker.recv(100) == b"pong"
    assert echo.heard == [b"ping"]
    loop.call(echo.socket.close)


def test_all_that_has_come_is_handed_on_in_its_order(loop: LoopThread) -> None:
    """Also when one sender fills a batch."""
    echo = loop.call(Echo, "127.0.0.1:0")
    sent = [number.to_bytes(2, "big") for number in range(mmsg.BATCH + 1)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        loop.call(_send_all, asker, echo, sent)
        assert [asker.recv(100) for _ in sent] == sent
    assert echo.heard == sent
    loop.call(echo.socket.close)


def _send_all(asker: socket.socket, echo: Echo, datagrams: list[bytes]) -> None:
    asker.connect(("127.0.0.1", port(echo.socket)))
    for datagram in datagrams:
        asker.send(datagram)


class LastFirst:
    """A scheduler that hands on one datagram a turn, the latest first."""

    def __init__(self, full: int, source: slice) -> None:
        self.full = full
        self.source = source
        self.waiting: list[tuple[bytes, Endpoint]] = []

    def __len__(self) -> int:
        return len(self.waiting)

    def take(
        self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint], now: float
    ) -> tuple[Sequence[bytes], Sequence[Endpoint]]:
        self.waiting += zip(datagrams, endpoints, strict=True)
        next_ones, self.waiting = self.waiting[-1:], self.waiting[:-1]
        return [datagram for datagram, _ in next_ones], [endpoint for _, endpoint in next_ones]


def test_the_scheduler_says_what_is_next_until_nothing_waits(loop: LoopThread) -> None:
    made: list[LastFirst] = []

    def scheduling(full: int, source: slice) -> LastFirst:
        made.append(LastFirst(full, source))
        return made[-1]

    echo = loop.call(Echo, "127.0.0.1:0", scheduling)
    sent = [b"1", b"2", b"3", b"4"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        loop.call(_send_all, asker, echo, sent)
        assert [asker.recv(100) for _ in sent] == sent[::-1]
        assert echo.heard == sent[::-1]
        assert echo.endpoints[0][made[0].source] == socket.inet_aton("127.0.0.1")
    further = echo.socket.another()
    assert len(made) == 2, "each socket has a scheduler of its own"
    assert made[0].full == made[1].full == echo.socket._batches.full
    further.close()
    loop.call(echo.socket.close)
