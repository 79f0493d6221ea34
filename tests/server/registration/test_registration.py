"""Registrations that succeed, messages that come again, and which of two registrations wins."""

import itertools
from hashlib import sha256
from os import urandom

import pytest

from dpe_coap.binding import Code
from dpe_coap.client_ids import client_id_bytes
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import nobodys
from dpe_server.registration.transaction_table import PER_DEVICE
from dpe_server.registration.transactions import LIFE
from dpe_server.store.contract import End, Revoke, Unrevoke
from dpe_server.store.questions import Facts
from tests.server.registration.double import FIRST, LAST, WALL, Device, Server, confirmation


def test_registration(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    assert reply.code == Code.CHANGED
    response, step = device.receive(request, reply)
    assert response.status == Status.OK
    assert response.version == (1, 0)
    assert response.client_id is not None
    assert FIRST <= int.from_bytes(response.client_id, "big") <= LAST
    assert response.sealed_handle is not None
    claim = server.keys.claim(step.mask(response.sealed_handle), nobodys(urandom))
    assert claim == (1, device.imei, WALL + 1, device.key, True), "its handle was issued this very second"
    assert not server.rows(), "nothing is written before SUCCESS"

    success, last = device.success(step, reply)
    answer = server.send(success)
    confirm = confirmation(answer, last)
    assert (confirm.status, confirm.lifetime) == (Status.OK, 86400)
    assert [len(payload) for payload in (request, reply.payload, success)] == [61, 72, 32]

    (row,) = server.rows()
    assert client_id_bytes(row.client_id) == response.client_id
    assert row.device == server.device_id(device.imei)
    assert (row.version, row.suite, row.rule, row.firmware) == ((1, 0), 1, "current", None)
    assert (row.th3, row.success_hash, row.confirm) == (last.th3, sha256(success).digest(), answer.payload)
    assert (row.established_at, row.expires_at) == (WALL, WALL + 86400)
    assert (row.lifetime, row.mark, row.seen_at, row.record) == (86400, None, None, b"")
    assert row.epoch == 1
    at_rest = AtRest(server.keys.at_rest, urandom)
    assert at_rest.open_imei(row.sealed_imei, row.device) == device.imei
    assert at_rest.open_keys(row.sealed_keys, row.client_id) == b"".join(last.export())
    assert server.events() == ["response", "established"]


def test_x25519_suite(server: Server, device: Device) -> None:
    private = urandom(32)
    request = device.request("2.0", private=private, firmware="4.2.1")
    reply = server.send(request)
    response, step = device.receive(request, reply, private)
    assert response.version == (1, 3), "the version the policy selects"
    success, last = device.success(step, reply)
    confirm = confirmation(server.send(success), last)
    assert (confirm.status, confirm.lifetime) == (Status.OK, None)
    (row,) = server.rows()
    assert (row.suite, row.version, row.firmware, row.expires_at) == (2, (1, 3), "4.2.1", None)


def test_a_session_knows_the_epoch_of_its_credential(server: Server) -> None:
    for epoch in (1, 2):
        Device(server, f"3520990017614{epoch}", epoch=epoch).register()
    assert {row.epoch for row in server.rows()} == {1, 2}


def test_resent_messages_get_the_same_bytes(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    assert server.send(request) == reply
    assert server.send(request, request) == reply
    response, step = device.receive(request, reply)
    success, last = device.success(step, reply)
    answer = server.send(success)
    confirmation(answer, last)
    assert server.send(success) == answer
    assert server.send(request) == reply, "while the transaction lives"
    server.now += LIFE + 1
    assert server.send(success) == answer, "from the store"
    server.restart()
    assert server.send(success) == answer, "after a restart"
    assert server.client_ids() == [response.client_id]


def test_resent_messages_are_counted(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    _, step = device.receive(request, reply)
    success, _ = device.success(step, reply)
    server.send(success)
    assert server.registrar.resent == 0
    server.send(request)
    server.send(success)
    assert server.registrar.resent == 2
    other = device.request()
    server.handle([other, other])
    assert server.registrar.resent == 3
    server.send(success[:-1] + bytes([success[-1] ^ 1]))
    assert server.registrar.resent == 3, "what proves nothing repeats nothing"
    declined, _, _ = device.offered(status=Status.DECLINED)
    server.send(declined)
    server.send(declined)
    assert server.registrar.resent == 4
    waiting, _, _ = device.offered()
    for batch in [server.registrar.read([waiting], server.now) for _ in range(2)]:
        server.registrar.decide(batch, Facts(), server.now, server.wall)
    assert server.registrar.resent == 5, "the second waits for the commit of the first"


def test_one_batch_may_hold_the_same_message_twice(server: Server, device: Device) -> None:
    request = device.request()
    first, second = server.handle([request, request])
    assert first == second
    _, step = device.receive(request, first)
    success, last = device.success(step, first)
    answers = server.handle([success, success])
    assert answers[0] == answers[1]
    assert confirmation(answers[0], last).status == Status.OK
    assert len(server.rows()) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_batch_may_be_prepared_while_another_is_committed(server: Server, device: Device, fails: bool) -> None:
    older, older_step, _ = device.offered()
    newer, newer_step, response = device.offered()
    registrar, store = server.registrar, server.store
    first = registrar.read([older], server.now)
    assert registrar.decide(first, Facts(), server.now, server.wall) is None
    second = registrar.read([older, newer], server.now)
    assert registrar.decide(second, Facts(), server.now, server.wall) is None
    assert (first.waits, second.waits) == (False, True)
    outcomes = None if fails else store.commit(first.changes)
    (answer,) = registrar.complete(first, outcomes, server.now).replies
    again, last = registrar.complete(second, store.commit(second.changes), server.now).replies
    assert again == answer
    assert (answer.code == Code.SERVICE_UNAVAILABLE) == fails
    assert confirmation(last, newer_step).status == Status.OK
    assert confirmation(server.send(older), older_step).status == Status.SUPERSEDED
    assert server.client_ids() == [response.client_id]


def test_a_repeated_success_and_a_request_of_another_device_in_one_batch(server: Server, device: Device) -> None:
    """The REQUEST is decided by the first look at the store, the SUCCESS by the second."""
    success, _, _ = device.offered()
    answer = server.send(success)
    other = Device(server, "35209900176149")
    request = other.request()
    again, reply = server.handle([success, request])
    assert again == answer
    assert other.receive(request, reply)[0].status == Status.OK


def test_a_batch_of_many_devices(server: Server) -> None:
    devices = [Device(server, f"352099001{n:05d}") for n in range(100)]
    requests = [device.request() for device in devices]
    replies = server.handle(requests)
    exchanges = []
    for device, request, reply in zip(devices, requests, replies, strict=True):
        _, step = device.receive(request, reply)
        exchanges.append(device.success(step, reply))
    answers = server.handle([success for success, _ in exchanges])
    for answer, (_, last) in zip(answers, exchanges, strict=True):
        assert confirmation(answer, last).status == Status.OK
    assert len(set(server.client_ids())) == 100


def test_reregistration_replaces_the_session(server: Server, device: Device) -> None:
    old = device.register().client_id
    server.wall += 5
    new = device.register().client_id
    assert old != new
    assert server.client_ids() == [new]


def test_an_older_success_is_superseded(server: Server, device: Device) -> None:
    older, older_step, _ = device.offered()
    newer, newer_step, response = device.offered()
    assert confirmation(server.send(newer), newer_step).status == Status.OK
    answer = server.send(older)
    assert confirmation(answer, older_step).status == Status.SUPERSEDED
    assert server.send(older) == answer
    assert server.client_ids() == [response.client_id]


def test_the_answer_to_a_replaced_session_is_superseded(server: Server, device: Device) -> None:
    """Were it still ok, the client would believe in a session that is gone."""
    older, older_step, _ = device.offered()
    assert confirmation(server.send(older), older_step).status == Status.OK
    device.register()
    assert confirmation(server.send(older), older_step).status == Status.SUPERSEDED
    server.restart()
    assert server.send(older) == UNAUTHORIZED


def test_an_older_success_does_not_supersede_a_newer_one_whose_session_is_over_and_pruned(
    server: Server, device: Device
) -> None:
    older, older_step, _ = device.offered()
    newer, newer_step, _ = device.offered()
    assert confirmation(server.send(newer), newer_step).status == Status.OK
    server.wall += 10 * 365 * 86400
    assert len(server.store.expire(int(server.wall))) == 1
    assert server.store.prune(int(server.wall) + 1) == 1
    assert confirmation(server.send(older), older_step).status == Status.OK
    assert server.send(newer) == UNAUTHORIZED


@pytest.mark.parametrize("end", ["by an operator", "by revocation, lifted", "by its time"])
def test_what_is_not_newer_than_an_ended_session_is_refused_alike(server: Server, device: Device, end: str) -> None:
    """Nobody is told that a newer registration won: there is none any more."""
    older, _, _ = device.offered()
    newer, step, _ = device.offered()
    assert confirmation(server.send(newer), step).status == Status.OK
    name = server.rows()[0].device
    if end == "by an operator":
        server.store.commit([End(name, int(server.wall))])
    elif end == "by revocation, lifted":
        server.store.commit([Revoke(name, int(server.wall)), Unrevoke(name)])
    else:
        server.store.expire(2**60)
    assert [server.send(success) for success in (newer, older)] == [UNAUTHORIZED] * 2
    assert server.rows() == []
    device.register()
    assert len(server.client_ids()) == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_registrations_of_one_device_in_a_batch(server: Server, device: Device, order: tuple[int, int]) -> None:
    exchanges = [device.offered() for _ in range(2)]
    answers = server.handle([exchanges[n][0] for n in order])
    statuses = {n: confirmation(answer, exchanges[n][1]).status for n, answer in zip(order, answers, strict=True)}
    assert statuses == {0: Status.SUPERSEDED, 1: Status.OK}
    assert server.client_ids() == [exchanges[1][2].client_id]


def test_the_newest_wins_when_the_wall_clock_goes_back(server: Server, device: Device) -> None:
    device.register()
    server.wall -= 10 * 365 * 86400
    device.register()
    server.restart()
    newest = device.register().client_id
    assert server.client_ids() == [newest]


def test_a_replayed_request_disturbs_nothing(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    _, step = device.receive(request, reply)
    success, last = device.success(step, reply)
    answer = server.send(success)
    rows = server.rows()
    server.now += LIFE + 1
    for _ in range(2 * PER_DEVICE):
        assert server.send(request).code == Code.CHANGED
    assert server.rows() == rows
    assert server.send(success) == answer
    assert confirmation(answer, last).status == Status.OK


def test_stable_client_id(server: Server, device: Device) -> None:
    private = urandom(32)
    given = set()
    for _ in range(3):
        request = device.request("2.1", private=private)
        reply = server.send(request)
        response, step = device.receive(request, reply, private)
        again = device.request("2.1", private=private)
        assert device.receive(again, server.send(again), private)[0].client_id == response.client_id
        success, last = device.success(step, reply)
        assert confirmation(server.send(success), last).status in (Status.OK, Status.SUPERSEDED)
        given.add(response.client_id)
        server.restart()
    assert len(given) == 1
    assert len(server.rows()) == 1


def test_fresh_client_ids_differ(server: Server, device: Device) -> None:
    assert len({device.register().client_id for _ in range(5)}) == 5


def test_reload_keeps_what_was_offered(server: Server, device: Device) -> None:
    success, last, _ = device.offered()
    server.registrar.reload(keys=server.keys, policy=policy.parse('[[rule]]\naction = "refuse"\n'))
    assert confirmation(server.send(success), last).status == Status.OK
    request = device.request()
    assert device.receive(request, server.send(request))[0].status == Status.REFUSED


def test_ten_devices_interleaved(server: Server) -> None:
    """Every interleaving of resent and reordered messages leaves one row a device, its newest."""
    devices = [Device(server, f"3520990017614{n}") for n in range(10)]
    exchanges = [(device, device.offered()) for device, _ in itertools.product(devices, range(2))]
    for _, (success, _, _) in reversed(exchanges):
        server.send(success)
    newest = {exchange[2].client_id for _, exchange in exchanges[1::2]}
    assert set(server.client_ids()) == newest
