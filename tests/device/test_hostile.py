"""A server that means no good, or is not well: the DPE Client is never REGISTERED by it, and never hurries."""

from tests.device.scripted import (
    ACK,
    CHANGED,
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

DAY = 86400000
ELSEWHERE = "coap://elsewhere.example"


def patient(bench: Bench, sent: int) -> None:
    """At most 24 attempts an hour apart, some shorter ones before, each of five datagrams."""
    assert 24 * 3 < sent < 5 * (2 * 24 + 12)
    assert bench.registration.client_id is None
    assert bench.storage.saves <= 2 * 24 + 12


def test_one_that_never_answers_gets_few_datagrams() -> None:
    bench = Bench()
    sent = 0
    while bench.now < DAY:
        sent += bench.wait() is not None
    patient(bench, sent)
    assert bench.state in ("REQUESTING", "BACKOFF")


def test_one_that_only_acknowledges_gets_fewer() -> None:
    bench = Bench()
    sent = 0
    while bench.now < DAY:
        request = bench.wait()
        if request is not None:
            sent += 1
            bench.step(empty(ACK, request.mid))
    assert 12 < sent < 2 * 24 + 12
    assert bench.registration.client_id is None


def test_one_that_answers_what_is_asked_no_more_is_not_believed() -> None:
    bench = Bench()
    late: list[bytes] = []
    for _ in range(5):
        request = bench.wait_sent()
        for datagram in late:
            reply = bench.step(datagram)
            assert reply is None or reply.bytes[0] == 0x70
            assert bench.state == "REQUESTING"
        bench.exhausted()
        for datagram in late:
            reply = bench.step(datagram)
            assert reply is None or reply.bytes[0] == 0x70
            assert bench.state == "BACKOFF"
        late.append(answer(request, bench.server.response(request.payload)))
        late.append(answer(request, bench.server.response(request.payload), CHANGED, CON))


def test_one_that_answers_late_is_believed_until_the_next_attempt() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.exhausted()
    assert bench.wake is not None
    bench.now = bench.wake - 1
    success = bench.send(answer(request, bench.server.response(request.payload)))
    bench.exhausted()
    assert bench.wake is not None
    bench.now = bench.wake - 1
    assert bench.step(answer(success, bench.server.confirm(success.payload))) is None
    assert bench.state == "REGISTERED"


def injected(sent: Sent) -> "list[bytes]":
    """What one forges who sees a datagram of the device and holds no key."""
    forged = [empty(ACK, sent.mid), empty(RST, sent.mid), answer(sent, bytes(72)), answer(sent)]
    for code in (UNAUTHORIZED, FORBIDDEN, UNAVAILABLE, 0x80):
        forged += [answer(sent, code=code, kind=kind, options=((14, b"\x0e\x10"),)) for kind in (ACK, CON, NON)]
    return forged


def test_one_who_listens_and_injects_but_cannot_block_delays_nothing() -> None:
    bench = Bench()
    request = bench.wait_sent()
    for forged in injected(request):
        bench.step(forged)
    success = bench.send(answer(request, bench.server.response(request.payload)))
    for forged in injected(success):
        bench.step(forged)
    assert bench.step(answer(success, bench.server.confirm(success.payload))) is None
    assert bench.state == "REGISTERED"
    assert bench.now == 1000


def test_one_who_injects_without_rest_sets_the_back_off_once_an_exchange() -> None:
    """The back-off becomes neither shorter nor longer, and begins no later: forgeries go on until it is over."""
    bench = Bench(Chance(octet=0))
    waited = []
    for _ in range(12):
        request = bench.wait_sent()
        forged = injected(request)
        bench.step(forged[4])  # a 4.01, whose Max-Age is an hour
        due = bench.wake
        assert due is not None
        waited.append(due - bench.now)
        while bench.now + 1000 < due:
            bench.now += 1000 if due - bench.now <= 100000 else 100000
            for datagram in forged:
                bench.step(datagram)
                assert (bench.state, bench.wake) == ("BACKOFF", due)
        bench.now = due
    assert waited == [3600000] * 12
    assert bench.registration._failures == 10


def test_hints_of_no_max_age_leave_the_back_off_doubling_from_attempt_to_attempt() -> None:
    bench = Bench(Chance(octet=0))
    waited = []
    for _ in range(3):
        request = bench.wait_sent()
        for datagram in (empty(RST, request.mid), answer(request, code=UNAUTHORIZED), empty(RST, request.mid)):
            bench.step(datagram)
        assert bench.wake is not None
        waited.append(bench.wake - bench.now)
    assert waited == [2500, 5000, 10000]


def test_one_that_is_slow_but_in_time_registers() -> None:
    bench = Bench()
    request = bench.wait_sent()
    for _ in range(4):
        bench.wait_sent()
    assert bench.wake is not None
    bench.now = bench.wake - 1
    success = bench.send(answer(request, bench.server.response(request.payload)))
    bench.step(empty(ACK, success.mid))
    assert bench.wake is not None
    bench.now = bench.wake - 1
    bench.step(answer(success, bench.server.confirm(success.payload), CHANGED, CON, b"\1\2"))
    assert bench.state == "REGISTERED"


def test_servers_that_redirect_in_a_circle_end_it_and_the_next_attempt_is_at_home() -> None:
    bench = Bench()
    for _ in range(3):
        request = bench.wait_sent()
        away = bench.server.response(request.payload, status=6, server_uri=ELSEWHERE)
        again = bench.send(answer(request, away, FORBIDDEN))
        assert bench.registration.server == ELSEWHERE
        back = bench.server.response(again.payload, status=6, server_uri=HOME)
        assert bench.step(answer(again, back, FORBIDDEN)) is None
        assert bench.state == "REFUSED"
        assert bench.wake is None
        bench.start()
    assert bench.wait_sent().payload
    assert bench.registration.server == HOME


def test_one_that_knows_another_realm_only_is_asked_ever_less_often() -> None:
    bench = Bench()
    sent = 0
    while bench.now < DAY:
        request = bench.wait()
        if request is not None:
            sent += 1
            bench.step(answer(request, code=UNAUTHORIZED))
    assert 12 < sent < 2 * 24 + 12
    assert bench.registration.client_id is None


def test_what_is_too_long_or_cut_short_is_no_answer() -> None:
    bench = Bench(Chance(3))
    request = bench.wait_sent()
    good = answer(request, bench.server.response(request.payload))
    for size in range(len(good)):
        bench.step(good[:size])
    bench.step(good + bytes(1000))
    bench.step(answer(request, bytes(1000)))
    bench.step(answer(request, bench.server.response(request.payload) + bytes(300)))
    assert bench.state in ("REQUESTING", "BACKOFF")
    assert bench.storage.saves == 1


def test_the_answer_to_another_device_registers_nobody() -> None:
    one, other = Bench(Chance(1)), Bench(Chance(2))
    first, second = one.wait_sent(), other.wait_sent()
    response = one.server.response(first.payload)
    other.step(answer(second, response))
    assert other.state == "REQUESTING"
    success = one.send(answer(first, response))
    theirs = other.send(answer(second, other.server.response(second.payload)))
    confirm = one.server.confirm(success.payload)
    other.step(answer(theirs, confirm))
    assert other.state == "CONFIRMING"
    one.step(answer(success, confirm))
    assert one.state == "REGISTERED"
