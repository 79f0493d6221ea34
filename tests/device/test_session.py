"""The state machine of the DPE session: its requests, numbers, back-offs and its end."""

from tests.device.scripted import (
    CHANGED,
    CON,
    NON,
    RST,
    UNAUTHORIZED,
    UNAVAILABLE,
    Chance,
    answer,
    empty,
)
from tests.device.sessions import CONTENT, DELETE, DELETED, GET, POST, SessionBench

DAY = 86400000


def test_a_registered_device_is_ready_and_reports_when_it_is_told_to() -> None:
    bench = SessionBench().opened()
    bench.said.report = b"\xa1\1\xa1\0\x18\x56"
    bench.session.want(POST)
    request = bench.asked()
    assert (request.method, request.payload, request.number) == (POST, b"\xa1\1\xa1\0\x18\x56", 1)
    assert bench.state == "REPORTING"
    bench.reply(request)
    assert bench.state == "READY"
    assert bench.said.results == [(CHANGED, b"")]
    assert bench.entered == ["REQUESTING", "CONFIRMING", "READY", "REPORTING", "READY"]


def test_numbers_begin_at_1_in_every_session_and_rise_by_one() -> None:
    bench = SessionBench().opened()
    for base in (256, 512):
        bench.session.want(POST)
        for number in range(1, 6):
            request = bench.asked()
            assert request.number == number
            bench.session.want(POST)
            bench.reply(request)
        assert {session for _, session in bench.said.made} == {base}
        bench.said.made.clear()
        bench.start()
        bench.opened()


def test_the_sizes_are_those_of_the_protocol() -> None:
    bench = SessionBench().opened()
    policies = (
        b"\xa3\0\x44abcd\2\x1a\0\x09\x3a\x80\3\xa6\0\xa4\0\x19\x0e\x10\1\x1a\0\1\x51\x80\3\x14\4\x0a"
        b"\1\xa0\2\xa0\3\xa1\1\x1a\0\1\x51\x80\4\xa0\5\xa0"
    )
    six = b"\xa6\0\x18\x57\1\x65\x31\x2e\x34\x2e\x32\2\xf5\3\x19\xc8\0\4\x65\x64\x65\x2d\x44\x45\5\x1a\x69\x52\x48\xb0"
    for report, code, payload, sent, received in (
        (b"\xa1\1" + six, CHANGED, policies, 67, 69),
        (b"\xa2\0\x44abcd\1" + six, CHANGED, b"", 73, 19),
        (b"\xa2\0\x44abcd\1\xa1\0\x18\x56", CHANGED, b"", 47, 19),
        (b"\xa1\0\x44abcd", CHANGED, b"", 42, 19),
    ):
        bench.said.report = report
        bench.session.want(POST)
        request = bench.asked()
        response = bench.protected(request, code, payload)
        assert (len(request.sent.bytes), len(response)) == (sent, received)
        bench.step(response)
    bench.session.want(DELETE)
    request = bench.asked()
    assert (len(request.sent.bytes), len(bench.protected(request, DELETED))) == (32, 19)


def test_asks_for_the_policies() -> None:
    bench = SessionBench().opened()
    bench.session.want(GET)
    request = bench.asked()
    assert (request.method, request.text) == (GET, b"\1\xb3dpe")
    bench.reply(request, CONTENT, b"policies")
    assert bench.said.results == [(CONTENT, b"policies")]
    assert bench.state == "READY"


def test_what_is_wanted_before_the_registration_goes_out_after_it() -> None:
    bench = SessionBench().opened(wish=POST)
    assert bench.asked().number == 1


def test_what_is_wanted_during_an_exchange_comes_after_it() -> None:
    bench = SessionBench().opened()
    bench.session.want(POST)
    first = bench.asked()
    bench.session.want(POST)
    wake = bench.wake
    assert bench.step() is None
    assert bench.wake == wake  # it is not sent again before its time
    assert bench.reply(first) is None
    second = bench.asked()
    assert (second.method, second.number, bench.now) == (POST, 2, first and bench.now)
    bench.reply(second)
    assert bench.state == "READY"
    assert len(bench.said.results) == 2


def test_a_retransmission_repeats_the_datagram_and_a_new_number_has_the_values_of_now() -> None:
    bench = SessionBench().opened()
    bench.said.report = b"first"
    bench.session.want(POST)
    first = bench.asked()
    bench.said.report = b"second"
    for _ in range(4):
        assert bench.wait_sent().bytes == first.sent.bytes
    assert bench.wait() is None
    assert bench.state == "BACKOFF"
    second = bench.asked()
    assert (second.number, second.payload) == (2, b"second")
    bench.reply(second)
    assert bench.state == "READY"


# when


def test_after_a_boot_it_refreshes_the_session_within_a_minute() -> None:
    for octet, at in ((0, 0), (128, 30117), (255, 59999)):
        bench = SessionBench(Chance(octet=octet)).opened()
        bench.now = 0
        bench.boot()
        assert bench.state == "READY"
        assert bench.step() is None
        request = bench.asked()
        assert bench.now == at
        assert (request.method, request.payload, request.number) == (POST, b"\xa0", 257)
        bench.reply(request)
        assert bench.state == "READY"


def test_a_report_after_the_boot_is_a_refresh() -> None:
    bench = SessionBench(Chance(octet=255)).opened(86400)
    bench.now = 0
    bench.boot()
    bench.step()
    bench.now = 5000
    bench.report()
    assert bench.now == 5000
    assert bench.wake == 5000 + DAY // 2


def test_refreshes_after_half_the_lifetime_or_a_day_since_the_last_answered_request_was_sent() -> None:
    for lifetime, wait in ((60, 30000), (7200, 3600000), (172800, DAY), (172900, DAY), (4294967295, DAY), (None, DAY)):
        bench = SessionBench().opened(lifetime)
        bench.session.want(POST)
        request = bench.asked()
        sent_at = bench.now
        bench.now += 1500  # the answer takes time
        bench.reply(request)
        assert bench.wake == sent_at + wait
        request = bench.asked()
        assert bench.now == sent_at + wait
        assert (request.method, request.payload) == (POST, b"\xa0")


def test_the_lifetime_of_an_answer_counts_from_then_on() -> None:
    bench = SessionBench().opened(86400)
    for lifetime, wait in ((600, 300000), (None, DAY)):
        bench.said.lifetime = lifetime
        bench.session.want(POST)
        request = bench.asked()
        sent_at = bench.now
        bench.reply(request, CHANGED, b"answer")
        assert bench.session.lifetime == lifetime
        assert bench.wake == sent_at + wait


# not believed


def test_nothing_unprotected_ends_a_report_and_a_late_protected_answer_still_counts() -> None:
    for code in (UNAUTHORIZED, UNAVAILABLE, 0x80, 0x84, 0xA0):
        for kind in (0, 1, 2):
            bench = SessionBench().opened()
            bench.session.want(POST)
            request = bench.asked()
            hint = answer(request.sent, code=code, kind=kind)
            bench.step(hint)
            assert bench.state == "BACKOFF"
            assert bench.said.results == []
            wake = bench.wake
            bench.step(hint)
            assert bench.wake == wake  # one hint is enough
            bench.now = (wake or 0) - 1
            assert bench.step() is None
            bench.reply(request)
            assert bench.state == "READY"
            assert bench.said.results == [(CHANGED, b"")]
            assert bench.session._failures == 0


def test_a_reset_is_a_hint() -> None:
    bench = SessionBench().opened()
    bench.session.want(POST)
    request = bench.asked()
    bench.step(empty(RST, request.sent.mid))
    assert bench.state == "BACKOFF"
    assert bench.asked().number == 2


def test_a_forged_or_changed_answer_is_as_if_it_had_never_come() -> None:
    bench = SessionBench().opened()
    bench.report()
    bench.session.want(POST)
    request = bench.asked()
    good = bench.protected(request)
    wake = bench.wake
    for at in range(10, len(good)):
        kind = bytes((0x64 if at & 1 else 0x44,)) + good[1:]
        assert bench.step(kind[:at] + bytes((kind[at] ^ 4,)) + kind[at + 1 :]) is None
    for payload in (b"", b"\xff" * 9, request.sent.bytes[18:], good[10:-1]):
        assert bench.step(answer(request.sent, payload, options=((9, b""),))) is None
    for code in (CHANGED, CONTENT, DELETED):  # without protection
        assert bench.step(answer(request.sent, code=code)) is None
        assert bench.step(answer(request.sent, b"\xa0", code=code)) is None
    assert (bench.state, bench.wake) == ("REPORTING", wake)
    bench.step(good)
    assert bench.state == "READY"
    assert len(bench.said.results) == 2


def test_a_confirm_that_is_played_again_is_no_answer() -> None:
    bench = SessionBench()
    success = bench.offered()
    confirm = bench.server.confirm(success.payload, 0, 3600)
    bench.step(answer(success, confirm))
    bench.context = bench.keys()
    bench.session.want(POST)
    request = bench.asked()
    for code in (CHANGED, UNAVAILABLE):
        bench.step(answer(request.sent, confirm, code))
    assert bench.state == "BACKOFF"  # the error is a hint
    bench.reply(request)
    assert bench.state == "READY"


def test_a_separate_answer_is_acknowledged_and_counts() -> None:
    for kind in (CON, NON):
        bench = SessionBench().opened()
        bench.session.want(POST)
        request = bench.asked()
        assert bench.step(empty(2, request.sent.mid)) is None
        sent = bench.reply(request, kind=kind, mid=b"\1\2")
        assert (sent is None) == (kind == NON)
        if sent is not None:
            assert sent.bytes == b"\x60\0\1\2"
        assert bench.state == "READY"


def test_an_answer_counts_once() -> None:
    bench = SessionBench().opened()
    bench.session.want(POST)
    request = bench.asked()
    good = bench.protected(request)
    bench.step(good)
    for _ in range(3):
        assert bench.step(good) is None
    assert bench.said.results == [(CHANGED, b"")]
