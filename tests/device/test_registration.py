"""The state machine of the DPE Client: what a server may answer, and what the device makes of it."""

from dpe_device import x25519
from tests.device.scripted import (
    ACK,
    CLIENT_ID,
    CON,
    DEVICE_KEY,
    FORBIDDEN,
    HANDLE,
    HOME,
    NEXT_HANDLE,
    NON,
    REALM,
    RST,
    UNAUTHORIZED,
    UNAVAILABLE,
    Bench,
    Chance,
    Sent,
    answer,
    empty,
)

ELSEWHERE = "coap://[2001:db8::2]:5684"


def test_registers_in_two_round_trips_of_250_bytes() -> None:
    bench = Bench()
    request = bench.wait_sent()
    assert bench.state == "REQUESTING"
    response = answer(request, bench.server.response(request.payload))
    success = bench.send(response)
    assert bench.state == "CONFIRMING"
    assert bench.registration.client_id is None
    confirm = answer(success, bench.server.confirm(success.payload))
    assert bench.step(confirm) is None
    assert bench.state == "REGISTERED"
    assert bench.wake is None
    assert bench.events == ["requested", "accepted", "registered"]
    assert bench.registration.client_id == CLIENT_ID
    assert bench.registration.version == (1, 0)
    assert bench.registration.lifetime is None
    assert bench.registration.status == 0
    sizes = [len(datagram) for datagram in (request.bytes, response, success.bytes, confirm)]
    assert sizes == [83, 81, 54, 32]


def test_the_request_is_a_confirmable_post_of_cbor_to_the_path() -> None:
    request = Bench().wait_sent()
    assert request.bytes[:2] == b"\x42\x02"
    assert request.bytes[6:22] == b"\xb3dpe\x08register\x11\x3c\xff"
    assert request.payload[:23] == b"\xa4\0\1\1\x51" + HANDLE + b"\2"


def test_message_ids_count_and_coap_tokens_are_fresh() -> None:
    bench = Bench()
    request = bench.wait_sent()
    success = bench.send(answer(request, bench.server.response(request.payload)))
    assert int.from_bytes(success.mid, "big") == int.from_bytes(request.mid, "big") + 1 & 0xFFFF
    assert success.token != request.token


def test_message_ids_begin_anywhere_and_wrap() -> None:
    assert Bench(Chance(1)).wait_sent().mid != Bench(Chance(2)).wait_sent().mid
    assert Bench(Chance(octet=255)).wait_sent().mid == b"\0\0"


def test_success_is_sent_only_after_it_was_saved() -> None:
    bench = Bench()
    request = bench.wait_sent()
    saves = bench.storage.saves
    bench.send(answer(request, bench.server.response(request.payload)))
    assert bench.storage.saves == saves + 1
    record = bench.storage.record
    assert record is not None
    assert NEXT_HANDLE in record
    assert CLIENT_ID in record


def test_the_next_registration_uses_the_next_handle() -> None:
    bench = Bench()
    bench.registered()
    bench.start()
    assert bench.wait_sent().payload[5:22] == NEXT_HANDLE


def test_the_firmware_goes_into_the_request() -> None:
    assert b"\x07\x63fw1\x17" in Bench(firmware="fw1").wait_sent().payload


def test_a_lifetime_is_told_and_kept() -> None:
    for lifetime in (0, 86400, 4294967295):
        bench = Bench()
        bench.registered(lifetime)
        assert bench.registration.lifetime == lifetime
        bench.boot()
        assert bench.registration.lifetime == lifetime


# what is not under a security token is a hint


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
    assert bench.events == ["requested", "failed"]


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
    record = bench.storage.record
    for _ in range(3):
        bench.step(answer(request, code=UNAUTHORIZED))
        request = bench.wait_sent()
    assert bench.storage.record == record
    bench.boot()
    assert bench.state == "REGISTERED"
    assert bench.registration.client_id == CLIENT_ID


# what a server answers under its token


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
        assert bench.events[-1] == "unavailable"
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
    assert bench.events == ["requested", "retried"]
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
    assert bench.events == ["requested", "retried", "accepted", "registered"]


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
    assert bench.events == ["requested", "redirected"]
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


# the device decides


def declined(bench: Bench, status: int, **fields: object) -> Sent:
    success = bench.offered(**fields)
    assert bench.events[-1] == "declined"
    assert success.payload[:14] == b"\xa4\0\3\3\x47" + CLIENT_ID + bytes((4, status))
    return success


def test_the_application_declines() -> None:
    offers = []

    def accept(client_id: bytes, version: "tuple[int, int]") -> int:
        offers.append((client_id, version))
        return 16

    bench = Bench(accept=accept)
    success = declined(bench, 16)
    assert offers == [(CLIENT_ID, (1, 0))]
    assert bench.step(answer(success, bench.server.confirm(success.payload, 32))) is None
    assert bench.state == "IDLE"
    assert bench.events[-1] == "released"
    assert bench.wake is None
    assert bench.registration.client_id is None
    assert bench.step() is None
    bench.boot()
    assert bench.state == "IDLE"


def test_the_application_accepts_with_none_or_ok() -> None:
    for status in (None, 0):
        bench = Bench(accept=lambda client_id, version, status=status: status)
        bench.registered()


def test_declining_is_never_registered_whatever_is_confirmed() -> None:
    for status in (0, 32, 33):
        bench = Bench(accept=lambda client_id, version: 19)
        success = declined(bench, 19)
        bench.step(answer(success, bench.server.confirm(success.payload, status)))
        assert bench.state == "IDLE"
        assert bench.registration.client_id is None


def test_declining_is_repeated_and_then_abandoned() -> None:
    bench = Bench(accept=lambda client_id, version: 16)
    first = declined(bench, 16)
    for _ in range(2):
        bench.exhausted()
        assert bench.events[-1] == "repeated"
        assert bench.wait_sent().payload == first.payload
    bench.exhausted()
    assert bench.events[-1] == "abandoned"
    assert bench.state == "IDLE"
    assert bench.wake is None


def test_declines_a_version_it_does_not_speak() -> None:
    declined(Bench(versions=((1, 0), (1, 1))), 17, version=(1, 2))


def test_declines_what_it_cannot_save() -> None:
    bench = Bench()
    bench.storage.broken = True
    success = declined(bench, 18)
    bench.step(answer(success, bench.server.confirm(success.payload, 32)))
    assert bench.state == "IDLE"
    assert bench.storage.record is None


def test_is_registered_though_the_confirm_could_not_be_saved() -> None:
    bench = Bench()
    success = bench.offered()
    bench.storage.broken = True
    bench.step(answer(success, bench.server.confirm(success.payload)))
    assert bench.state == "REGISTERED"
    bench.storage.broken = False
    bench.boot()
    assert bench.state == "CONFIRMING"
    again = bench.wait_sent()
    assert again.payload == success.payload


# SUCCESS until it is confirmed


def test_the_same_success_in_three_exchanges_then_a_new_request() -> None:
    bench = Bench()
    first = bench.offered()
    seen = [first.mid + first.token]
    for _ in range(2):
        bench.exhausted()
        assert bench.state == "CONFIRMING"
        again = bench.wait_sent()
        assert again.payload == first.payload
        seen.append(again.mid + again.token)
    assert len(set(seen)) == 3
    bench.exhausted()
    assert bench.events[-3:] == ["repeated", "repeated", "failed"]
    assert bench.state == "BACKOFF"
    request = bench.wait_sent()
    assert request.payload[:5] == b"\xa4\0\1\1\x51"
    assert request.payload[5:22] == NEXT_HANDLE


def test_an_unauthenticated_error_counts_as_one_of_the_three() -> None:
    bench = Bench()
    success = bench.offered()
    for event in ("repeated", "repeated"):
        bench.step(answer(success, code=UNAUTHORIZED))
        assert bench.events[-1] == event
        success = bench.wait_sent()
    bench.step(empty(RST, success.mid))
    assert bench.state == "BACKOFF"


def test_a_confirm_to_the_repeated_success_registers() -> None:
    bench = Bench()
    bench.offered()
    bench.exhausted()
    success = bench.wait_sent()
    bench.step(answer(success, bench.server.confirm(success.payload)))
    assert bench.state == "REGISTERED"


def test_superseded_is_not_registered_and_registers_anew() -> None:
    for status in (33, 32, 7):
        bench = Bench()
        success = bench.offered()
        bench.step(answer(success, bench.server.confirm(success.payload, status)))
        assert bench.events[-1] == "superseded"
        assert bench.state == "BACKOFF"
        assert bench.registration.client_id is None
        assert bench.registration.oscore is None
        bench.boot()
        assert bench.state == "IDLE"
        bench.registered()


def test_start_does_nothing_while_a_registration_is_under_way() -> None:
    bench = Bench()
    request = bench.wait_sent()
    wake = bench.wake
    bench.registration.start()
    assert bench.step() is None
    assert bench.wake == wake
    success = bench.send(answer(request, bench.server.response(request.payload)))
    bench.registration.start()
    assert bench.step() is None
    bench.step(answer(success, bench.server.confirm(success.payload)))
    assert bench.state == "REGISTERED"


def test_start_ends_a_back_off() -> None:
    bench = Bench()
    bench.step(answer(bench.wait_sent(), code=UNAUTHORIZED))
    assert bench.step() is None
    bench.start()
    assert bench.send().code == 2


def test_no_secret_in_what_it_shows() -> None:
    bench = Bench()
    bench.registered()
    shown = repr(bench.registration) + str(bench.registration)
    assert DEVICE_KEY.hex() not in shown
    assert repr(DEVICE_KEY) not in shown
    assert REALM not in shown
