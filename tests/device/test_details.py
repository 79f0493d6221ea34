"""What the DPE Client does to the millisecond and the byte: back-offs, its record, what it starts with."""

from dpe_device import messages, x25519
from dpe_device.registration import Registration
from tests.device.scripted import (
    CON,
    CREDENTIAL,
    DEVICE_KEY,
    HOME,
    NON,
    UNAUTHORIZED,
    UNAVAILABLE,
    Bench,
    Chance,
    Memory,
    Sent,
    answer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def waits(bench: Bench) -> int:
    """How long it backs off, in ms."""
    assert bench.state == "BACKOFF"
    assert bench.wake is not None
    return bench.wake - bench.now


def short() -> Bench:
    """A device whose back-off begins with 0.1 s, and is half of that at least."""
    return Bench(Chance(octet=0), backoff=100)


def test_what_it_starts_with() -> None:
    registration = Bench(versions=((2, 1), (1, 0))).registration
    assert registration.state == "IDLE"
    assert registration.server == HOME
    assert registration.version == (2, 1)
    for nothing in (registration.status, registration.client_id, registration.lifetime, registration.oscore):
        assert nothing is None


def test_what_is_optional_is_a_keyword() -> None:
    """Ten values in a row cannot be read, and a misspelt keyword must not pass unnoticed."""
    wrong: list[Callable[[], object]] = [
        lambda: Registration(dict(CREDENTIAL), Memory(), Chance(), ((1, 0),)),  # type: ignore[call-arg]
        lambda: Registration(dict(CREDENTIAL), Memory(), Chance(), back_off=1),  # type: ignore[call-arg]
        lambda: Registration(dict(CREDENTIAL), Memory(), Chance(), state="REGISTERED"),  # type: ignore[call-arg]
    ]
    for call in wrong:
        try:
            call()
        except TypeError:
            continue
        raise AssertionError("taken")


def test_a_peer_may_be_none_on_a_connected_socket() -> None:
    registration = Registration(dict(CREDENTIAL), Memory(), Chance())
    assert registration.peer is None
    datagram, _, _ = registration.step(1)
    assert datagram is not None
    registration.step(1, answer(Sent(datagram), code=UNAUTHORIZED), None)
    assert registration.state == "BACKOFF"


def test_start_is_idle_until_the_next_step_and_begins_with_the_first_back_off() -> None:
    bench = short()
    for _ in range(3):
        bench.step(answer(bench.wait_sent(), code=UNAUTHORIZED))
    assert waits(bench) == 200
    bench.start()
    assert bench.state == "IDLE"
    bench.step(answer(bench.wait_sent(), code=UNAUTHORIZED))
    assert waits(bench) == 50


def test_the_shortest_back_off_is_that_of_the_application_whatever_failed() -> None:
    bench = short()
    bench.wait_sent()
    bench.exhausted()
    assert waits(bench) == 50  # no answer
    bench = short()
    bench.step(answer(bench.wait_sent(), code=UNAVAILABLE))
    assert waits(bench) == 50  # an error without a hint
    bench = short()
    request = bench.wait_sent()
    bench.step(answer(request, bench.server.response(request.payload, status=3), UNAVAILABLE))
    assert waits(bench) == 50  # unavailable, without a hint
    bench = short()
    success = bench.offered()
    bench.step(answer(success, bench.server.confirm(success.payload, 16)))
    assert waits(bench) == 50  # superseded


def test_the_server_s_hint_is_the_least() -> None:
    bench = short()
    request = bench.wait_sent()
    bench.step(answer(request, bench.server.response(request.payload, status=3, retry_after=1000), UNAVAILABLE))
    assert waits(bench) == 1000000
    bench = short()
    bench.step(answer(bench.wait_sent(), code=UNAVAILABLE, options=((14, b"\x03\xe8"),)))
    assert waits(bench) == 1000000


def test_failures_are_counted_no_further_than_to_the_longest_back_off() -> None:
    """Else the number would grow with each, on a device that may try for years."""
    bench = Bench(Chance(octet=0))
    for _ in range(40):
        bench.step(answer(bench.wait_sent(), code=UNAUTHORIZED))
    assert waits(bench) == 1800000
    assert bench.registration._failures == 10


def test_a_datagram_without_a_whole_message_id_is_nothing() -> None:
    bench = Bench()
    bench.wait_sent()
    for datagram in (b"\x40", b"\x40\0", b"\x40\0\1"):
        assert bench.step(datagram) is None


def test_what_is_not_believed_does_not_hold_up_a_retransmission() -> None:
    bench = Bench()
    request = bench.wait_sent()
    assert bench.wake is not None
    bench.now = bench.wake
    assert bench.send(answer(request, bytes(72), kind=CON)).bytes == request.bytes


def test_what_is_not_believed_leaves_the_exchange_open() -> None:
    bench = Bench()
    request = bench.wait_sent()
    for kind in (CON, NON):
        for bad in (answer(request, kind=kind), answer(request, bytes(72), kind=kind)):
            assert bench.step(bad) is None
    assert bench.wait_sent().bytes == request.bytes
    success = bench.send(answer(request, bench.server.response(request.payload)))
    for kind in (CON, NON):
        for bad in (answer(success, kind=kind), answer(success, bytes(23), kind=kind)):
            assert bench.step(bad) is None
    assert bench.wait_sent().bytes == success.bytes


def test_the_success_goes_out_with_the_response_even_when_the_clock_begins() -> None:
    bench = Bench()
    bench.now = 0
    request = bench.send()
    assert len(bench.send(answer(request, bench.server.response(request.payload))).payload) == 32


def test_the_session_s_keys_are_those_of_the_server() -> None:
    bench = Bench()
    bench.registered()
    assert bench.registration.oscore == messages.export(bench.server.prk3, bench.server.th3)
    assert [len(key) for key in bench.registration.oscore or ()] == [16, 8]


def test_a_record_has_the_lifetime_and_three_for_a_mark() -> None:
    for lifetime, mark in ((None, 2), (0, 3), (60, 63), (4294967295, 4294967298)):
        bench = Bench()
        bench.registered(lifetime)
        record = bench.storage.record or b""
        assert record[4:9] == mark.to_bytes(5, "big")
        bench.boot()
        assert bench.registration.lifetime == lifetime


def test_an_implementation_of_x25519_gets_private_keys_of_32_octets() -> None:
    sizes: list[int] = []

    class Watched:
        @staticmethod
        def public(private: bytes) -> bytes:
            sizes.append(len(private))
            return x25519.public(private)

        shared = x25519.shared

    Bench(x25519=Watched, suite=2).wait_sent()
    bench = Bench(x25519=Watched)
    request = bench.wait_sent()
    bench.step(answer(request, bench.server.response(request.payload, status=4)))
    bench.wait()
    assert sizes == [32, 32]


def test_the_mac_of_a_request_is_under_the_device_s_key_for_the_realm() -> None:
    request = Bench().wait_sent().payload
    label = b"m1" + messages.sha256(b"lab").digest() + b"\1"
    messages.verify(DEVICE_KEY, label, request)
