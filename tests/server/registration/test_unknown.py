"""A SUCCESS whose commit is unknown: 5.03, and when it comes again, to whichever node, that settles it."""

import pytest

from dpe_coap.numbers import Status
from dpe_server.handling.handler import handle
from dpe_server.handling.reply import UNAUTHORIZED, busy
from dpe_server.registration.admission import STORE_PAUSE
from dpe_server.registration.batch import Registrations
from dpe_server.store.contract import End, Outcome
from dpe_server.store.questions import Facts
from tests.server.registration.double import Device, Server, confirmation


def unknown(server: Server, success: bytes) -> Registrations:
    """Have a SUCCESS decided, and tell the registrar that nobody knows what became of its commit."""
    batch = server.registrar.read([success], server.now)
    assert server.registrar.decide(batch, Facts(), server.now, server.wall) is None
    assert server.registrar.complete(batch, None, server.now).replies == [busy(30)]
    return batch


@pytest.mark.parametrize("durable", [True, False])
def test_the_same_success_again_settles_it(server: Server, device: Device, durable: bool) -> None:
    success, step, response = device.offered()
    batch = unknown(server, success)
    if durable:
        server.store.commit(batch.changes)
    assert confirmation(server.send(success), step).status == Status.OK
    assert server.client_ids() == [response.client_id]


def test_another_node_answers_it_if_it_was_durable(server: Server, device: Device) -> None:
    success, step, _ = device.offered()
    server.store.commit(unknown(server, success).changes)
    ((reply,), _) = handle(server.another(), server.store, [success], server.now, server.wall)
    assert confirmation(reply, step).status == Status.OK


def test_another_node_refuses_it_if_it_was_not_and_a_late_commit_takes_no_newer_session_away(
    server: Server, device: Device
) -> None:
    success, _, _ = device.offered()
    batch = unknown(server, success)
    other = server.another()
    ((reply,), _) = handle(other, server.store, [success], server.now, server.wall)
    assert reply == UNAUTHORIZED
    server.now += STORE_PAUSE
    response = device.register()
    assert server.store.commit(batch.changes) == [Outcome.SUPERSEDED]
    assert server.client_ids() == [response.client_id]


def test_a_late_commit_brings_no_ended_session_back(server: Server, device: Device) -> None:
    success, step, _ = device.offered()
    batch = unknown(server, success)
    assert confirmation(server.send(success), step).status == Status.OK
    server.store.commit([End(server.device_id(device.imei), int(server.wall))])
    assert server.store.commit(batch.changes) == [Outcome.ENDED]
    assert server.send(success) == UNAUTHORIZED
    assert server.client_ids() == []


def test_what_became_durable_while_the_store_was_looked_at_is_not_offered(server: Server, device: Device) -> None:
    batch = server.registrar.read([device.request()], server.now)
    facts = server.store.look(batch.questions)
    assert batch.applications is not None
    (probe,) = batch.applications.probes
    server.registrar._established[probe] = bytes(16)
    further = server.registrar.decide(batch, facts, server.now, server.wall)
    assert further is not None, "its probe was free when it was looked up, and is not any more"
    assert probe not in further.holders
    server.registrar.read([], server.now)
    assert not server.registrar._established


def test_sessions_that_became_durable_since_count_in_every_answer() -> None:
    facts = Facts(holders={1: b"a"}, in_use={(1, 4): {1}, (8, 9): set()})
    facts.add_holders({2: b"b", 9: b"c"})
    assert facts.holders == {1: b"a", 2: b"b", 9: b"c"}
    assert facts.in_use == {(1, 4): {1, 2}, (8, 9): {9}}
