"""Details of a batch of protected requests: attempts, what is kept of keys, shares, and what is said of refusals."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from dpe_coap import oscore
from dpe_coap.binding import Code
from dpe_coap.client_ids import client_id_text
from dpe_coap.session_messages import decode_answer
from dpe_server import policy
from dpe_server.handling.handler import Part, decide
from dpe_server.handling.reply import busy
from dpe_server.keys.at_rest import device_text
from dpe_server.session.sessions import Sessions
from dpe_server.session.shares import BURST
from dpe_server.store.contract import Contact, OverridePolicies
from tests.server.session.double import POLICY, Device, Server


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def device(server: Server) -> Device:
    return Device(server)


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """The calls of a function of ``oscore`` from now on, one entry for each."""
    calls: list[Any] = []
    function: Callable[..., Any] = getattr(oscore, name)

    def counting(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(oscore, name, counting)
    return calls


def test_a_repeat_does_not_keep_a_batch_from_the_requests_behind_it(server: Server, device: Device) -> None:
    other = Device(server, 0x11111111111111)
    repeated = device.report({0: 86})
    (first,) = server.send(repeated)
    fresh = other.report({0: 5})
    again, answer = server.send(repeated, fresh)
    assert again == first
    assert other.opened(fresh, answer)[0] == Code.CHANGED


def test_each_request_has_an_attempt_of_16_bytes_of_its_own(server: Server, device: Device) -> None:
    payloads = [device.report({0: 1}), device.get(), device.protect(b"\x03\xb3dpe")]
    batch = server.sessions.read(payloads, server.now)
    decide([Part(server.sessions, batch)], server.store.look, server.now, server.wall)
    attempts = [change.attempt for change in batch.changes if isinstance(change, Contact)]
    assert [len(attempt) for attempt in attempts] == [16] * 3
    assert len(set(attempts)) == 3
    assert b"".join(attempts) == batch.attempts


def test_a_commit_of_which_nobody_has_heard_is_answered_when_it_is_tried_again(server: Server, device: Device) -> None:
    request = device.report({0: 86})
    batch = server.sessions.read([request], server.now)
    decide([Part(server.sessions, batch)], server.store.look, server.now, server.wall)
    server.store.commit(batch.changes)  # durable, but that is lost
    (reply,) = server.sessions.complete(batch, server.store.commit(batch.changes), server.now).replies
    assert device.opened(request, reply)[0] == Code.CHANGED


def test_the_keys_of_a_session_are_derived_once(
    server: Server, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = counted(monkeypatch, "derive")
    for number in range(1, 4):
        device.ask(device.report({0: number}))
        assert len(derived) == 1
        assert len(server.sessions._contexts) == 1
    device.ask(device.delete())
    assert len(derived) == 1
    assert len(server.sessions._contexts) == 0


def test_who_proves_nothing_leaves_no_keys_behind(
    server: Server, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = counted(monkeypatch, "derive")
    good = device.report({0: 86})
    server.send(good[:-1] + bytes([good[-1] ^ 1]))
    assert (len(derived), len(server.sessions._contexts)) == (1, 0)


def test_every_refusal_derives_keys_once_and_fails_to_decrypt_once(
    server: Server, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived, failed = counted(monkeypatch, "derive"), counted(monkeypatch, "fail")
    device.ask(device.report({0: 1}))
    device.ask(device.report({0: 2}))
    good = device.report({0: 3})
    server.send(device.report({0: 3}, number=1))
    assert (len(derived), len(failed)) == (2, 1)
    server.send(good[:-1] + bytes([good[-1] ^ 1]))
    assert (len(derived), len(failed)) == (3, 1)
    assert derived[0] == derived[1] == derived[2]  # the session's own, as if they were not kept


def test_each_device_has_a_share_of_its_own(server: Server, device: Device) -> None:
    other = Device(server, 0x11111111111111)
    for one in (device, other):
        replies = server.send(*(one.report({0: n}) for n in range(BURST + 1)))
        assert [reply.protected for reply in replies] == [True] * BURST + [False]


def test_who_has_lost_to_another_process_is_noted(server: Server, device: Device) -> None:
    request = device.report({0: 86})
    other = server.another()
    batch = other.read([request], server.now)
    decide([Part(other, batch)], server.store.look, server.now, server.wall)
    server.send(request)
    completed = other.complete(batch, server.store.commit(batch.changes), server.now)
    (record,) = completed.records
    held = server.store.session(device.client_id)
    assert held is not None
    named = {"device": device_text(device.device), "registration": held.ordinal}
    details = {**named, "client_id": client_id_text(device.client_id), "reason": "not committed"}
    assert record == ("unauthenticated", details, True, request[-8:])


def test_a_record_that_is_too_large_is_explained(server: Server, device: Device) -> None:
    device.ask(device.report(dict.fromkeys(range(100, 164), 0)))
    answer = device.ask(device.report({0: 1}))
    assert answer[:5] == bytes([Code.REQUEST_ENTITY_TOO_LARGE]) + b"\xc2\x01\x01\xff"
    assert cbor2.loads(answer[5:]) == {
        -1: "too many or too large properties",
        -2: "at most 64, and 4096 bytes in all",
    }


def test_a_device_is_told_to_wait_a_minute_unless_the_server_is_told_otherwise(server: Server, device: Device) -> None:
    server.sessions = Sessions(keys=server.keys, policy=policy.parse(POLICY), random=lambda size: bytes(size))
    server.store.broken = True
    assert server.send(device.report({0: 86})) == [busy(60)]


def test_what_an_operator_has_set_lasts_as_long_as_the_rule_says_and_else_as_before(server: Server) -> None:
    device = Device(server, lifetime=600)
    server.store.commit([OverridePolicies(device.device, b"\xa1\x01\xa0")])
    for rule, lifetime in (("others", 600), ("everyone", 86_400)):
        server.sessions.reload(policy=policy.parse(POLICY.replace("everyone", rule)))
        _, answer = decode_answer(device.ask(device.get())[4:])
        assert (answer.policies, answer.lifetime) == ({1: {}}, lifetime)


def test_only_what_is_accepted_with_kept_keys_is_a_hit(server: Server, device: Device) -> None:
    contexts = server.sessions.contexts
    device.ask(device.report({0: 1}))
    assert contexts.hits == 0
    replies = server.send(device.report({0: 2}), device.report({0: 3}), device.report({0: 4}, number=1))
    assert [reply.protected for reply in replies] == [True, True, False]
    assert contexts.hits == 2
    request = device.report({0: 5})
    assert server.send(request, request)[0].protected
    assert contexts.hits == 3, "a repeat in one batch waits with the first"
    server.send(request)
    assert contexts.hits == 3, "a repeat is answered as before"


def test_repeats_are_counted(server: Server, device: Device) -> None:
    request = device.report({0: 1})
    server.send(request)
    assert server.sessions.resent == 0
    server.send(request)
    another = device.report({0: 2})
    server.send(another, another)
    assert server.sessions.resent == 2
