"""The ends of a transaction and a session, the bounds of the table and the range, and a store that fails."""

from os import urandom

import pytest

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.registration.admission import STORE_PAUSE
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transaction_table import PER_DEVICE
from dpe_server.registration.transactions import LIFE
from dpe_server.store.contract import StoreError
from dpe_server.store.questions import Facts, Questions
from tests.server.registration.double import POLICY, REALM, Device, Server, confirmation


def test_success_of_a_lost_transaction(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.restart()
    assert server.send(success) == UNAUTHORIZED
    assert not server.rows()
    device.register()
    assert len(server.rows()) == 1


def test_a_transaction_ends(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.now += LIFE + 0.1
    assert server.send(success) == UNAUTHORIZED
    assert not server.rows()


def test_exhausted_range(server: Server) -> None:
    for n in range(2):
        Device(server, f"3520990017614{n}").register("3.0")
    device = Device(server, "35209900176149")
    request = device.request("3.0")
    reply = server.send(request)
    response, _ = device.receive(request, reply)
    assert (reply.code, reply.max_age) == (Code.SERVICE_UNAVAILABLE, 30)
    assert (response.status, response.retry_after) == (Status.UNAVAILABLE, 30)


def test_store_failure(server: Server, device: Device) -> None:
    success, last, response = device.offered()
    server.store.broken = True
    reply = server.send(success)
    assert (reply.code, reply.payload, reply.max_age) == (Code.SERVICE_UNAVAILABLE, b"", 30)
    request = device.request()
    refusal, _ = device.receive(request, server.send(request))
    assert (refusal.status, refusal.retry_after) == (Status.UNAVAILABLE, 30)

    server.store.broken = False
    confirm = confirmation(server.send(success), last)
    assert confirm.status == Status.OK, "the same SUCCESS, once the store is back"
    assert server.client_ids() == [response.client_id]
    device.register()


def test_a_device_is_told_to_come_back_in_a_minute_unless_configured(server: Server, device: Device) -> None:
    parts = {"keys": server.keys, "policy": policy.parse(POLICY), "ordinals": Ordinals(0), "random": urandom}
    server.registrar = Registrar(realm=REALM, **parts)  # type: ignore[arg-type]
    success, _, _ = device.offered()
    server.store.broken = True
    assert server.send(success).max_age == 60


def test_ordinals_are_given_and_rise_with_the_clock(server: Server, device: Device) -> None:
    parts = {"keys": server.keys, "policy": policy.parse(POLICY), "ordinals": Ordinals(7), "random": urandom}
    server.registrar = Registrar(realm=REALM, **parts)  # type: ignore[arg-type]
    device.register()
    assert server.rows()[0].ordinal == 7 + server.now * 1e6


def test_recovery_without_a_waiting_success(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.store.broken = True
    server.send(success)
    server.store.broken = False
    server.now += 4.9
    request = device.request()
    assert server.send(request).code == Code.SERVICE_UNAVAILABLE
    server.now += 0.1
    device.register()
    assert STORE_PAUSE == 5.0


def test_nothing_is_offered_for_a_while_after_the_store_was_unreadable(
    server: Server, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(questions: Questions) -> Facts:
        raise StoreError("made to fail")

    device.register()
    with monkeypatch.context() as patch:
        patch.setattr(server.store, "look", fail)
        assert server.send(device.request()).code == Code.SERVICE_UNAVAILABLE
    server.now += 4.9
    assert server.send(device.request()).code == Code.SERVICE_UNAVAILABLE
    server.now += 0.1
    device.register()


def test_unreadable_store(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.store.close()
    request = device.request()
    response, _ = device.receive(request, server.send(request))
    assert response.status == Status.UNAVAILABLE
    server.now += LIFE + 1
    assert server.send(success).code == Code.SERVICE_UNAVAILABLE
    server.start()


def test_a_device_has_at_most_four_transactions(server: Server, device: Device) -> None:
    exchanges = [device.offered() for _ in range(PER_DEVICE + 1)]
    assert server.send(exchanges[0][0]) == UNAUTHORIZED
    success, last, _ = exchanges[1]
    assert confirmation(server.send(success), last).status == Status.OK


def test_the_table_is_bounded(server: Server) -> None:
    server.total = 10
    server.restart()
    exchanges = [Device(server, f"352099001{n:05d}").offered() for n in range(15)]
    answers = [server.send(success) for success, _, _ in exchanges]
    assert [answer == UNAUTHORIZED for answer in answers] == [True] * 5 + [False] * 10


def test_an_expired_session_is_not_confirmed(server: Server, device: Device) -> None:
    success, last, _ = device.offered()
    assert confirmation(server.send(success), last).lifetime == 86400
    server.now += 86400
    server.wall += 86400
    assert server.send(success) == UNAUTHORIZED
    assert not server.rows()
