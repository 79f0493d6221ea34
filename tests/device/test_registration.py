"""The state machine of the DPE Client: its own way from the REQUEST to a verified CONFIRM."""

from tests.device.scripted import (
    CLIENT_ID,
    DEVICE_KEY,
    HANDLE,
    NEXT_HANDLE,
    REALM,
    RST,
    UNAUTHORIZED,
    Bench,
    Chance,
    Sent,
    answer,
    empty,
)


def test_registers_in_two_round_trips_of_258_bytes() -> None:
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
    assert bench.entered == ["REQUESTING", "CONFIRMING", "REGISTERED"]
    assert bench.registration.client_id == CLIENT_ID
    assert bench.registration.version == (1, 0)
    assert bench.registration.lifetime is None
    assert bench.registration.status == 0
    sizes = [len(datagram) for datagram in (request.bytes, response, success.bytes, confirm)]
    assert sizes == [85, 83, 56, 34]
    assert sum(sizes) == 258


def test_a_clock_that_begins_at_nought_is_late_enough() -> None:
    bench = Bench()
    bench.now = 0
    assert bench.send().type == 0
    assert bench.state == "REQUESTING"


def test_the_request_is_a_confirmable_post_of_cbor_to_the_path() -> None:
    request = Bench().wait_sent()
    assert request.bytes[:2] == b"\x44\x02"
    assert request.bytes[8:24] == b"\xb3dpe\x08register\x11\x3c\xff"
    assert request.payload[:23] == b"\xa4\0\1\1\x51" + HANDLE + b"\2"


def test_message_ids_count_within_an_attempt_and_coap_tokens_are_fresh() -> None:
    bench = Bench()
    request = bench.wait_sent()
    success = bench.send(answer(request, bench.server.response(request.payload)))
    assert int.from_bytes(success.mid, "big") == int.from_bytes(request.mid, "big") + 1 & 0xFFFF
    assert len(request.token) == len(success.token) == 4
    assert success.token != request.token
    assert bench.connections == 1


def test_message_ids_begin_anywhere_and_wrap() -> None:
    assert Bench(Chance(1)).wait_sent().mid != Bench(Chance(2)).wait_sent().mid
    assert Bench(Chance(octet=255)).wait_sent().mid == b"\0\0"


def test_message_ids_begin_anew_with_each_attempt_which_has_a_socket_of_its_own() -> None:
    bench = Bench()
    mids = []
    for attempt in range(4):
        request = bench.wait_sent()
        assert bench.connections == attempt + 1
        mids.append(int.from_bytes(request.mid, "big"))
        assert bench.wait_sent().mid == request.mid  # again, from the same one
        bench.step(answer(request, code=UNAUTHORIZED))
        assert bench.registration.peer is not None  # the answer may still come
    distances = [mids[at + 1] - mids[at] & 0xFFFF for at in range(3)]
    assert len(set(distances)) == 3
    assert min(distances) > 100
    assert max(distances) < 0x10000 - 100
    success = bench.offered()
    for attempt in range(5, 7):
        bench.step(empty(RST, success.mid))
        again = bench.wait_sent()
        assert bench.connections == attempt + 1
        assert 100 < (int.from_bytes(again.mid, "big") - int.from_bytes(success.mid, "big") & 0xFFFF) < 0x10000 - 100
        success = again


def test_message_ids_do_not_repeat_though_entropy_does() -> None:
    bench = Bench(Chance(octet=7))
    mids = set()
    for _ in range(50):
        request = bench.wait_sent()
        mids.add(request.mid)
        bench.step(empty(RST, request.mid))
    assert len(mids) == 50


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


# the device decides


def declined(bench: Bench, status: int, **fields: object) -> Sent:
    success = bench.offered(**fields)
    assert bench.state == "CONFIRMING"
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


def test_declining_is_repeated_and_then_starts_over() -> None:
    bench = Bench(accept=lambda client_id, version: 16)
    first = declined(bench, 16)
    for _ in range(2):
        bench.exhausted()
        assert bench.state == "CONFIRMING"
        assert bench.wait_sent().payload == first.payload
    bench.exhausted()
    assert bench.state == "BACKOFF"
    assert len(bench.wait_sent().payload) == 61


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
    assert bench.state == "BACKOFF"
    request = bench.wait_sent()
    assert request.payload[:5] == b"\xa4\0\1\1\x51"
    assert request.payload[5:22] == NEXT_HANDLE


def test_an_unauthenticated_error_counts_as_one_of_the_three() -> None:
    bench = Bench()
    success = bench.offered()
    for _ in range(2):
        bench.step(answer(success, code=UNAUTHORIZED))
        assert bench.state == "CONFIRMING"
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
        assert bench.state == "BACKOFF"
        assert bench.registration.status == status
        assert bench.registration.client_id is None
        assert bench.registration.oscore is None
        assert bench.wake is not None
        assert 2500 <= bench.wake - bench.now < 7500
        assert len(bench.wait_sent().payload) == 61


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
