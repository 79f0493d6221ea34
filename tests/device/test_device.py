"""A device that reports and deregisters over the network, the name service and the clock that the test makes."""

from dpe_device import messages, udp
from dpe_device.aes import AES
from dpe_device.device import Device
from dpe_device.oscore import Context
from dpe_device.values import decode, encode
from tests.device.scripted import CHANGED, CLIENT_ID, CREDENTIAL, UNAUTHORIZED, Memory, Sent, answer
from tests.device.sessions import DELETE, POST, Request
from tests.device.test_udp import World, good

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ETAG = b"\1\2\3\4"


class Network(World):
    """A network with a server that registers and takes reports."""

    def __init__(self) -> None:
        World.__init__(self, lambda world, datagram: self.serve(datagram))
        self.policies: dict[Any, Any] = {0: {}, 1: {}}
        self.reports: list[Any] = []
        self.code = CHANGED
        self.silent = False
        self.ended = 0
        self.storage = Memory()

    def serve(self, datagram: bytes) -> "bytes | None":
        if self.silent:
            return None
        sent = Sent(datagram)
        if datagram[8] >> 4 != 9:
            reply = good(self, datagram)
            if len(sent.payload) == 32:
                self.context = Context(CLIENT_ID, messages.export(self.server.prk3, self.server.th3), AES)
            return reply
        if not hasattr(self, "context"):
            return answer(sent, code=UNAUTHORIZED)
        request = Request(sent, self.context)
        told = b""
        code = self.code
        if request.method == POST:
            report = decode(request.payload)
            self.reports.append(report.get(1))
            if report.get(0) != ETAG and code < 0x80:
                told = b"\xc1\x3c\xff" + encode({0: ETAG, 2: 3600, 3: self.policies})
        elif request.method == DELETE:
            self.ended += 1
            code = 0x42
        self.context.protect(request.number, 0, b"")
        text = bytes((code,)) + told
        sealed = self.context._count(self.context._response, text, 1) + self.context._tag(self.context._response, text)
        return answer(sent, sealed, options=((9, b""),))

    def device(self, **options: "Any") -> Device:
        """Power on."""
        made: Device = self.within(lambda: Device(dict(CREDENTIAL), self.storage, AES, **options))
        return made

    def within(self, call: "Callable[[], Any]") -> "Any":
        """Call something in this world."""
        edge: Any = udp
        modules = edge.socket, edge.time
        edge.socket = edge.time = self
        try:
            return call()
        finally:
            edge.socket, edge.time = modules
            assert self.open == 0

    def report(self, device: Device, values: "dict[Any, Any]", deadline_ms: "int | None" = None) -> "Any":
        return self.within(lambda: udp.report(device, values, deadline_ms=deadline_ms))


def test_reports_registers_for_it_and_closes_the_socket() -> None:
    network = Network()
    device = network.device()
    assert network.report(device, {0: 87, 1: "1.4.2", 7: True}) == {}
    assert network.reports == [{0: 87, 1: "1.4.2", 7: True}]
    assert device.registration.state == "READY"
    assert device.registration.lifetime == 3600
    assert len(network.sent) == 3
    assert network.lookups == ["192.0.2.1"] * 2  # for the registration, and for the session


def test_reports_only_what_is_due_and_sends_nothing_when_nothing_is() -> None:
    network = Network()
    device = network.device()
    network.report(device, {0: 87, 1: "1.4.2", 7: True})
    sent = len(network.sent)
    network.report(device, {0: 87})
    assert len(network.sent) == sent
    network.report(device, {0: 86, 7: False})
    assert network.reports[1:] == [{0: 86}]


def test_rests_until_something_is_due_or_the_session_is_to_be_refreshed() -> None:
    network = Network()
    network.policies = {0: {0: 60}}
    device = network.device()
    network.report(device, {0: 87})
    rest = network.within(device.rest)
    assert 1700 < rest <= 1800
    device.reporter.values[0] = 86
    rest = network.within(device.rest)
    assert 50 < rest <= 60
    network.sleep(rest)
    network.report(device, {})
    assert network.reports[1:] == [{0: 86}]
    network.sleep(network.within(device.rest))
    network.report(device, {})
    assert network.reports[2:] == [None]


def test_after_a_boot_all_is_reported_again_and_the_session_goes_on() -> None:
    network = Network()
    network.report(network.device(), {0: 87})
    device = network.device()
    device.reporter.take(encode({0: ETAG, 3: network.policies}))
    network.report(device, {0: 87, 1: "x", 7: 1})
    assert network.reports[1:] == [{0: 87, 1: "x"}]
    assert len(network.sent) == 4


def test_the_first_report_after_a_boot_refreshes_the_session_though_nothing_is_due() -> None:
    network = Network()
    network.policies = {}
    network.report(network.device(), {0: 87})
    device = network.device()
    device.reporter.take(encode({0: ETAG, 3: {}}))
    for _ in range(2):
        network.report(device, {0: 86})
    assert network.reports[1:] == [None]


def test_what_the_server_refuses_is_told() -> None:
    network = Network()
    device = network.device()
    network.report(device, {0: 87})
    network.code = 0x8D
    assert network.report(device, {0: 86, 1: "x"}) == {0: 0x8D, 1: 0x8D}
    network.code = CHANGED
    assert network.report(device, {0: 86}) == {}
    assert network.reports[-1] == {0: 86}


def test_a_value_that_is_none_is_told_and_the_rest_is_sent() -> None:
    network = Network()
    assert network.report(network.device(), {0: float("nan"), 1: "x"}) == {0: 0}
    assert network.reports == [{1: "x"}]


def test_the_deadline_counts_from_each_call_and_the_rest_stays_due() -> None:
    network = Network()
    device = network.device()
    network.report(device, {0: 87})
    network.sleep(1000)
    network.silent = True
    now = network.now
    assert network.report(device, {0: 86}, 5000) == {}
    assert 5 <= network.now - now <= 5.1
    network.silent = False
    assert network.report(device, {}) == {}
    assert network.reports[1:] == [{0: 86}]


def test_an_answer_that_is_longer_than_the_room_for_it_is_told() -> None:
    network = Network()
    network.policies = {n: {1: 86400} for n in range(60)}
    device = network.device(longest=320)
    assert network.report(device, {0: 87}, 300000) == {None: 0}
    assert network.reports[0] == {0: 87}  # the server has it
    device = network.device()
    assert network.report(device, {0: 87}) == {}
    assert device.registration.state == "READY"


class Scarce(Network):
    """A device on it has no memory for more than `room` bytes at once."""

    room = 600

    def recvfrom(self, size: int) -> "tuple[bytes, object]":
        if size > self.room:
            raise MemoryError
        datagram, sender = Network.recvfrom(self, 512)
        return datagram[:size], sender


def test_a_device_without_the_memory_to_receive_so_much_receives_less() -> None:
    network = Scarce()
    device = network.device()
    assert network.report(device, {0: 87}) == {}
    assert (device.longest, network.reports) == (544, [{0: 87}])
    assert len(network.sent) == 3  # nothing was lost for it
    network.room = 300
    assert network.report(device, {0: 86}) == {}
    assert (device.longest, network.reports[1:]) == (272, [{0: 86}])
    assert len(network.sent) == 4


def test_an_answer_for_which_a_device_receives_too_little_is_told() -> None:
    network = Scarce()
    network.room = 300
    network.policies = {n: {1: 86400} for n in range(60)}
    device = network.device()
    assert network.report(device, {0: 87}, 100000) == {None: 0}
    network.policies = {0: {}}
    assert network.report(device, {0: 87}) == {}
    assert device.registration.state == "READY"


def test_a_device_without_the_memory_for_most_messages_says_so() -> None:
    network = Scarce()
    network.room = 100
    device = network.device(longest=320)
    try:
        network.report(device, {0: 87})
    except MemoryError:
        network.room = 160
        assert network.report(device, {0: 87}) == {}
        assert device.longest == 160
        return
    raise AssertionError


def test_an_answer_for_which_there_is_no_memory_is_told() -> None:
    network = Network()
    device = network.device()

    def unprotect(ciphertext: bytes) -> "Any":
        raise MemoryError

    network.report(device, {0: 87})
    setattr(device.registration._context, "unprotect", unprotect)  # noqa: B010  # no type checker likes it
    assert network.report(device, {0: 86}, 10000) == {None: 0}
    del device.registration._context.unprotect
    assert network.report(device, {}) == {}
    assert network.reports[-1] == {0: 86}


def test_deregisters_and_says_whether_it_was_confirmed() -> None:
    for silent in (False, True):
        network = Network()
        device = network.device()
        network.report(device, {0: 87})
        network.silent = silent
        assert network.within(lambda: udp.deregister(device)) != silent  # noqa: B023  # called at once
        assert device.registration.state == "IDLE"
        assert network.ended == (not silent)
        sent = len(network.sent)
        assert not network.within(lambda: udp.deregister(device))  # noqa: B023  # there is nothing to end
        network.report(device, {0: 1})
        assert len(network.sent) == sent
        network.silent = False
        device.registration.start()
        network.report(device, {})
        assert network.reports[-1] == {0: 1}


def test_a_deadline_while_deregistering_leaves_it_to_the_next_call_or_boot() -> None:
    network = Network()
    device = network.device()
    network.report(device, {0: 87})
    network.silent = True
    assert not network.within(lambda: udp.deregister(device, deadline_ms=1000))
    network.silent = False
    device = network.device()
    network.report(device, {0: 1})
    assert (device.registration.state, network.ended) == ("IDLE", 1)
    assert network.reports == [{0: 87}]


def test_a_refusal_of_the_registration_ends_the_report() -> None:
    network = Network()
    network.reply = lambda world, datagram: answer(
        Sent(datagram), world.server.response(Sent(datagram).payload, status=2), 0x83
    )
    device = network.device()
    assert network.report(device, {0: 87}) == {}
    assert (device.registration.state, device.registration.status) == ("REFUSED", 2)


def test_the_trace_sees_every_datagram() -> None:
    seen: list[str] = []
    network = Network()
    network.report(network.device(trace=lambda direction, datagram: seen.append(direction)), {0: 87})
    assert seen == ["sent", "received"] * 3
