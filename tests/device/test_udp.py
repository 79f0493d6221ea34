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
FIRST, SECOND, THIRD = ("2001:db8::7", 5683), ("192.0.2.7", 5683), ("192.0.2.8", 5683)


class World:
    """Stands for the modules `socket` and `time`: one server that answers by `reply`, and a clock that jumps."""

    SOCK_DGRAM = 2

    def __init__(self, reply: "Callable[[World, bytes], bytes | None]", addresses: "tuple[Any, ...]" = (PEER,)) -> None:
        self.reply = reply
        self.server = Server()
        self.now = 0.0
        self.names: dict[str, tuple[Any, ...]] = {"192.0.2.1": addresses, "2001:db8::2": (ELSEWHERE,)}
        self.lookups: list[str] = []
        self.lookup_takes = 0.0
        self.unreachable: set[object] = set()
        self.no_family: set[int] = set()
        self.sent: list[tuple[object, bytes]] = []
        self.waiting: list[tuple[bytes, object]] = []
        self.open = 0

    def monotonic_ns(self) -> int:
        return int(self.now * 1000000000)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def getaddrinfo(self, host: str, port: int) -> "list[tuple[int, int, int, str, Any]]":
        self.lookups.append(host)
        self.now += self.lookup_takes
        if host not in self.names:
            raise OSError(-2)
        found = []
        for address in self.names[host]:
            assert port == address[1]
            family = 10 if ":" in address[0] else 2
            found += [(family, kind, protocol, "", address) for kind, protocol in ((1, 6), (2, 17), (3, 0))]
        return found

    def socket(self, family: int, kind: int) -> "World":
        if family in self.no_family:
            raise OSError(97)
        self.open += 1
        return self

    def close(self) -> None:
        self.open -= 1
        self.waiting = []

    def sendto(self, datagram: bytes, address: object) -> None:
        if address in self.unreachable:
            raise OSError(101)
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


def test_the_trace_sees_every_datagram() -> None:
    seen: list[tuple[str, int]] = []
    world = World(good)
    world.run(trace=lambda direction, datagram: seen.append((direction, len(datagram))))
    assert seen == [("sent", 85), ("received", 83), ("sent", 56), ("received", 34)]


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
    seen: list[str] = []
    done = world.run(deadline_ms=20000, trace=lambda direction, datagram: seen.append(direction))
    assert done.state == "REQUESTING"
    assert world.sent == []
    assert len(world.lookups) > 2
    assert seen == []  # nothing was sent, though it tried


def answered_at(*addresses: object) -> "Callable[[World, bytes], bytes | None]":
    """A server that listens at some of its addresses only."""
    return lambda world, datagram: good(world, datagram) if world.sent[-1][0] in addresses else None


def test_each_attempt_is_with_the_next_address_of_the_name() -> None:
    for addresses, listening, tried in (
        ((FIRST, SECOND), (SECOND,), [FIRST, SECOND]),
        ((FIRST, SECOND), (FIRST, SECOND), [FIRST]),
        ((FIRST, SECOND, THIRD), (THIRD,), [FIRST, SECOND, THIRD]),
    ):
        world = World(answered_at(*listening), addresses)
        assert world.run().state == "REGISTERED"
        seen: list[object] = []
        for address, _ in world.sent:
            if address not in seen:
                seen.append(address)
        assert seen == tried
        assert [address for address, _ in world.sent] == [at for at in tried[:-1] for _ in range(5)] + 2 * [tried[-1]]
        assert len(world.lookups) == len(tried)


def test_after_the_last_address_the_first_comes_again() -> None:
    world = World(lambda world, datagram: None, (FIRST, SECOND))
    world.run(deadline_ms=500000)
    assert [address for address, _ in world.sent][:20] == 5 * [FIRST] + 5 * [SECOND] + 5 * [FIRST] + 5 * [SECOND]


def test_an_address_to_which_there_is_no_way_is_passed_over_at_once() -> None:
    cases: tuple[tuple[set[int], set[object]], ...] = (({10}, set()), (set(), {FIRST}))
    for families, unreachable in cases:
        world = World(good, (FIRST, SECOND))
        world.no_family = families
        world.unreachable = unreachable
        assert world.run().state == "REGISTERED"
        assert [address for address, _ in world.sent] == [SECOND, SECOND]
        assert world.now < 1


def test_without_a_way_to_any_address_it_looks_the_name_up_again_until_there_is_one() -> None:
    class Joining(World):
        """A network that the device joins after some time."""

        def sleep(self, seconds: float) -> None:
            self.now += seconds
            if self.now > 7:
                self.unreachable.clear()

    world = Joining(good, (FIRST, SECOND))
    world.unreachable = {FIRST, SECOND}
    assert world.run(deadline_ms=5000).state == "REQUESTING"
    assert world.sent == []
    assert len(world.lookups) > 1
    assert world.run().state == "REGISTERED"
    assert [address for address, _ in world.sent] == [FIRST, FIRST]


def test_a_success_that_is_not_answered_goes_to_the_next_address() -> None:
    def reply(world: World, datagram: bytes) -> "bytes | None":
        asked = Sent(datagram).payload[2] == 1
        return good(world, datagram) if asked or world.sent[-1][0] == SECOND else None

    world = World(reply, (FIRST, SECOND))
    assert world.run().state == "REGISTERED"
    assert [address for address, _ in world.sent] == 6 * [FIRST] + [SECOND]


def test_a_redirect_begins_with_the_first_address_of_the_other_name() -> None:
    def reply(world: World, datagram: bytes) -> "bytes | None":
        sent = Sent(datagram)
        if world.sent[-1][0] == SECOND:
            away = world.server.response(sent.payload, status=6, server_uri="coap://[2001:db8::2]:5684")
            return answer(sent, away, FORBIDDEN)
        return good(world, datagram) if world.sent[-1][0] == ELSEWHERE else None

    world = World(reply, (FIRST, SECOND))
    world.names["2001:db8::2"] = (ELSEWHERE, ("192.0.2.9", 5684))
    assert world.run().state == "REGISTERED"
    assert [address for address, _ in world.sent] == 5 * [FIRST] + [SECOND] + 2 * [ELSEWHERE]


def test_a_late_answer_after_a_hint_is_taken_on_the_same_socket() -> None:
    def reply(world: World, datagram: bytes) -> "bytes | None":
        late = good(world, datagram)
        world.waiting.append((answer(Sent(datagram), code=UNAUTHORIZED), world.sent[-1][0]))
        return late

    world = World(reply, (FIRST, SECOND))
    assert world.run().state == "REGISTERED"
    assert [address for address, _ in world.sent] == [FIRST, FIRST]
    assert len(world.lookups) == 1
    assert world.now < 1


def test_a_slow_name_service_counts_towards_the_deadline_and_nothing_is_sent_after_it() -> None:
    world = World(good)
    world.lookup_takes = 6
    assert world.run(deadline_ms=5000).state == "REQUESTING"
    assert world.sent == []
    assert len(world.lookups) == 1
    assert world.now == 6
    assert world.run(deadline_ms=7000).state == "REGISTERED"


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
