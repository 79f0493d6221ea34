"""The course of a DPE session: refusals and registering anew, its numbers and what is saved, its end."""

from tests.device.scripted import (
    CLIENT_ID,
    HANDLE,
    NEXT_HANDLE,
    UNAVAILABLE,
    Chance,
    answer,
    sealed,
)
from tests.device.sessions import DELETE, DELETED, POST, SessionBench

MINUTE = 60000


# refusals


def test_a_protected_refusal_drops_the_report_and_tells_the_application() -> None:
    for code in (0x80, 0x84, 0x85, 0x8D, 0x8F):
        bench = SessionBench().opened()
        bench.report(code, b"\xa1\x20\x61x")
        assert bench.said.results == [(code, b"\xa1\x20\x61x")]
        assert bench.wake is not None
        assert bench.wake - bench.now <= MINUTE  # the session was not refreshed
        assert bench.asked().number == 2


def test_the_third_4_01_in_a_row_registers_anew() -> None:
    bench = SessionBench().opened()
    bench.report()
    bench.session.want(POST)
    for number in (2, 3, 4):
        request = bench.asked()
        assert request.number == number
        bench.refuse(request)
        bench.refuse(request)  # a second one of the same exchange does not count
        assert bench.state == "BACKOFF"
    sent = bench.wait_sent()
    assert bench.state == "REQUESTING"
    assert sent.payload[5:22] == NEXT_HANDLE
    success = bench.send(answer(sent, bench.server.response(sent.payload)))
    bench.step(answer(success, bench.server.confirm(success.payload)))
    bench.context = bench.keys()
    request = bench.asked()  # what was to be reported is still wanted
    assert (request.method, request.number) == (POST, 1)
    bench.reply(request)
    assert bench.state == "READY"


def test_who_forges_another_error_before_each_4_01_keeps_no_device_from_registering_anew() -> None:
    bench = SessionBench().opened()
    bench.report()
    bench.session.want(POST)
    for code in (UNAVAILABLE, 0x80, 0xA0):
        request = bench.asked()
        bench.refuse(request, code)
        for _ in range(3):
            bench.refuse(request)  # counts once
        assert bench.state == "BACKOFF"
    bench.wait_sent()
    assert bench.state == "REQUESTING"


def test_a_protected_answer_forgets_the_refusals_and_a_time_out_or_5_03_is_none() -> None:
    bench = SessionBench().opened()
    bench.report()
    for _ in range(3):
        bench.session.want(POST)
        for _ in range(2):
            bench.refuse(bench.asked())
        bench.reply(bench.asked())
    bench.session.want(POST)
    for _ in range(6):
        bench.refuse(bench.asked(), UNAVAILABLE)
        bench.asked()
        bench.exhausted()
    assert bench.session._refusals == 0
    bench.reply(bench.asked())
    assert bench.state == "READY"


def test_after_a_boot_the_first_4_01_registers_anew() -> None:
    bench = SessionBench().opened()
    bench.report()
    bench.boot()
    request = bench.asked()
    bench.refuse(request)
    assert bench.state == "BACKOFF"
    assert bench.wait_sent().payload[5:22] == NEXT_HANDLE
    assert bench.state == "REQUESTING"


def test_a_registration_does_not_forget_the_failures_and_one_more_4_01_registers_again() -> None:
    bench = SessionBench().opened()
    bench.report()
    bench.session.want(POST)
    for _ in range(3):
        bench.refuse(bench.asked())
    for times in range(4, 7):
        bench.opened()
        request = bench.asked()
        assert (request.method, request.number, bench.session._failures) == (POST, 1, times - 1)
        bench.refuse(request)
        assert bench.wake is not None
        assert bench.wake - bench.now >= 5000 * (1 << times - 1) // 2
    bench.opened()
    bench.reply(bench.asked())
    assert bench.session._failures == 0


def test_the_session_stays_until_another_is_saved() -> None:
    bench = SessionBench().opened()
    bench.report()
    bench.session.want(POST)
    for _ in range(3):
        bench.refuse(bench.asked())
    bench.wait_sent()
    assert bench.state == "REQUESTING"
    bench.boot()
    assert bench.state == "READY"
    bench.reply(bench.asked())
    assert bench.state == "READY"


def test_when_registering_is_refused_reporting_stops() -> None:
    bench = SessionBench().opened()
    bench.report()
    bench.session.want(POST)
    for _ in range(3):
        bench.refuse(bench.asked())
    sent = bench.wait_sent()
    bench.step(answer(sent, bench.server.response(sent.payload, status=2), 0x83))
    assert (bench.state, bench.wake) == ("REFUSED", None)
    bench.session.want(POST)
    assert bench.step() is None
    assert bench.state == "REFUSED"


def test_a_back_off_heeds_max_age_and_grows() -> None:
    bench = SessionBench(Chance(octet=0), backoff=1000)
    bench.now = 0
    bench.opened()
    for wait in (500, 1000, 2000, 60000):
        request = bench.asked()
        bench.refuse(request, UNAVAILABLE, options=((14, b"\x3c"),) if wait > 2000 else ())
        assert bench.wake == bench.now + wait


# numbers and storage


def test_a_block_is_saved_once_a_boot_and_once_in_256_requests() -> None:
    bench = SessionBench().opened()
    saves = bench.storage.saves
    for number in (1, 2, 3, 255, 256, 257, 258):
        bench.session._boot = 256 + number - 1  # as if those between had been sent
        assert bench.report().number == number
        assert bench.storage.saves == saves + (number > 256)
    bench.boot()
    assert bench.asked().number == 513
    assert bench.storage.saves == saves + 2


def test_what_is_not_saved_is_not_sent() -> None:
    bench = SessionBench().opened()
    bench.boot()
    bench.storage.broken = True
    bench.session.want(POST)
    bench.step()
    for _ in range(4):
        assert bench.state == "BACKOFF"
        assert bench.wait() is None
    assert bench.said.made == []
    bench.storage.broken = False
    assert bench.asked().number == 257
    assert bench.storage.record is not None


def test_a_confirm_that_was_not_saved_leaves_the_numbers_to_be_had() -> None:
    bench = SessionBench()
    success = bench.offered()
    bench.storage.broken = True
    bench.step(answer(success, bench.server.confirm(success.payload)))
    bench.context = bench.keys()
    bench.session.want(POST)
    assert bench.asked().number == 1  # the write of RESPONSE has named the next block


def test_the_session_of_firmware_that_knew_none_has_its_boot_counters_for_numbers() -> None:
    bench = SessionBench().opened()
    record = bench.storage.record or b""
    bench.storage.record = sealed(b"\0\0\1\0" + record[4:99])
    bench.boot()
    request = bench.asked()
    assert (request.number, request.iv) == (65537, b"\1\0\1")
    assert bench.said.made[0][1] == 0
    bench.reply(request)
    assert bench.state == "READY"


def test_at_the_end_of_the_boot_counter_it_says_so_and_sends_nothing() -> None:
    bench = SessionBench().opened()
    record = bench.storage.record or b""
    bench.storage.record = sealed(b"\xff\xff\xff\xfc" + record[4:99])
    bench.boot()
    request = bench.asked()
    assert request.iv == b"\xff\xff\xff\xfc\1"
    bench.reply(request)
    bench.session._boot += 255
    bench.session.want(POST)
    assert bench.wait() is None
    assert (bench.state, bench.session.status, bench.wake) == ("REFUSED", None, None)


def test_a_number_of_five_bytes_is_sent_as_it_is() -> None:
    bench = SessionBench().opened()
    for boot, iv in ((256 + 255, b"\1\0"), (256 + 0xFFFFFF, b"\1\0\0\0"), (256 + 0xFFFFFFFF, b"\1\0\0\0\0")):
        bench.session._boot = boot
        bench.session._end = 0
        bench.session.want(POST)
        request = bench.asked()
        assert request.iv == iv
        bench.reply(request)


# its end


def test_deregisters() -> None:
    bench = SessionBench().opened()
    bench.report()
    saves = bench.storage.saves
    bench.session.want(DELETE)
    request = bench.asked()
    assert (request.method, request.text) == (DELETE, b"\4\xb3dpe")
    assert bench.state == "ENDING"
    assert bench.storage.saves == saves + 1  # before it was sent
    bench.reply(request, DELETED)
    assert (bench.state, bench.wake) == ("IDLE", None)
    assert bench.said.results[-1] == (DELETED, b"")
    assert (bench.session.client_id, bench.session.oscore) == (None, None)
    record = bench.storage.record or b""
    assert record[4:-16] == bytes(5) + NEXT_HANDLE  # block and handle stay
    assert bench.step() is None
    bench.boot()
    assert bench.state == "IDLE"
    assert bench.wait_sent().payload[5:22] == NEXT_HANDLE


def test_deregistering_goes_on_after_a_reboot() -> None:
    bench = SessionBench().opened()
    bench.report()
    bench.session.want(DELETE)
    first = bench.asked()
    for _ in range(3):
        bench.boot()
        request = bench.asked()
        assert request.method == DELETE
        assert request.number > first.number
    bench.reply(request, DELETED)
    assert bench.state == "IDLE"
    bench.boot()
    assert bench.state == "IDLE"


def test_deregistering_is_tried_three_times_and_then_not_confirmed() -> None:
    for how in range(3):
        bench = SessionBench().opened()
        bench.report()
        bench.session.want(DELETE)
        numbers = []
        for _ in range(3):
            request = bench.asked()
            assert request.method == DELETE
            bench.session.want(POST)  # which has its day no more
            bench.session.want(DELETE)
            numbers.append(request.number)
            if how == 0:
                bench.refuse(request)
            elif how == 1:
                bench.refuse(request, UNAVAILABLE)
            else:
                bench.exhausted()
            assert bench.state == "BACKOFF"
        assert numbers == [2, 3, 4]
        assert bench.wait() is None
        assert (bench.state, bench.wake) == ("IDLE", None)
        assert len(bench.said.results) == 1  # of the report
        assert HANDLE != NEXT_HANDLE == (bench.storage.record or b"")[9:-16]


def test_a_late_confirmation_counts_until_the_next_number_is_drawn() -> None:
    bench = SessionBench().opened()
    bench.session.want(DELETE)
    for _ in range(3):
        request = bench.asked()
        bench.refuse(request)
    bench.reply(request, DELETED)
    assert bench.state == "IDLE"
    assert bench.said.results == [(DELETED, b"")]


def test_deregistering_waits_for_the_open_exchange_and_nothing_is_reported_after_it() -> None:
    bench = SessionBench().opened()
    bench.session.want(POST)
    request = bench.asked()
    bench.session.want(DELETE)
    bench.session.want(POST)
    bench.reply(request)
    request = bench.asked()
    assert request.method == DELETE
    bench.refuse(request)
    bench.session.want(POST)
    request = bench.asked()
    assert request.method == DELETE
    bench.reply(request, DELETED)
    assert bench.state == "IDLE"


def test_deregistering_is_not_sent_before_it_is_saved() -> None:
    bench = SessionBench().opened()
    bench.session.want(DELETE)
    bench.storage.broken = True
    assert bench.wait() is None
    assert bench.state == "BACKOFF"
    bench.storage.broken = False
    bench.reply(bench.asked(), DELETED)
    assert bench.state == "IDLE"


def test_a_session_that_was_ended_can_be_followed_by_another() -> None:
    bench = SessionBench().opened()
    bench.session.want(DELETE)
    bench.reply(bench.asked(), DELETED)
    bench.start()
    bench.opened(wish=POST)
    assert bench.asked().number == 1
    assert bench.session.client_id == CLIENT_ID


def test_start_in_a_session_registers_anew() -> None:
    for state in ("READY", "REPORTING", "BACKOFF"):
        bench = SessionBench().opened()
        if state != "READY":
            bench.session.want(POST)
            request = bench.asked()
            if state == "BACKOFF":
                bench.refuse(request)
        assert bench.state == state
        bench.start()
        assert len(bench.wait_sent().payload) == 61
        assert bench.state == "REQUESTING"


def test_a_reporter_that_fails_leaves_the_session_whole() -> None:
    bench = SessionBench().opened()
    bench.session.want(POST)
    request = bench.asked()
    bench.said.trouble = MemoryError()
    try:
        bench.reply(request)
        raise AssertionError("no error")
    except MemoryError:
        pass
    bench.said.trouble = None
    request = bench.asked()
    assert request.number == 2
    bench.reply(request)
    assert bench.state == "READY"


def test_it_goes_on_at_the_same_address_until_an_exchange_fails() -> None:
    bench = SessionBench().opened()
    connections = bench.connections
    bench.report()
    bench.report()
    assert bench.connections == connections + 1
    bench.session.want(POST)
    bench.refuse(bench.asked())
    bench.reply(bench.asked())
    assert bench.connections == connections + 2
