"""What one device can cause in a minute after its key is proved, and that replays leave the device its own share."""

from collections import Counter
from os import urandom

import pytest

from dpe_coap import keys as schedule
from dpe_coap.binding import Code
from dpe_coap.messages import Request, Version, encode
from dpe_coap.numbers import Status
from dpe_server.handling.handler import Batch, handle
from dpe_server.handling.records import SUPPRESSED, AuditRecord
from dpe_server.handling.reply import UNAUTHORIZED, busy
from dpe_server.registration import allowances as module
from dpe_server.registration.allowances import FRESH, LINES, MINUTE, OTHERS, REPLAYS, RETRIES, Allowances
from dpe_server.registration.transactions import Transaction
from tests.server.registration.double import REALM, WALL, Device, Server, confirmation

LIMITED = {share: AuditRecord("limited", {"device": "64" * 8, "handles": share}) for share in ("fresh", "other")}


def test_the_bounds() -> None:
    assert (MINUTE, FRESH, RETRIES, OTHERS, REPLAYS, LINES) == (60.0, 20, 10, 20, 10, 60)
    assert module.DEVICES == 262_144


@pytest.fixture
def left() -> Allowances:
    allowances = Allowances()
    allowances.begin(100.0)
    return allowances


def asked(left: Allowances, *handles: int, th1: bytes | None = None, device: bytes = b"d" * 16) -> list[object]:
    """Let a device begin a transaction with each of these handles; return what is told where it may not."""
    told = [left.refuse(device, handle, th1 or urandom(32)) for handle in handles]
    return [record for record in told if record is not None]


def test_twenty_fresh_handles_a_minute(left: Allowances) -> None:
    assert asked(left, *range(20)) == []
    assert asked(left, 20, 21, 22) == [LIMITED["fresh"], SUPPRESSED, SUPPRESSED]
    left.begin(159.9)
    assert asked(left, 20) == [SUPPRESSED]
    left.begin(160.0)
    assert asked(left, *range(20, 40)) == []
    assert asked(left, 40) == [LIMITED["fresh"]]


def test_twenty_others_a_minute(left: Allowances) -> None:
    assert asked(left, 7) == []
    assert asked(left, *([6, 3] * 10)) == []
    assert asked(left, 6, 3, 0) == [LIMITED["other"], SUPPRESSED, SUPPRESSED]
    left.begin(160.0)
    assert asked(left, *([6] * 20)) == []
    assert asked(left, 6) == [LIMITED["other"]]


def test_the_freshest_handle_again_has_half_of_the_devices_own_share(left: Allowances) -> None:
    """As when it is told to ask in another version. The other half stays for fresher handles."""
    asked(left, 7, *([3] * 40))
    assert asked(left, *([7] * (RETRIES - 1))) == []
    assert asked(left, 7) == [SUPPRESSED], "now it is one of the others"
    assert asked(left, *range(8, 18)) == []
    assert asked(left, 18) == [LIMITED["fresh"]]
    left.begin(160.0)
    assert asked(left, *([17] * (RETRIES + OTHERS))) == []
    assert asked(left, 17) == [LIMITED["other"]]


def test_others_leave_the_device_its_own_share_and_it_leaves_them_theirs(left: Allowances) -> None:
    asked(left, 1_000)
    assert len(asked(left, *([5] * 500))) == 480
    assert asked(left, *range(1_001, 1_020)) == []
    assert asked(left, 1_020) == [LIMITED["fresh"]]
    other = b"e" * 16
    assert len(asked(left, *range(500), device=other)) == 480
    assert asked(left, *([1] * 20), device=other) == []


def test_a_handle_that_was_refused_has_not_been_used(left: Allowances) -> None:
    asked(left, *range(21))
    left.begin(160.0)
    assert len(asked(left, *range(20, 60))) == 20
    assert asked(left, *([39] * 20)) == [], "the freshest that was used"


def test_replays_leave_half_of_the_share_of_others_to_new_requests(left: Allowances) -> None:
    """Five recordings in a cycle: each is a new REQUEST once."""
    asked(left, 1_000)
    recordings = [urandom(32) for _ in range(5)]
    refused = sum(len(asked(left, 5, th1=th1)) for th1 in recordings * 10)
    assert refused == 50 - REPLAYS
    assert asked(left, *([5] * 10)) == []
    assert asked(left, 5) == [SUPPRESSED]
    left.begin(160.0)
    assert sum(len(asked(left, 5, th1=th1)) for th1 in recordings * 10) == 50 - REPLAYS


def test_what_is_not_known_of_a_device_is_not_held_against_it(left: Allowances) -> None:
    """After a restart the first handle is fresh, whatever it is; and the freshest of all is still fresh after it."""
    assert asked(left, 0) == []
    assert len(asked(left, *([0] * (RETRIES + OTHERS)))) == 1
    assert asked(left, 1) == []


def test_what_is_remembered_of_devices_is_bounded_and_the_last_are_remembered() -> None:
    left = Allowances(devices=5_120)
    left.begin(0.0)
    asked(left, *range(20))
    for number in range(100_000):
        left.refuse(number.to_bytes(16, "big"), 5, bytes(32))
        if number % 50 == 0:
            assert asked(left, 20) != [], "who comes again and again is not forgotten"
    assert len(left._used) <= 5_120


def test_each_share_is_reported_once_a_minute(left: Allowances) -> None:
    asked(left, *range(20), *([0] * 20))
    assert asked(left, 20, 0, 20, 0) == [LIMITED["fresh"], LIMITED["other"], SUPPRESSED, SUPPRESSED]


def test_the_clock_may_begin_anywhere() -> None:
    left = Allowances()
    assert asked(left, *range(20)) == []
    left.begin(60.0)
    assert asked(left, *range(20, 40)) == []


def logged(left: Allowances, count: int, device: bytes = b"d" * 16) -> list[bool]:
    """Let something of a device be told so many times; return whether it was."""
    batch = Batch()
    made = Transaction(b"", device, 0, 7, 0.0, Status.OK, b"")
    for _ in range(count):
        left.log(batch, b"end", made, "declined", status=16)
    assert {record.event for record in batch.records} <= {"declined", "suppressed"}
    told = {"device": device.hex()[:16], "registration": 7, "status": 16}
    assert all(record[1:] == (told, False, b"end") for record in batch.records if record is not SUPPRESSED)
    return [record is not SUPPRESSED for record in batch.records]


def test_lines_of_a_device(left: Allowances) -> None:
    """With forty for transactions, and one for each share that is used up, they are sixty."""
    assert logged(left, 30) == [True] * 18 + [False] * 12
    assert logged(left, 1, b"e" * 16) == [True]
    assert asked(left, 0) == [], "lines say nothing of handles"


@pytest.mark.parametrize("asks", [True, False])
def test_a_new_minute_is_new_for_lines_and_transactions(left: Allowances, asks: bool) -> None:
    """Whichever comes first in it."""
    logged(left, 18)
    asked(left, *range(20), *([0] * 20), 20, 0)
    left.begin(159.9)
    assert logged(left, 1) == [False]
    left.begin(160.0)
    if asks:
        assert asked(left, 20) == []
    assert logged(left, 20) == [True] * 18 + [False] * 2
    assert asked(left, *range(21 - (not asks), 40), 40, *([0] * 20), 0) == [LIMITED["fresh"], LIMITED["other"]]


# -- the registrar --


def wait(server: Server, seconds: float) -> None:
    server.now += seconds
    server.wall += seconds


def begin(device: Device) -> bool:
    """Do the first exchange and take the next handle; return whether the server has answered."""
    request = device.request()
    reply = device.server.send(request)
    if reply == busy(30):
        return False
    response, step = device.receive(request, reply)
    assert response.sealed_handle is not None
    device.handle = step.mask(response.sealed_handle)
    return True


def test_who_holds_a_key_makes_twenty_fresh_handles_a_minute(server: Server, device: Device) -> None:
    assert sum(begin(device) for _ in range(2_000)) == FRESH
    assert Counter(server.events()) == {"response": FRESH, "limited": 1, "suppressed": 1_979}
    assert sum(begin(device) for _ in range(2_000)) == 0
    wait(server, MINUTE)
    assert sum(begin(device) for _ in range(2_000)) == FRESH


def test_replays_neither_fill_the_audit_log_nor_keep_the_device_out(server: Server, device: Device) -> None:
    """Five recordings in a cycle used to write a line each time: four transactions are kept."""
    recordings = []
    for _ in range(5):
        recordings.append(device.request())
        begin(device)
        wait(server, 400)
    server.take_records()
    for second in range(120):
        for recording in recordings * 20:
            reply = server.send(recording)
            assert reply.code == Code.CHANGED or reply == busy(30)
        if second == 90:
            device.register()
        wait(server, 1)
    told = Counter(server.events())
    assert told["response"] <= 1 + 2 * OTHERS
    assert (told["limited"], told["established"]) == (2, 1)
    assert sum(told.values()) - told["suppressed"] <= 2 * LINES


def test_a_device_that_lost_its_storage_gets_in_while_replays_go_on(server: Server, device: Device) -> None:
    factory = device.handle
    recordings = []
    for _ in range(30):
        recordings.append(device.request())
        begin(device)
        wait(server, 400)
    for _ in range(240):  # two minutes
        for recording in recordings:
            server.send(recording)
        wait(server, 0.5)
    device.handle = factory
    success, last, _ = device.offered()
    assert confirmation(server.send(success), last).status == Status.OK


def test_the_key_s_holder_can_cause_sixty_lines_a_minute_and_the_rest_is_counted(
    server: Server, device: Device
) -> None:
    first = device.handle
    for _ in range(100):
        handle = device.handle
        request = device.request()
        reply = server.send(request)
        if reply != busy(30):
            response, step = device.receive(request, reply)
            server.send(device.success(step, reply)[0])
            assert response.sealed_handle is not None
            handle = step.mask(response.sealed_handle)
        device.handle = handle if handle != device.handle else first
    told = Counter(server.events())
    assert told["response"] == FRESH + OTHERS
    assert sum(told.values()) - told["suppressed"] == LINES
    assert told["established"] + told["superseded"] == 18
    assert len(server.rows()) == 1


def test_a_request_that_came_before_gets_its_response_whatever_is_used_up(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    while begin(device):
        pass
    for _ in range(3):
        again = server.send(device.request())
        assert again == busy(30)
    device = Device(server, "35209900299999")
    request = device.request()
    reply = server.send(request)
    for _ in range(100):
        assert server.send(request) == reply


def test_who_proves_no_key_uses_nothing_up(server: Server, device: Device) -> None:
    for _ in range(100):
        request = device.request()
        assert server.send(request[:-1] + bytes([request[-1] ^ 1])) == UNAUTHORIZED
        assert server.send(device.request(realm="another")) == UNAUTHORIZED
    assert begin(device)


def test_a_revoked_device_is_refused_like_before_whatever_it_has_used(server: Server, device: Device) -> None:
    while begin(device):
        pass
    server.revoke(device)
    for _ in range(3 * FRESH):
        assert server.send(device.request()) == UNAUTHORIZED


def test_a_faulty_key_agreement_is_counted_too(server: Server, device: Device) -> None:
    replies = []
    for _ in range(39):
        message = Request(device.handle, Version(1, 0), urandom(16) + bytes(16), x25519_key=bytes(32))
        replies.append(server.send(schedule.RequestStep.of(device.key, REALM).sign(encode(message))))
    assert Counter(reply.code for reply in replies) == {Code.BAD_REQUEST: 30, Code.SERVICE_UNAVAILABLE: 9}


def test_handles_beyond_the_share_are_named_as_one(server: Server, device: Device) -> None:
    while begin(device):
        pass
    request = device.request()
    batch = server.registrar.read([request], server.now)
    facts = server.store.look(batch.questions)
    assert server.registrar.decide(batch, facts, server.now, server.wall) is None
    assert batch.crowds == [(b"\x00\x01\x01\x51" + device.handle, server.device_id(device.imei))]
    other = Device(server, "35209900299999")
    batch = server.registrar.read([other.request()], server.now)
    server.registrar.decide(batch, server.store.look(batch.questions), server.now, server.wall)
    assert batch.crowds == []


def test_the_busy_answer_is_that_of_an_overload(server: Server, device: Device) -> None:
    while begin(device):
        pass
    reply = server.send(device.request())
    assert (reply.code, reply.payload, reply.content_format, reply.max_age) == (Code.SERVICE_UNAVAILABLE, b"", None, 30)


def test_replays_while_the_store_fails_are_what_anybody_can_cause(server: Server, device: Device) -> None:
    """An overheard SUCCESS can be sent again as long as its commit fails."""
    success, _, _ = device.offered()
    server.take_records()
    server.store.broken = True
    for _ in range(50):
        server.send(success)
    records = server.take_records()
    assert [(record.event, record.unproved) for record in records] == [("store-failed", True)] * 50
    server.store.broken = False
    server.send(success)
    assert server.events() == ["established"], "and leave the device its lines"


def test_a_minute_of_the_registrar_is_that_of_its_clock(server: Server, device: Device) -> None:
    """The wall clock may jump."""
    while begin(device):
        pass
    server.wall = WALL + 1e6
    assert not begin(device)
    server.now += MINUTE
    server.wall = WALL - 1e6
    assert begin(device)


def test_each_worker_counts_for_itself(server: Server, device: Device) -> None:
    while begin(device):
        pass
    handle(server.another(), server.store, [device.request()], server.now, server.wall)
    server.registrar = server.another()
    assert begin(device)
