"""The device's edge to the network, over a network, a name service and a clock that the test makes."""

from dpe_device import udp
from dpe_device.udp import Clock, parse_uri, register
from tests.device.scripted import (
    CREDENTIAL,
    FORBIDDEN,
    PEER,
    UNAUTHORIZED,
    Memory,
    Sent,
    Server,
    answer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ELSEWHERE = ("2001:db8::2", 5684)


class World:
    """Stands for the modules `socket` and `time`: one server that answers by `reply`, and a clock that jumps."""

    SOCK_DGRAM = 2

    def __init__(self, reply: "Callable[[World, bytes], bytes | None]") -> None:
        self.reply = reply
        self.server = Server()
        self.now = 0.0
        self.names = {"192.0.2.1": PEER, "2001:db8::2": ELSEWHERE}
        self.lookups: list[str] = []
        self.sent: list[tuple[object, bytes]] = []
        self.waiting: list[tuple[bytes, object]] = []
        self.open = 0

    def monotonic_ns(self) -> int:
        return int(self.now * 1000000000)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def getaddrinfo(self, host: str, port: int) -> "list[tuple[int, int, int, str, Any]]":
        self.lookups.append(host)
        if host not in self.names:
            raise OSError(-2)
        assert port == self.names[host][1]
        return [(2, 2, 17, "", self.names[host])]

    def socket(self, family: int, kind: int) -> "World":
        self.open += 1
        return self

    def close(self) -> None:
        self.open -= 1
        self.waiting = []

    def sendto(self, datagram: bytes, address: object) -> None:
        self.sent.append((address, datagram))
        reply = self.reply(self, datagram)
        if reply is not None:
            self.waiting.append((reply, address))

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def recvfrom(self, size: int) -> "tuple[bytes, object]":
        assert size >= 256 + 32
        if self.waiting:
            self.now += 0.01
            return self.waiting.pop(0)
        self.now += self.timeout
        raise OSError(110)

    def run(self, **options: "Any") -> "Any":
        """`register` in this world."""
        edge: Any = udp
        modules = edge.socket, edge.time
        edge.socket = edge.time = self
        try:
            done = register(dict(CREDENTIAL), options.pop("storage", None) or Memory(), **options)
        finally:
            edge.socket, edge.time = modules
        assert self.open == 0
        return done


def good(world: World, datagram: bytes) -> bytes:
    """What a server answers that accepts everybody."""
    sent = Sent(datagram)
    if sent.payload[2] == 1:
        return answer(sent, world.server.response(sent.payload))
    return answer(sent, world.server.confirm(sent.payload))


def test_registers_over_one_socket_and_closes_it() -> None:
    world = World(good)
    done = world.run()
    assert done.state == "REGISTERED"
    assert [address for address, _ in world.sent] == [PEER, PEER]
    assert world.lookups == ["192.0.2.1"]


def test_registers_anew_unless_a_success_waits() -> None:
    storage = Memory()
    assert World(good).run(storage=storage).state == "REGISTERED"
    world = World(good)
    assert world.run(storage=storage).state == "REGISTERED"
    assert len(world.sent) == 2

    world = World(lambda world, datagram: good(world, datagram) if Sent(datagram).payload[2] == 1 else None)
    assert world.run(storage=storage, deadline_ms=10000).state == "CONFIRMING"
    again = World(good)
    again.server = world.server
    assert again.run(storage=storage).state == "REGISTERED"
    assert len(again.sent) == 1


def test_the_trace_sees_every_datagram_even_a_lost_one() -> None:
    seen: list[tuple[str, int]] = []
    world = World(good)
    world.run(trace=lambda direction, datagram: seen.append((direction, len(datagram))))
    assert seen == [("sent", 83), ("received", 81), ("sent", 54), ("received", 32)]


def test_gives_up_at_the_deadline_in_whatever_state_it_is() -> None:
    world = World(lambda world, datagram: None)
    done = world.run(deadline_ms=5000)
    assert done.state == "REQUESTING"
    assert 5 <= world.now < 5.1
    assert 2 <= len(world.sent) <= 3

    world = World(lambda world, datagram: answer(Sent(datagram), code=UNAUTHORIZED))
    assert world.run(deadline_ms=100000).state == "BACKOFF"
    assert world.now >= 100


def test_a_refusal_ends_it() -> None:
    world = World(
        lambda world, datagram: answer(
            Sent(datagram), world.server.response(Sent(datagram).payload, status=2), FORBIDDEN
        )
    )
    assert world.run().state == "REFUSED"


def test_declining_ends_it() -> None:
    def reply(world: World, datagram: bytes) -> bytes:
        sent = Sent(datagram)
        if sent.payload[2] == 1:
            return answer(sent, world.server.response(sent.payload))
        return answer(sent, world.server.confirm(sent.payload, 32))

    world = World(reply)
    assert world.run(accept=lambda client_id, version: 16).state == "IDLE"


def test_follows_a_redirect_to_the_other_address() -> None:
    def reply(world: World, datagram: bytes) -> bytes:
        sent = Sent(datagram)
        if len(world.sent) == 1:
            redirect = world.server.response(sent.payload, status=6, server_uri="coap://[2001:db8::2]:5684")
            return answer(sent, redirect, FORBIDDEN)
        return good(world, datagram)

    world = World(reply)
    assert world.run().state == "REGISTERED"
    assert [address for address, _ in world.sent] == [PEER, ELSEWHERE, ELSEWHERE]


def test_a_redirect_that_leads_nowhere_ends_at_home() -> None:
    for uri in ("coaps://192.0.2.9", "coap://nowhere.example", "what"):

        def reply(world: World, datagram: bytes, uri: str = uri) -> "bytes | None":
            sent = Sent(datagram)
            if world.now < 1:
                return answer(sent, world.server.response(sent.payload, status=6, server_uri=uri), FORBIDDEN)
            return good(world, datagram)

        world = World(reply)
        assert world.run().state == "REGISTERED"
        assert [address for address, _ in world.sent] == [PEER, PEER, PEER]


def test_an_unknown_name_counts_as_a_lost_datagram() -> None:
    world = World(good)
    world.names = {}
    lost: list[str] = []
    done = world.run(deadline_ms=20000, trace=lambda direction, datagram: lost.append(direction))
    assert done.state == "REQUESTING"
    assert world.sent == []
    assert len(world.lookups) == len(lost) > 2


def test_each_attempt_looks_the_name_up_again() -> None:
    def reply(world: World, datagram: bytes) -> bytes:
        if len(world.sent) < 3:
            return answer(Sent(datagram), code=UNAUTHORIZED)
        return good(world, datagram)

    world = World(reply)
    assert world.run().state == "REGISTERED"
    assert len(world.lookups) == 3


def test_the_parts_of_a_uri() -> None:
    for uri, host, port in (
        ("coap://a.example", "a.example", 5683),
        ("coap://a.example:1", "a.example", 1),
        ("coap://192.0.2.1:65535", "192.0.2.1", 65535),
        ("coap://[::1]", "::1", 5683),
        ("coap://[::1]:5684", "::1", 5684),
        ("coap://a.example/path", "a.example", 5683),
        ("coap://a.example:7/", "a.example", 7),
        ("coap://[fe80::1%eth0]:7/x", "fe80::1%eth0", 7),
    ):
        assert parse_uri(uri) == (host, port)


def test_what_is_no_uri_of_a_server_is_refused() -> None:
    for uri in (
        "",
        "a.example",
        "coaps://a.example",
        "http://a.example",
        "coap://",
        "coap://:5683",
        "coap:///path",
        "coap://a.example:0",
        "coap://a.example:65536",
        "coap://a.example:-1",
        "coap://a.example:x",
        "coap://2001:db8::1",
        "coap://[::1",
        "coap://[::1]x",
        "coap://[::1]5683",
        "coap://[]",
    ):
        try:
            parse_uri(uri)
        except ValueError:
            continue
        raise AssertionError(uri)


class Ticks:
    """A `ticks_ms` that wraps at 2**30, as on a board."""

    def __init__(self, start: int) -> None:
        self.ticks = start

    def ticks_ms(self) -> int:
        return self.ticks & 0x3FFFFFFF

    def ticks_diff(self, end: int, start: int) -> int:
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000


def test_the_clock_does_not_wrap_with_the_ticks() -> None:
    ticks = Ticks(0x3FFFFFFF - 10)
    edge: Any = udp
    module = edge.time
    edge.time = ticks
    try:
        clock = Clock()
        assert clock.now() == 0
        total = 0
        for step in (1, 20, 0, 1000000, 0x1FFFFFFF, 0x1FFFFFFF, 0x1FFFFFFF):
            ticks.ticks += step
            total += step
            assert clock.now() == total
    finally:
        edge.time = module
