"""What a server says without a security token is a hint to the DPE Client, and a forgery is nothing."""

from dpe_device import x25519
from tests.device.scripted import (
    ACK,
    CLIENT_ID,
    CON,
    FORBIDDEN,
    HOME,
    NON,
    RST,
    UNAUTHORIZED,
    UNAVAILABLE,
    Bench,
    Chance,
    Sent,
    answer,
    empty,
)


def test_a_forged_or_foreign_message_is_as_if_it_had_never_come() -> None:
    bench = Bench()
    request = bench.wait_sent()
    good = bench.server.response(request.payload)
    other = Bench(Chance(2)).wait_sent()
    bad = [
        good[:-1] + bytes([good[-1] ^ 1]),  # the MAC
        good[:9] + bytes([good[9] ^ 1]) + good[10:],  # the Client ID
        good[:-1],
        good + b"\0",
        b"\xff" * 20,
        request.payload,  # reflected
        bench.server.response(other.payload),  # of another REQUEST
        bench.server.response(request.payload, x25519_key=bytes(32)),  # a key that was not asked for
    ]
    wake = bench.wake
    for payload in bad:
        for code in (0x44, 0x45, UNAUTHORIZED, FORBIDDEN, UNAVAILABLE):
            for kind in (ACK, CON, NON):
                assert bench.step(answer(request, payload, code, kind)) is None
        assert bench.state == "REQUESTING"
        assert bench.wake == wake
    assert bench.send(answer(request, bench.server.response(request.payload))).code == 2
    assert bench.state == "CONFIRMING"


def test_a_forged_confirm_is_as_if_it_had_never_come() -> None:
    bench = Bench()
    request = bench.wait_sent()
    response = bench.server.response(request.payload)
    success = bench.send(answer(request, response))
    good = bench.server.confirm(success.payload)
    for payload in (
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:-1],
        success.payload,
        response,
        good[:4] + b"\1" + good[5:],
    ):
        assert bench.step(answer(success, payload)) is None
        assert bench.state == "CONFIRMING"
    bench.step(answer(success, good))
    assert bench.state == "REGISTERED"


def test_a_success_without_a_message_is_as_if_it_had_never_come() -> None:
    bench = Bench()
    request = bench.wait_sent()
    good = bench.server.response(request.payload)
    assert bench.step(answer(request)) is None
    assert bench.step(answer(request, good, options=())) is None
    assert bench.step(answer(request, good, options=((12, b""),))) is None
    assert bench.state == "REQUESTING"


def test_an_error_without_a_token_backs_off_and_tries_again() -> None:
    for code in (UNAUTHORIZED, 0x80, 0xA0, UNAVAILABLE):
        bench = Bench()
        request = bench.wait_sent()
        assert bench.step(answer(request, code=code)) is None
        assert bench.state == "BACKOFF"
        assert bench.registration.status is None
        assert bench.wake is not None
        assert 2500 <= bench.wake - bench.now < 7500
        again = bench.wait_sent()
        assert bench.state == "REQUESTING"
        assert again.payload[-32:-16] != request.payload[-32:-16]


def test_problem_details_are_a_hint_like_any_other() -> None:
    bench = Bench()
    request = bench.wait_sent()
    assert bench.step(answer(request, b"\xa1\x20\x61x", 0x80, options=((12, b"\x01\x01"),))) is None
    assert bench.state == "BACKOFF"


def test_a_reset_backs_off() -> None:
    bench = Bench()
    request = bench.wait_sent()
    assert bench.step(empty(RST, request.mid)) is None
    assert bench.entered == ["REQUESTING", "BACKOFF"]


def hints(request: Sent) -> "list[bytes]":
    """A reset, and errors without a security token: piggybacked, and separate."""
    return [
        empty(RST, request.mid),
        answer(request, code=UNAUTHORIZED),
        answer(request, code=UNAVAILABLE, options=((14, b"\x3c"),)),
        answer(request, code=UNAUTHORIZED, kind=CON, mid=b"\1\2"),
        answer(request, code=UNAUTHORIZED, kind=NON, mid=b"\1\2"),
        answer(request, b"\xa1\x20\x61x", 0x80, options=((12, b"\x01\x01"),)),
    ]


def test_after_a_hint_nothing_is_sent_again_and_an_authenticated_response_still_counts() -> None:
    for acknowledged in (False, True):
        for number in range(6):
            for kind in (ACK, CON, NON):
                bench = Bench()
                request = bench.wait_sent()
                if acknowledged:
                    bench.step(empty(ACK, request.mid))
                bench.step(hints(request)[number])
                assert bench.state == "BACKOFF"
                assert bench.wake is not None
                bench.now = bench.wake - 1
                assert bench.step() is None
                response = bench.server.response(request.payload)
                success = bench.send(answer(request, response, kind=kind))
                if kind == CON:
                    success = bench.wait_sent()
                assert success.payload[2] == 3
                assert bench.connections == 1  # it goes on where it was answered
                assert bench.entered == ["REQUESTING", "BACKOFF", "CONFIRMING"]


def test_after_a_hint_an_authenticated_confirm_still_counts() -> None:
    for exchanges in (1, 2, 3):
        for number in range(6):
            bench = Bench()
            success = bench.offered()
            for _ in range(exchanges - 1):
                bench.step(empty(RST, success.mid))
                success = bench.wait_sent()
            bench.step(hints(success)[number])
            assert bench.state == ("BACKOFF" if exchanges == 3 else "CONFIRMING")
            assert bench.step(answer(success, bench.server.confirm(success.payload))) is None
            assert bench.state == "REGISTERED"
            assert bench.wake is None


def test_after_a_hint_a_decline_can_still_be_released_and_a_registration_superseded() -> None:
    for exchanges in (1, 3):
        bench = Bench(accept=lambda client_id, version: 16)
        other = Bench()
        for device, status, end in ((bench, 32, "IDLE"), (other, 33, "BACKOFF")):
            success = device.offered()
            for _ in range(exchanges - 1):
                device.step(empty(RST, success.mid))
                success = device.wait_sent()
            device.step(empty(RST, success.mid))
            assert device.step(answer(success, device.server.confirm(success.payload, status))) is None
            assert device.state == end
            assert device.registration.status == status


def test_after_a_hint_every_authenticated_response_is_heeded_as_without_it() -> None:
    for status, state in ((1, "REQUESTING"), (2, "REFUSED"), (3, "BACKOFF"), (4, "REQUESTING"), (6, "REQUESTING")):
        bench = Bench(versions=((2, 0), (1, 0)), x25519=x25519)
        request = bench.wait_sent()
        bench.step(answer(request, code=UNAUTHORIZED))
        uri = "coap://192.0.2.2" if status == 6 else None
        bench.step(answer(request, bench.server.response(request.payload, status=status, server_uri=uri), FORBIDDEN))
        assert (bench.state, bench.registration.status) == (state, status)
        assert bench.connections == (2 if status == 6 else 1)
        if state == "REQUESTING":  # the same attempt goes on
            bench.wait_sent()
            assert bench.registration.server == (uri or HOME)


def test_one_hint_counts_for_an_exchange_and_a_separate_one_is_acknowledged_each_time() -> None:
    bench = Bench()
    request = bench.wait_sent()
    separate = answer(request, code=UNAVAILABLE, kind=CON, mid=b"\1\2", options=((14, b"\x3c"),))
    assert bench.send(separate).bytes == b"\x60\0\1\2"
    wake = bench.wake
    for hint in hints(request):
        bench.now += 1
        bench.step(hint)
        assert bench.send(separate).bytes == b"\x60\0\1\2"
        assert (bench.state, bench.wake) == ("BACKOFF", wake)


def test_when_nothing_is_open_no_hint_is_heeded() -> None:
    registered = Bench()
    registered.registered()
    refused = Bench()
    request = refused.wait_sent()
    refused.step(answer(request, refused.server.response(request.payload, status=2), FORBIDDEN))
    for bench, state in ((registered, "REGISTERED"), (refused, "REFUSED")):
        for octet in range(256):
            for kind in (ACK, RST):
                assert bench.step(empty(kind, bytes((octet, octet)))) is None
                assert (bench.state, bench.wake) == (state, None)


def test_start_ends_the_exchange_that_a_hint_left_open() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.step(answer(request, code=UNAUTHORIZED))
    bench.start()
    again = bench.send(answer(request, bench.server.response(request.payload)))
    assert again.payload[2] == 1
    assert again.mid != request.mid
    assert bench.state == "REQUESTING"


def test_max_age_is_a_hint_up_to_an_hour() -> None:
    for max_age, least, most in (
        (b"\x3c", 60, 90),
        (b"\x01\x00\x00\x00", 3600, 5400),
        (b"", 2.5, 7.5),
        (b"\x01", 2.5, 7.5),
    ):
        bench = Bench()
        request = bench.wait_sent()
        bench.step(answer(request, code=UNAVAILABLE, options=((14, max_age),)))
        assert bench.state == "BACKOFF"
        assert bench.wake is not None
        assert least * 1000 <= bench.wake - bench.now <= most * 1000


def test_the_back_off_doubles_to_an_hour_times_a_random_factor() -> None:
    for octet, half in ((0, True), (255, False)):
        bench = Bench(Chance(octet=octet))
        waits = []
        for _ in range(14):
            bench.step(answer(bench.wait_sent(), code=UNAUTHORIZED))
            assert bench.wake is not None
            waits.append(bench.wake - bench.now)
        for n, wait in enumerate(waits):
            full = min(3600, 5 * 2**n) * 1000
            assert wait == full // 2 if half else full * 3 // 2 - 100 < wait < full * 3 // 2


def test_nothing_unauthenticated_erases_what_is_saved() -> None:
    bench = Bench()
    bench.registered()
    bench.start()
    request = bench.wait_sent()
    before = bench.storage.record or b""
    for _ in range(3):
        bench.step(answer(request, code=UNAUTHORIZED))
        request = bench.wait_sent()
    after = bench.storage.record or b""
    assert after[4:-16] == before[4:-16]  # between the boot counter and the MAC
    bench.boot()
    assert bench.state == "REGISTERED"
    assert bench.registration.client_id == CLIENT_ID
