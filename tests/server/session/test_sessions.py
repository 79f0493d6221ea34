"""What a server makes of protected requests: accepted once, answered once, and all refusals alike."""

from os import urandom

import cbor2
import pytest

from dpe_coap.binding import Code
from dpe_coap.client_ids import client_id_bytes, client_id_text
from dpe_coap.session_messages import Answer, decode_answer
from dpe_server import policy
from dpe_server.handling.handler import Part, decide
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.keys.at_rest import device_text
from dpe_server.session.shares import BURST
from dpe_server.store.contract import End, OverridePolicies, Revoke
from tests.server.session.double import POLICY, WALL, Device, Server

CHANGED = bytes([Code.CHANGED])
BATTERY, FIRMWARE = b"\x00", b"\x01"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def device(server: Server) -> Device:
    return Device(server)


def told(plaintext: bytes, code: Code) -> tuple[bytes, Answer]:
    """The etag and the answer that a plaintext carries, after its code."""
    assert plaintext[:1] == bytes([code])
    assert plaintext[1:4] == b"\xc1\x3c\xff"
    return decode_answer(plaintext[4:])


# What is accepted


def test_a_report_without_etag_is_told_the_policies(server: Server, device: Device) -> None:
    etag, answer = told(device.ask(device.report({0: 86, 1: "fw-2"})), Code.CHANGED)
    assert answer.lifetime == 86_400
    assert answer.policies == {0: {1: 3600}}
    assert device.record == {BATTERY: b"\x18\x56", FIRMWARE: b"\x64fw-2"}
    assert device.ask(device.report({0: 85}, etag)) == CHANGED
    assert device.record == {BATTERY: b"\x18\x55", FIRMWARE: b"\x64fw-2"}
    assert told(device.ask(device.report({0: 84}, b"else")), Code.CHANGED)[0] == etag


def test_a_refresh_and_a_get_begin_the_lifetime_anew(server: Server, device: Device) -> None:
    for refresh in (True, False):
        server.pass_(1000)
        device.ask(device.report(None) if refresh else device.get())
        assert device.session.expires_at == int(server.wall) + 86_400
        assert device.session.seen_at == int(server.wall)
    assert device.record == {}
    etag, _ = told(device.ask(device.get()), Code.CONTENT)
    assert device.ask(device.report(None, etag)) == CHANGED


def test_delete_ends_the_session(server: Server, device: Device) -> None:
    device.ask(device.report({0: 86}))
    request = device.delete()
    assert device.ask(request) == bytes([Code.DELETED])
    assert server.store.session(device.client_id) is None
    assert server.send(request)[0].protected, "the device may not have heard the answer"
    assert server.send(device.report({0: 1})) == [UNAUTHORIZED]


def test_the_audit_log_hears_of_the_first_contact_and_the_end(server: Server, device: Device) -> None:
    asked = [device.report({0: 86}), device.report({0: 87}), device.report({0: 88}), device.delete()]
    held = server.store.session(device.client_id)
    assert held is not None
    for one in asked:
        device.ask(one)
    named: dict[str, str | int] = {"device": device_text(device.device), "registration": held.ordinal}
    named["client_id"] = client_id_text(device.client_id)
    assert server.records == [
        AuditRecord("first-contact", named, end=asked[0][-8:]),
        AuditRecord("session-ended", {**named, "why": "deregistered"}, end=asked[-1][-8:]),
    ]


@pytest.mark.parametrize(
    ("plaintext", "code"),
    [
        (b"\x02\xb3dpe\x11\x3c\xff\xa1\x01\xa0", Code.BAD_REQUEST),
        (b"\x02\xb3dp2\x11\x3c\xff\xa0", Code.NOT_FOUND),
        (b"\x03\xb3dpe\x11\x3c\xff\xa0", Code.METHOD_NOT_ALLOWED),
        (b"\x02\xb3dpe\xff\xa0", Code.UNSUPPORTED_CONTENT_FORMAT),
        (b"", Code.BAD_REQUEST),
    ],
)
def test_a_refusal_inside_is_protected_and_costs_the_number(
    server: Server, device: Device, plaintext: bytes, code: Code
) -> None:
    before = device.session
    request = device.protect(plaintext)
    answer = device.ask(request)
    assert answer[0] == code
    assert answer[1:5] == b"\xc2\x01\x01\xff"
    assert isinstance(cbor2.loads(answer[5:])[-1], str)
    assert device.session.mark == 1
    assert (device.session.expires_at, device.session.seen_at) == (before.expires_at, None)
    assert server.send(device.report({0: 1}, number=1)) == [UNAUTHORIZED]


def test_too_many_properties_are_refused_as_a_whole(server: Server, device: Device) -> None:
    device.ask(device.report(dict.fromkeys(range(100, 164), 0)))
    answer = device.ask(device.report({0: 1, 100: 5}))
    assert answer[0] == Code.REQUEST_ENTITY_TOO_LARGE
    assert BATTERY not in device.record
    assert device.record[b"\x18\x64"] == b"\x00"


# What is not


def test_refusals_are_alike(server: Server, device: Device) -> None:
    device.ask(device.report({0: 86}))
    good = device.report({0: 1})
    stranger = Device(server, 0x12345678901235, lifetime=60)
    expired = stranger.report({0: 1})
    server.pass_(60)
    ended = Device(server, 0x12345678901236)
    server.store.commit([End(ended.device, 1)])
    revoked = Device(server, 0x12345678901237)
    server.store.commit([Revoke(revoked.device, 1)])
    nobody = good[:2] + client_id_bytes(device.client_id ^ 0x100) + good[9:]
    requests = {
        "not under the session's keys": good[:-1] + bytes([good[-1] ^ 1]),
        "number not above the mark": device.report({0: 2}, number=1),
        "expired session": expired,
        "unknown session": nobody,
    }
    assert server.send(*requests.values()) == [UNAUTHORIZED] * 4
    expected = {"first-contact: ", *(f"unauthenticated: {reason}" for reason in requests)}
    assert set(server.events()) == expected
    assert server.send(ended.report({0: 1}), revoked.report({0: 1}), good[:9] + b"\xff") == [UNAUTHORIZED] * 3
    assert device.ask(good)[0] == Code.CHANGED


def test_a_request_changed_at_any_octet_is_refused(server: Server, device: Device) -> None:
    good = device.report({0: 86}, b"etag")
    for at in range(1, len(good)):
        if at != 9:  # the marker is not handed on by anybody else
            changed = bytearray(good)
            changed[at] ^= 0x40
            assert server.send(bytes(changed)) == [UNAUTHORIZED], at
    assert device.session.mark is None
    assert device.ask(good)[0] == Code.CHANGED


def test_numbers_need_not_follow_each_other_and_the_order_of_a_batch_does_not_matter(
    server: Server, device: Device
) -> None:
    late, early = device.report({0: 3}, number=300), device.report({0: 2}, number=299)
    replies = server.send(late, early)
    assert [device.opened(*pair)[0] for pair in zip((late, early), replies, strict=True)] == [Code.CHANGED] * 2
    assert device.record == {BATTERY: b"\x03"}
    assert server.send(device.report({0: 1}, number=298)) == [UNAUTHORIZED]


# Repeats


def test_a_repeat_gets_the_same_bytes_four_times(server: Server, device: Device) -> None:
    request = device.report({0: 86})
    (first,) = server.send(request)
    for _ in range(4):
        server.pass_(10)
        assert server.send(request) == [first]
    assert server.send(request) == [UNAUTHORIZED]
    assert device.session.seen_at == int(WALL)


def test_a_repeat_that_is_late_is_refused(server: Server, device: Device) -> None:
    request = device.report({0: 86})
    server.send(request)
    server.pass_(248)
    assert server.send(request) == [UNAUTHORIZED]


def test_a_repeat_waits_for_the_commit_of_the_first(server: Server, device: Device) -> None:
    request = device.report({0: 86})
    sessions, store = server.sessions, server.store
    first = sessions.read([request, request], server.now)
    decide([Part(sessions, first)], store.look, server.now, server.wall)
    second = sessions.read([request], server.now)
    decide([Part(sessions, second)], store.look, server.now, server.wall)
    assert (len(first.changes), len(second.changes), second.waits) == (1, 0, True)
    outcomes = store.commit(first.changes)
    replies, _ = sessions.complete(first, outcomes, server.now)
    assert replies == [replies[0]] * 2
    assert sessions.complete(second, [], server.now).replies == [replies[0]]
    assert device.opened(request, replies[0])[0] == Code.CHANGED


def test_of_two_processes_one_answers(server: Server, device: Device) -> None:
    other = server.another()
    request = device.report({0: 86})
    batches = [(one, one.read([request], server.now)) for one in (server.sessions, other)]
    for one, batch in batches:
        decide([Part(one, batch)], server.store.look, server.now, server.wall)
    replies = [one.complete(batch, server.store.commit(batch.changes), server.now).replies for one, batch in batches]
    assert device.opened(request, replies[0][0])[0] == Code.CHANGED
    assert replies[1] == [UNAUTHORIZED]
    assert device.ask(device.report({0: 85}))[0] == Code.CHANGED


def test_after_a_restart_the_next_number_is_accepted(server: Server, device: Device) -> None:
    request = device.report({0: 86})
    server.send(request)
    server.sessions = server.another()
    assert server.send(request) == [UNAUTHORIZED]
    assert device.ask(device.report({0: 85}))[0] == Code.CHANGED


# When the store fails, or too much comes


def test_without_the_store_the_answer_is_5_03_and_nothing_is_remembered(server: Server, device: Device) -> None:
    request = device.report({0: 86})
    server.store.broken = True
    assert server.send(request) == [busy(30)]
    server.store.broken = False
    assert device.session.mark is None
    assert device.ask(request)[0] == Code.CHANGED


def test_a_look_that_fails_is_5_03(server: Server, device: Device) -> None:
    batch = server.sessions.read([device.report({0: 86})], server.now)
    server.sessions.decide(batch, None, server.now, server.wall)
    assert server.sessions.complete(batch, [], server.now).replies == [busy(30)]


def test_an_abandoned_batch_leaves_nothing(server: Server, device: Device) -> None:
    request = device.report({0: 86})
    batch = server.sessions.read([request], server.now)
    decide([Part(server.sessions, batch)], server.store.look, server.now, server.wall)
    server.sessions.abandon(batch)
    assert device.ask(request)[0] == Code.CHANGED


def test_a_device_has_a_burst_and_then_one_a_second(server: Server, device: Device) -> None:
    replies = server.send(*(device.report({0: n}) for n in range(BURST + 2)))
    assert [reply.protected for reply in replies] == [True] * BURST + [False] * 2
    assert replies[-1] == Reply(Code.SERVICE_UNAVAILABLE, max_age=BURST)
    assert device.session.mark == BURST
    server.pass_(1)
    replies = server.send(*(device.report({0: n}) for n in range(2)))
    assert [reply.protected for reply in replies] == [True, False]


def test_strangers_do_not_use_up_the_share_of_a_device(server: Server, device: Device) -> None:
    good = device.report({0: 86})
    server.send(*(good[:-1] + bytes([n]) for n in range(256) if n != good[-1]))
    assert device.ask(good)[0] == Code.CHANGED


# What a device is told


def test_a_new_policy_reaches_a_device_with_its_next_report(server: Server, device: Device) -> None:
    etag, _ = told(device.ask(device.get()), Code.CONTENT)
    assert device.ask(device.report(None, etag)) == CHANGED
    server.sessions.reload(policy=policy.parse(POLICY.replace("3600", "60").replace("86400", "7200")))
    newer, answer = told(device.ask(device.report(None, etag)), Code.CHANGED)
    assert newer != etag
    assert (answer.policies, answer.lifetime) == ({0: {1: 60}}, 7200)
    assert device.session.expires_at == int(server.wall) + 7200
    assert device.ask(device.report(None, newer)) == CHANGED


def test_a_rule_that_is_gone_leaves_the_lifetime_and_no_policies(server: Server, device: Device) -> None:
    server.sessions.reload(policy=policy.parse(POLICY.replace("everyone", "others").replace("86400", "7200")))
    _, answer = told(device.ask(device.get()), Code.CONTENT)
    assert (answer.policies, answer.lifetime) == ({}, 86_400)


def test_an_operator_may_have_one_device_report_otherwise(server: Server, device: Device) -> None:
    etag, _ = told(device.ask(device.get()), Code.CONTENT)
    server.store.commit([OverridePolicies(device.device, b"\xa1\x01\xa0")])
    newer, answer = told(device.ask(device.report(None, etag)), Code.CHANGED)
    assert (answer.policies, answer.lifetime) == ({1: {}}, 86_400)
    again = Device(server, device=device.device, ordinal=6)
    assert told(again.ask(again.get()), Code.CONTENT) == (newer, answer), "it is the device's, whatever its session"
    server.store.commit([OverridePolicies(device.device, None)])
    assert told(again.ask(again.report(None, newer)), Code.CHANGED)[0] == etag


# Keys


def test_a_client_id_that_is_given_again_has_other_keys(server: Server, device: Device) -> None:
    device.ask(device.report({0: 86}))
    server.store.commit([End(device.device, 1)])
    other = Device(server, device.client_id, ordinal=9)
    assert server.send(device.report({0: 1})) == [UNAUTHORIZED]
    assert other.ask(other.report({0: 1}))[0] == Code.CHANGED


def test_keys_that_the_store_cannot_open_are_refused(server: Server, device: Device) -> None:
    server.at_rest._session_key = type(server.at_rest)(urandom(32), urandom)._session_key
    broken = Device(server, 7)
    assert server.send(broken.report({0: 1})) == [UNAUTHORIZED]


def test_nothing_of_a_device_is_shown(server: Server, device: Device) -> None:
    batch = server.sessions.read([device.report({1: "secret"})], server.now)
    decide([Part(server.sessions, batch)], server.store.look, server.now, server.wall)
    shown = f"{batch.changes} {batch.accepted} {list(batch.slots)}"
    assert "secret" not in shown
    assert device.keys.client.hex() not in shown
    assert repr(device.keys.client) not in shown
