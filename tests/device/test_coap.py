"""The CoAP exchange of the DPE Client (RFC 7252): what it sends when, and which datagrams it takes for a response."""

from dpe_device.coap import Endpoint
from tests.device.scripted import (
    ACK,
    CBOR,
    CHANGED,
    CON,
    FORBIDDEN,
    NON,
    RST,
    UNAUTHORIZED,
    Bench,
    Chance,
    Sent,
    answer,
    empty,
)


def test_retransmits_four_times_with_doubling_timeouts() -> None:
    for octet, first in ((0, 2000), (128, 2501), (255, 2999)):
        bench = Bench(Chance(octet=octet))
        request = bench.wait_sent()
        start = bench.now
        times = []
        for _ in range(4):
            assert bench.wait_sent().bytes == request.bytes
            times.append(bench.now - start)
        assert times == [first, 3 * first, 7 * first, 15 * first]
        assert bench.wait() is None
        assert bench.now - start == 31 * first
        assert bench.state == "BACKOFF"
        assert bench.entered == ["REQUESTING", "BACKOFF"]


def test_the_ack_timeout_can_be_told() -> None:
    bench = Bench(Chance(octet=0), ack_timeout=100)
    bench.wait_sent()
    assert bench.wake == bench.now + 100


def test_sends_nothing_before_its_time() -> None:
    bench = Bench()
    bench.wait_sent()
    wake = bench.wake
    assert wake is not None
    bench.now = wake - 1
    assert bench.step() is None
    assert bench.wake == wake


def test_a_late_step_sends_once_and_counts_from_then() -> None:
    bench = Bench(Chance(octet=0))
    bench.wait_sent()
    bench.now += 1000000
    assert bench.step() is not None
    assert bench.wake == bench.now + 4000
    assert bench.step() is None


def test_answers_to_a_retransmission_and_duplicates_of_them_do_no_harm() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.wait_sent()
    response = answer(request, bench.server.response(request.payload))
    success = bench.send(response)
    for _ in range(3):
        assert bench.step(response) is None
    confirm = answer(success, bench.server.confirm(success.payload))
    bench.step(confirm)
    for datagram in (confirm, response):
        assert bench.step(datagram) is None
        assert bench.state == "REGISTERED"


# which datagram is the response


def test_ignores_what_comes_from_elsewhere() -> None:
    bench = Bench()
    request = bench.wait_sent()
    response = bench.server.response(request.payload)
    for sender in (None, ("192.0.2.1", 5684), ("192.0.2.2", 5683), b"\x02\x00"):
        for kind in (ACK, CON, NON):
            assert bench.step(answer(request, response, kind=kind), sender) is None
        assert bench.step(empty(RST, request.mid), sender) is None
        assert bench.step(empty(CON, b"\0\0"), sender) is None
    assert bench.state == "REQUESTING"


def test_a_piggybacked_response_needs_the_message_id_and_the_coap_token() -> None:
    bench = Bench()
    request = bench.wait_sent()
    response = bench.server.response(request.payload)
    mid = bytes((request.mid[0], request.mid[1] ^ 1))
    token = bytes((request.token[0], request.token[1] ^ 1))
    for datagram in (
        answer(request, response, mid=mid),
        answer(request, response, token=token),
        answer(request, response, token=b""),
        answer(request, response, token=request.token[:3]),
        answer(request, response, token=request.token + b"\0"),
        answer(request, response, code=0x02),
    ):
        bench.step(datagram)
        if datagram[1] != 2:
            assert bench.state == "REQUESTING"
            assert bench.entered == ["REQUESTING"]


def test_a_separate_response_needs_the_coap_token() -> None:
    for kind in (CON, NON):
        bench = Bench()
        request = bench.wait_sent()
        response = bench.server.response(request.payload)
        bench.step(answer(request, response, kind=kind, mid=b"\1\2", token=b"\1\2\3\4"))
        assert bench.state == "REQUESTING"
        bench.step(answer(request, response, kind=kind, mid=b"\1\2"))
        assert bench.state == "CONFIRMING"


def test_a_reset_needs_the_message_id() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.step(empty(RST, bytes((request.mid[0], request.mid[1] ^ 1))))
    assert bench.state == "REQUESTING"


def test_a_response_to_an_exchange_that_has_failed_counts_until_the_next_one_begins() -> None:
    for kind in (ACK, CON, NON):
        bench = Bench()
        request = bench.wait_sent()
        bench.exhausted()
        response = answer(request, bench.server.response(request.payload), kind=kind)
        wake = bench.wake
        for hint in (empty(RST, request.mid), empty(ACK, request.mid), answer(request, code=UNAUTHORIZED)):
            assert bench.step(hint) is None
            assert (bench.state, bench.wake) == ("BACKOFF", wake)
        success = bench.send(response)
        if kind == CON:
            assert success.bytes == b"\x60\0" + request.mid
            success = bench.wait_sent()
        assert success.payload[2] == 3
        assert bench.entered == ["REQUESTING", "BACKOFF", "CONFIRMING"]


def test_a_response_to_the_exchange_before_is_no_response() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.exhausted()
    again = bench.wait_sent()
    response = bench.server.response(request.payload)
    assert bench.step(answer(request, response)) is None
    assert bench.step(answer(request, response, kind=NON)) is None
    assert bench.send(answer(request, response, kind=CON, mid=b"\1\2")).bytes == b"\x70\0\1\2"
    assert bench.step(empty(RST, request.mid)) is None
    assert bench.state == "REQUESTING"
    assert bench.step(answer(again, response)) is None  # made for another REQUEST
    assert bench.state == "REQUESTING"


# separate responses


def test_an_empty_ack_ends_the_retransmissions_but_not_the_exchange() -> None:
    bench = Bench()
    request = bench.wait_sent()
    assert bench.step(empty(ACK, request.mid)) is None
    wake = bench.wake
    assert wake is not None
    assert wake > bench.now + 60000
    assert bench.step(empty(ACK, request.mid)) is None
    assert bench.wake == wake
    bench.now = wake - 1
    assert bench.step() is None
    ack = bench.send(answer(request, bench.server.response(request.payload), kind=CON, mid=b"\x11\x22"))
    assert ack.bytes == b"\x60\0\x11\x22"
    assert bench.state == "CONFIRMING"
    success = bench.wait_sent()
    assert len(success.payload) == 32


def test_an_empty_ack_is_worth_32_timeouts_more_even_of_the_last_transmission() -> None:
    for transmissions in (1, 5):
        bench = Bench()
        request = bench.wait_sent()
        for _ in range(transmissions - 1):
            bench.wait_sent()
        wake = bench.wake
        assert wake is not None
        assert bench.step(empty(ACK, request.mid)) is None
        assert bench.wake == wake + 32 * 2000


def test_an_exchange_that_was_only_acknowledged_fails_in_the_end() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.step(empty(ACK, request.mid))
    assert bench.wait() is None
    assert bench.state == "BACKOFF"


def test_an_empty_ack_of_another_message_changes_nothing() -> None:
    bench = Bench()
    bench.wait_sent()
    wake = bench.wake
    bench.step(empty(ACK, b"\0\0"))
    assert bench.wake == wake


def test_a_duplicate_of_a_separate_response_is_acknowledged_again() -> None:
    bench = Bench()
    request = bench.wait_sent()
    separate = answer(request, bench.server.response(request.payload), kind=CON, mid=b"\x11\x22")
    bench.step(separate)
    assert bench.send(separate).bytes == b"\x60\0\x11\x22"
    success = bench.wait_sent()
    assert bench.send(separate).bytes == b"\x60\0\x11\x22"
    assert bench.state == "CONFIRMING"
    confirm = answer(success, bench.server.confirm(success.payload), kind=CON, mid=b"\x11\x23")
    assert bench.send(confirm).bytes == b"\x60\0\x11\x23"
    assert bench.state == "REGISTERED"
    assert bench.wake is None
    assert bench.send(confirm).bytes == b"\x60\0\x11\x23"


def test_a_non_confirmable_response_is_not_acknowledged() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.step(empty(ACK, request.mid))
    success = bench.send(answer(request, bench.server.response(request.payload), kind=NON, mid=b"\x11\x22"))
    assert success.type == CON
    assert len(success.payload) == 32


def test_a_separate_response_may_overtake_the_empty_ack() -> None:
    bench = Bench()
    request = bench.wait_sent()
    success = bench.send(answer(request, bench.server.response(request.payload), kind=NON, mid=b"\x11\x22"))
    wake = bench.wake
    bench.step(empty(ACK, request.mid))
    assert bench.wake == wake
    assert bench.state == "CONFIRMING"
    assert success.payload


def test_an_error_may_come_separately() -> None:
    bench = Bench()
    request = bench.wait_sent()
    assert bench.send(answer(request, code=UNAUTHORIZED, kind=CON, mid=b"\1\2")).bytes == b"\x60\0\1\2"
    assert bench.state == "BACKOFF"


def test_a_forged_confirmable_response_is_not_acknowledged() -> None:
    bench = Bench()
    request = bench.wait_sent()
    assert bench.step(answer(request, bytes(72), kind=CON)) is None


# what is rejected


def test_a_confirmable_message_that_is_not_expected_is_reset() -> None:
    bench = Bench()
    request = bench.wait_sent()
    for datagram in (
        empty(CON, b"\5\6"),  # a ping
        b"\x40\x01\5\6\xb1x",  # a request
        answer(request, b"x", kind=CON, mid=b"\5\6", token=bytes(4)),
    ):
        assert bench.send(datagram).bytes == b"\x70\0\5\6"
        assert bench.state == "REQUESTING"
    for datagram in (b"\x50\x01\5\6", b"\x70\x00\5\6", b"\x60\x00\5\6", b"\x60\x44\5\6"):
        assert bench.step(datagram) is None


def test_what_comes_before_the_first_request_is_reset_if_it_asks_for_an_answer() -> None:
    endpoint = Endpoint()
    for octet in range(256):
        mid = bytes((octet, octet))
        assert endpoint.receive(empty(CON, mid)) == (b"\x70\0" + mid, None)
        for kind in (NON, ACK, RST):
            assert endpoint.receive(empty(kind, mid)) == (None, None)


def test_a_response_has_a_type_and_a_length_of_the_coap_token_that_go_with_the_request() -> None:
    bench = Bench()
    request = bench.wait_sent()
    good = answer(request, bench.server.response(request.payload))
    for octet in range(256):
        if octet not in (0x44, 0x54, 0x64):
            bench.step(bytes((octet,)) + good[1:])
            bench.step(bytes((octet,)) + good[1:8] + bytes(6) + good[8:])
            assert bench.state == "REQUESTING"
    bench.step(good)
    assert bench.state == "CONFIRMING"


def test_a_response_with_an_unknown_critical_option_is_rejected() -> None:
    for number in (1, 5, 7, 11, 13, 23, 35, 65001):
        bench = Bench()
        request = bench.wait_sent()
        payload = bench.server.response(request.payload)
        options = sorted(((12, CBOR), (number, b"x")))
        assert bench.step(answer(request, payload, options=tuple(options))) is None
        assert bench.step(answer(request, payload, kind=NON, options=tuple(options))) is None
        reset = bench.send(answer(request, payload, kind=CON, mid=b"\5\6", options=tuple(options)))
        assert reset.bytes == b"\x70\0\5\6"
        assert bench.step(answer(request, code=UNAUTHORIZED, options=((number, b""),))) is None
        assert bench.state == "REQUESTING"


def test_a_response_with_elective_options_is_taken() -> None:
    bench = Bench()
    request = bench.wait_sent()
    options = ((4, b"etag"), (8, b"a" * 20), (12, CBOR), (14, b"\x3c"), (20, b"x" * 13), (60, b""), (65000, b"y" * 270))
    assert bench.step(answer(request, bench.server.response(request.payload), FORBIDDEN, options=options)) is not None
    assert bench.state == "CONFIRMING"


def test_oscore_s_option_is_known_and_proves_nothing() -> None:
    bench = Bench()
    request = bench.wait_sent()
    good = bench.server.response(request.payload)
    damaged = good[:-1] + bytes([good[-1] ^ 1])
    assert bench.step(answer(request, damaged, options=((9, b""), (12, CBOR)))) is None
    assert bench.state == "REQUESTING"
    assert bench.step(answer(request, code=UNAUTHORIZED, options=((9, b""),))) is None
    assert bench.state == "BACKOFF"


def test_an_exchange_may_have_other_options() -> None:
    endpoint = Endpoint()
    endpoint.entropy = Chance()
    endpoint.ack_timeout = 2000
    endpoint.post(b"payload", b"\x92ab\xff")
    datagram = endpoint.transmit(0) or b""
    assert datagram[:2] == b"\x44\2"
    assert datagram[8:] == b"\x92ab\xffpayload"


def test_malformed_datagrams_are_no_responses() -> None:
    bench = Bench()
    request = bench.wait_sent()
    good = answer(request, bench.server.response(request.payload))
    bad = [good[:size] for size in range(len(good))]
    head = good[:8]
    bad += [
        head + b"\xff",  # a marker without a payload
        head + b"\xf0\xff" + good[11:],  # reserved option delta
        head + b"\x0f\xff" + good[11:],  # reserved option length
        head + b"\xc1\x3c\xf0\0\0\1" + good[10:],
        head + b"\xc1",  # an option without its value
        head + b"\xd1",
        head + b"\xe1\0",
        head + b"\xcd",
        head + b"\xce\0",
        b"\xa4" + good[1:],  # version 2
        b"\x24" + good[1:],  # version 0
        b"",
    ]
    for datagram in bad:
        assert bench.step(datagram) is None
        assert bench.state == "REQUESTING"
    for end in (b"\xff", b"\xc1", b"\xd1\0", b"\xf0\0\0\1"):
        assert bench.step(answer(request, code=UNAUTHORIZED) + end) is None
        assert bench.state == "REQUESTING"
    assert bench.step(good) is not None


def test_no_datagram_makes_it_fail() -> None:
    chance = Chance(7)
    bench = Bench()
    good = b""
    for _ in range(2000):
        if bench.state != "REQUESTING":
            bench = Bench(chance)
            request = bench.wait_sent()
            good = answer(request, bench.server.response(request.payload))
        at, octet, cut = chance(3)
        at %= len(good)
        mutated = good[:at] + bytes((octet,)) + good[at + 1 :]
        if cut < 64:
            mutated = mutated[: cut % len(good)]
        if mutated != good:
            bench.step(mutated)
        assert bench.state in ("REQUESTING", "BACKOFF") or at < 11  # the code, or an option


def test_the_exchange_is_one_at_a_time() -> None:
    endpoint = Endpoint()
    endpoint.entropy = Chance()
    endpoint.ack_timeout = 2000
    endpoint.mid = 7
    endpoint.post(b"x")
    request = Sent(endpoint.transmit(0) or b"")
    assert endpoint.receive(answer(request, b"y", CHANGED)) == (None, (CHANGED, {12: 60}, b"y"))
    assert endpoint.receive(empty(RST, request.mid)) == (None, (0x80, {}, b""))
    endpoint.post(b"z")
    assert endpoint.receive(answer(request, b"y", CHANGED)) == (None, None)
