"""A store that cannot write: devices are told so under a security token, nothing is lost, and it ends by itself."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.registration.admission import STORE_PAUSE
from dpe_server.registration.transaction_table import PER_DEVICE
from dpe_server.store.contract import StoreError
from tests.server.registration.double import Device, Server, confirmation

Failing = Callable[[Server], AbstractContextManager[None]]


@contextmanager
def full(server: Server) -> Iterator[None]:
    writer = server.store._database._writer
    writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
    yield
    writer.execute(f"PRAGMA max_page_count = {2**30}")


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    server.store._database._writer.execute("PRAGMA query_only = ON")
    yield
    server.store._database._writer.execute("PRAGMA query_only = OFF")


@contextmanager
def locked(server: Server) -> Iterator[None]:
    with closing(sqlite3.connect(server.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("failing", [full, read_only, locked])
def test_a_store_that_cannot_write(server: Server, failing: Failing) -> None:
    waiting = [Device(server, f"352099001{n:05d}").offered() for n in range(60)]
    successes = [success for success, _, _ in waiting]
    late = Device(server, "35209900299999")
    with failing(server):
        for reply in server.handle(successes):
            assert (reply.code, reply.payload, reply.max_age) == (Code.SERVICE_UNAVAILABLE, b"", 30)
        request = late.request()
        response, _ = late.receive(request, server.send(request))
        assert (response.status, response.retry_after) == (Status.UNAVAILABLE, 30)
        server.now += STORE_PAUSE
        request = late.request()
        reply = server.send(request)
        assert late.receive(request, reply)[0].status == Status.OK, "it tries again"
        success, _ = late.success(late.receive(request, reply)[1], reply)
        assert server.send(*successes, success).code == Code.SERVICE_UNAVAILABLE, "and sees that it still fails"
        assert not server.rows()
    for (_, last, _), reply in zip(waiting, server.handle(successes), strict=True):
        assert confirmation(reply, last).status == Status.OK
    late.register()
    assert len(server.rows()) == len(waiting) + 1


@pytest.fixture
def unreadable(server: Server) -> Callable[[str], AbstractContextManager[None]]:
    """A function that makes one method of the store fail while it is entered."""

    @contextmanager
    def failing(method: str) -> Iterator[None]:
        def fail(*arguments: object, **named: object) -> object:
            raise StoreError("made to fail")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.store, method, fail)
            yield

    return failing


Unreadable = Callable[[str], AbstractContextManager[None]]


def refused_until_the_pause_is_over(server: Server, device: Device) -> None:
    server.now += STORE_PAUSE - 0.1
    request = device.request()
    assert device.receive(request, server.send(request))[0].status == Status.UNAVAILABLE
    server.now += 0.1
    device.register()


def test_whatever_read_fails_nothing_is_offered_for_a_while(
    server: Server, device: Device, unreadable: Unreadable
) -> None:
    with unreadable("look"):
        request = device.request()
        assert device.receive(request, server.send(request))[0].status == Status.UNAVAILABLE
    refused_until_the_pause_is_over(server, device)
    success, _, _ = device.offered()
    server.restart()
    with unreadable("look"):
        for reply in server.handle([success, success]):
            assert (reply.code, reply.payload, reply.max_age) == (Code.SERVICE_UNAVAILABLE, b"", 30)
    refused_until_the_pause_is_over(server, device)


def test_who_has_no_key_gets_no_message_from_a_server_that_cannot_read(
    server: Server, device: Device, unreadable: Unreadable
) -> None:
    device.key = bytes(32)
    with unreadable("look"):
        assert server.send(device.request()) == UNAUTHORIZED


def test_a_transaction_whose_commit_failed_or_is_done_makes_room_like_any_other(server: Server, device: Device) -> None:
    for broken in (True, False):
        success, _, _ = device.offered()
        server.store.broken = broken
        server.send(success)
        server.store.broken = False
        server.now += STORE_PAUSE
        for _ in range(PER_DEVICE):
            device.offered()
        assert len(server.registrar._transactions) == PER_DEVICE
        assert (server.send(success) == UNAUTHORIZED) == broken, "the oldest has gone; only the store knows it"


def test_a_transaction_that_is_not_committed_is_forgotten(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.revoke(device)
    assert server.send(success) == UNAUTHORIZED
    assert len(server.registrar._transactions) == 0
