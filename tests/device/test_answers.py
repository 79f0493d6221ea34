"""What a server may answer under its security token, and what the DPE Client makes of it."""

from dpe_device import x25519
from tests.device.scripted import (
    CON,
    FORBIDDEN,
    HOME,
    UNAVAILABLE,
    Bench,
    answer,
)

ELSEWHERE = "coap://[2001:db8::2]:5684"


def refused(bench: Bench, **fields: object) -> None:
    request = bench.wait_sent()
    assert bench.step(answer(request, bench.server.response(request.payload, **fields), FORBIDDEN)) is None
    assert bench.state == "REFUSED"
    assert bench.wake is None
    assert bench.registration.status == fields["status"]


def test_refused_and_reprovision_end_in_refused_until_started_again() -> None:
    for status in (2, 5, 99):
        bench = Bench()
        refused(bench, status=status)
        assert bench.step() is None
        bench.start()
        assert bench.wait_sent().payload
        assert bench.state == "REQUESTING"


def test_the_code_does_not_matter_under_a_token() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.step(answer(request, bench.server.response(request.payload, status=2), 0x44))
    assert bench.state == "REFUSED"


def test_unavailable_waits_for_the_time_told_with_jitter() -> None:
    for retry_after, least, most in ((120, 120, 180), (None, 2.5, 7.5), (0, 2.5, 7.5), (7200, 7200, 10800)):
        bench = Bench()
        request = bench.wait_sent()
        bench.step(
            answer(request, bench.server.response(request.payload, status=3, retry_after=retry_after), UNAVAILABLE)
        )
        assert bench.state == "BACKOFF"
        assert bench.wake is not None
        assert least * 1000 <= bench.wake - bench.now <= most * 1000
        bench.wait_sent()
        assert bench.state == "REQUESTING"


def test_falls_back_once_to_a_version_it_speaks() -> None:
    bench = Bench(versions=((2, 1), (1, 0), (1, 5)))
    request = bench.wait_sent()
    assert request.payload[22:26] == b"\2\x82\2\1"
    again = bench.send(answer(request, bench.server.response(request.payload, status=1, version=(1, 5))))
    assert again.payload[22:26] == b"\2\x82\1\5"
    assert bench.entered == ["REQUESTING"]
    bench.step(answer(again, bench.server.response(again.payload, status=1, version=(1, 0))))
    assert bench.state == "REFUSED"
    assert bench.registration.version == (1, 0)


def test_registers_with_the_version_it_fell_back_to() -> None:
    bench = Bench(versions=((2, 0), (1, 0)))
    request = bench.wait_sent()
    again = bench.send(answer(request, bench.server.response(request.payload, status=1)))
    success = bench.send(answer(again, bench.server.response(again.payload)))
    bench.step(answer(success, bench.server.confirm(success.payload)))
    assert bench.state == "REGISTERED"
    assert bench.registration.version == (1, 0)
    bench.boot()
    assert bench.registration.version == (1, 0)


def test_a_version_it_does_not_speak_ends_in_refused() -> None:
    refused(Bench(), status=1, version=(0, 9))
    refused(Bench(), status=1, version=(1, 0))


def test_takes_the_x25519_suite_when_asked() -> None:
    bench = Bench(x25519=x25519)
    request = bench.wait_sent()
    assert len(request.payload) == 61
    again = bench.send(answer(request, bench.server.response(request.payload, status=4)))
    assert len(again.payload) == 96
    private = bytes(range(1, 33))
    fields = {"x25519_key": x25519.public(private), "x25519": x25519.shared(private, again.payload[29:61])}
    without = bench.server.response(again.payload)
    assert bench.step(answer(again, without)) is None
    assert bench.state == "REQUESTING"
    success = bench.send(answer(again, bench.server.response(again.payload, **fields)))
    bench.step(answer(success, bench.server.confirm(success.payload)))
    assert bench.entered == ["REQUESTING", "CONFIRMING", "REGISTERED"]


def test_takes_the_x25519_suite_from_the_start_when_told() -> None:
    bench = Bench(x25519=x25519, suite=2)
    request = bench.wait_sent()
    private = bytes(range(1, 33))
    fields = {"x25519_key": x25519.public(private), "x25519": x25519.shared(private, request.payload[29:61])}
    bench.step(answer(request, bench.server.response(request.payload, status=4, **fields)))
    assert bench.state == "REFUSED"


def test_an_x25519_key_that_gives_zero_is_as_if_it_had_never_come() -> None:
    bench = Bench(x25519=x25519, suite=2)
    request = bench.wait_sent()
    assert (
        bench.step(answer(request, bench.server.response(request.payload, x25519_key=bytes(32), x25519=bytes(32))))
        is None
    )
    assert bench.state == "REQUESTING"


def test_a_suite_it_does_not_have_ends_in_refused() -> None:
    refused(Bench(), status=4)


def test_follows_one_redirect() -> None:
    bench = Bench()
    request = bench.wait_sent()
    redirect = bench.server.response(request.payload, status=6, server_uri=ELSEWHERE)
    assert bench.registration.server == HOME
    again = bench.send(answer(request, redirect, FORBIDDEN))
    assert bench.registration.server == ELSEWHERE
    assert bench.entered == ["REQUESTING"]
    success = bench.send(answer(again, bench.server.response(again.payload)))
    assert bench.registration.server == ELSEWHERE
    bench.step(answer(success, bench.server.confirm(success.payload)))
    assert bench.state == "REGISTERED"
    bench.boot()
    assert bench.registration.server == ELSEWHERE
    bench.start()
    bench.wait_sent()
    assert bench.registration.server == HOME


def test_a_second_redirect_ends_in_refused() -> None:
    bench = Bench()
    request = bench.wait_sent()
    again = bench.send(answer(request, bench.server.response(request.payload, status=6, server_uri=ELSEWHERE)))
    bench.step(answer(again, bench.server.response(again.payload, status=6, server_uri=HOME)))
    assert bench.state == "REFUSED"


def test_after_a_redirect_to_a_silent_server_it_begins_at_home() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.send(answer(request, bench.server.response(request.payload, status=6, server_uri=ELSEWHERE)))
    bench.exhausted()
    assert bench.state == "BACKOFF"
    bench.wait_sent()
    assert bench.registration.server == HOME


def test_the_ack_of_a_separate_redirect_goes_to_the_server_that_sent_it() -> None:
    bench = Bench()
    request = bench.wait_sent()
    redirect = bench.server.response(request.payload, status=6, server_uri=ELSEWHERE)
    ack = bench.send(answer(request, redirect, FORBIDDEN, CON, b"\x12\x34"))
    assert ack.bytes == b"\x60\0\x12\x34"
    assert bench.registration.server == HOME
    assert len(bench.wait_sent().payload) == 61
    assert bench.registration.server == ELSEWHERE
