"""A store that fails, too much at once, and datagrams from anybody."""

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from dpe_coap.numbers import Status
from dpe_server.handling import batching
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Change, Outcome, StoreError
from dpe_server.store.sqlite.store import SqliteStore
from tests import coap
from tests.coap import ACK, CON, DISCOVERY, GET, NON, POST, REGISTER, Client, Message
from tests.end_to_end.devices import Device, Offered
from tests.end_to_end.running import Running, running_on


class Disk:
    """What may happen to a commit."""

    def __init__(self) -> None:
        self.full = False
        self.begun = threading.Event()
        self.ready = threading.Event()
        self.ready.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    commit = SqliteStore.commit

    def try_commit(store: SqliteStore, changes: Sequence[Change], **options: float) -> list[Outcome]:
        disk.begun.set()
        assert disk.ready.wait(30)
        if disk.full:
            raise StoreError("the disk is full")
        return commit(store, changes, **options)

    monkeypatch.setattr(SqliteStore, "commit", try_commit)
    return disk


def test_a_store_that_fails_gives_5_03_and_recovers(
    disk: Disk, state: StateDir, running: Running, client: Client
) -> None:
    waiting, late = Device(state), Device(state)
    request = waiting.request()
    offer = waiting.read(request, client.post(request).payload)
    success = offer.success()
    disk.full = True
    response = client.post(success)
    assert (response.dotted, response.uint(coap.MAX_AGE), response.payload) == ("5.03", 60, b"")
    request = late.request()
    response = client.post(request)
    assert (response.dotted, response.uint(coap.MAX_AGE)) == ("5.03", 60)
    answer = late.read(request, response.payload).response
    assert (answer.status, answer.retry_after) == (Status.UNAVAILABLE, 60)
    disk.full = False
    confirm, _ = offer.confirm(success, client.post(success).payload)
    assert confirm.status == Status.OK
    request = late.request()
    assert late.read(request, client.post(request).payload).response.status == Status.OK
    assert [log["event"] for log in running.logs] == ["store not writable", "store writable again"]
    running.logs.clear()


@dataclass
class Slow:
    disk: Disk
    client: Client
    offer: Offered
    success: bytes

    def finish(self) -> None:
        """Let the commit end, and verify its CONFIRM: in the acknowledgement, however late."""
        self.disk.ready.set()
        answer = self.client.receive()
        assert answer is not None
        assert (answer.type, answer.message_id, answer.coap_token) == (ACK, 60_000, b"tt")
        assert self.offer.confirm(self.success, answer.payload)[0].status == Status.OK


@pytest.fixture
def slow(disk: Disk, state: StateDir, client: Client) -> Iterator[Slow]:
    """A registration whose commit takes until ``ready`` is set."""
    device = Device(state)
    request = device.request()
    offer = device.read(request, client.post(request).payload)
    success = offer.success()
    disk.ready.clear()
    client.send(bytes(Message(CON, POST, 60_000, b"tt", REGISTER, success)))
    assert disk.begun.wait(10)
    yield Slow(disk, client, offer, success)
    disk.ready.set()


def test_discovery_is_answered_while_a_commit_takes_its_time(slow: Slow, running: Running) -> None:
    with Client(running.uri) as other:
        for _ in range(100):
            assert other.discover().dotted == "2.05"
    slow.finish()


def test_overload_is_5_03_and_empty(
    slow: Slow, state: StateDir, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "WAITING", 8)
    with Client(running.uri) as crowd, Client(running.uri) as late:
        offers = []
        for _ in range(7):
            device = Device(state)
            request = device.request()
            offers.append(device.read(request, crowd.post(request).payload))  # a REQUEST does not wait for the disk
        successes = [offer.success() for offer in offers]
        for number, success in enumerate(successes):
            crowd.send(bytes(Message(CON, POST, number, bytes([number]), REGISTER, success)))
        assert crowd.discover().dotted == "2.05"  # so the requests before it have been seen
        request = Device(state).request()
        late.send(bytes(Message(CON, POST, 100, b"late", REGISTER, request)))
        assert late.receive() == Message(ACK, 0xA3, 100, b"late", ((coap.MAX_AGE, b"\x3c"),))
        response = late.request(POST, REGISTER, b"\xff")  # nor is it better to be answered by the aiocoap endpoint
        assert (response.dotted, response.uint(coap.MAX_AGE), response.payload) == ("5.03", 60, b"")
        assert late.discover().dotted == "2.05"
        slow.finish()
        for number, (offer, success) in enumerate(zip(offers, successes, strict=True)):
            response = crowd.receive()  # type: ignore[assignment]
            assert (response.message_id, response.dotted) == (number, "2.04")
            assert offer.confirm(success, response.payload)[0].status == Status.OK
        assert late.post(request).dotted == "2.04"


def test_10_000_random_and_mutated_datagrams_leave_the_server_answering(
    state: StateDir, running: Running, client: Client
) -> None:
    """Nothing is logged (``running`` sees to it), nothing is 5.00, and the server goes on."""
    source = random.Random(7252)
    device = Device(state)
    request = device.request(x25519=True, firmware="1.0")
    offer = device.read(request, client.post(request).payload)
    valid = [
        Message(CON, POST, 1, b"", REGISTER, request),
        Message(NON, POST, 2, b"", REGISTER, device.request()),
        Message(CON, POST, 3, b"", REGISTER, offer.success()),
        Message(CON, POST, 4, b"", [*REGISTER, (27, b"\x08"), (60, b"\x20")], request[:16]),
        Message(CON, POST, 4, b"", [*REGISTER, (27, b"\x18")], request[16:32]),
        Message(CON, GET, 5, b"", [*DISCOVERY, (15, b"rt=dpe*"), (23, b"\x00")]),
        Message(CON, GET, 6, b"", [(3, b"host"), (7, b"\x16\x33"), *DISCOVERY, (17, b"\x28")]),
        Message(ACK, 0, 7),
        Message(CON, 0x45, 8, b"", [(12, b"\x3c")], b"payload"),
    ]
    codes: set[int] = set()

    def drain() -> None:
        client.send(bytes(Message(CON, GET, 0xFFFF, b"drained!", DISCOVERY)))
        while (message := client.receive()) is None or message.coap_token != b"drained!":
            assert message is not None, "the server does not answer"
            codes.add(message.code)

    for number in range(10_000):
        if number % 3 == 0:
            datagram = bytearray(source.randbytes(source.randrange(100)))
            if datagram and source.random() < 0.8:
                datagram[0] = datagram[0] & 0x3F | 0x40  # version 1, or all is over at the first byte
        else:
            message = source.choice(valid)
            if message.code:
                message = replace(message, coap_token=number.to_bytes(2, "big"))
            datagram = bytearray(bytes(message))
            for _ in range(source.choice((0, 1, 1, 2, 8))):
                datagram[source.randrange(len(datagram))] = source.randrange(256)
            if source.random() < 0.1:
                del datagram[source.randrange(len(datagram)) :]
            if source.random() < 0.1:
                datagram += source.randbytes(source.randrange(300))
        client.send(bytes(datagram))
        if number % 50 == 49:  # the socket's buffer holds this many
            drain()
    assert 0xA0 not in codes
    assert {0, 0x44, 0x45, 0x80, 0x81, 0x82, 0x84, 0x85, 0x8F} <= codes
    with Client(running.uri) as fresh:
        assert fresh.discover().dotted == "2.05"
        request = device.request()
        assert device.read(request, fresh.post(request).payload).response.status == Status.OK


def test_stopping_finishes_the_commit_under_way_and_sends_its_answer(disk: Disk, state: StateDir) -> None:
    device = Device(state)
    with running_on(state) as running, Client(running.uri) as client:
        request = device.request()
        offer = device.read(request, client.post(request).payload)
        success = offer.success()
        disk.ready.clear()
        client.send(bytes(Message(CON, POST, 60_000, b"tt", REGISTER, success)))
        assert disk.begun.wait(10)
        stopping = asyncio.run_coroutine_threadsafe(running.server.__aexit__(), running.loop.loop)
        client.send(bytes(Message(CON, POST, 60_001, b"late", REGISTER, device.request())))
        disk.ready.set()
        stopping.result(30)
        answer = client.receive()
        if answer is not None and answer.message_id == 60_001:  # the late one came just in time, and waits for nothing
            answer = client.receive()
        assert answer is not None
        assert (answer.message_id, answer.coap_token) == (60_000, b"tt")
        confirm, _ = offer.confirm(success, answer.payload)
        assert confirm.status == Status.OK
    with running_on(state) as running, Client(running.uri) as client:
        assert client.post(success).payload == answer.payload
