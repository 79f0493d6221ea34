"""A second handler beside registrations: they share the lane, a look at the store and a commit, not their messages."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dpe_coap.binding import CONTENT_FORMAT_CBOR, MAX_PAYLOAD, Code
from dpe_coap.client_ids import client_id_of
from dpe_coap.numbers import Status
from dpe_server.coap.lane import Entrance, Lane
from dpe_server.handling.batching import Batcher
from dpe_server.handling.handler import MOST_LOOKS, Batch, Completed, Part, decide, handle
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.registration.recognition import KINDS
from dpe_server.registration.registrar import Registrar
from dpe_server.store.contract import (
    Change,
    Outcome,
    Revoke,
    StoreError,
)
from dpe_server.store.questions import Facts, Questions
from tests.coap import CON, CONTENT_FORMAT, POST, REGISTER, URI_PATH, Message
from tests.links import FakeLink
from tests.server.registration.double import Device, Server, confirmation

LOST = b"\x00\x77"
PATH = (b"lost",)
OPTIONS = [(URI_PATH, b"lost"), (CONTENT_FORMAT, b"\x3c")]


@dataclass(slots=True)
class Losses(Batch):
    client_ids: list[int] = field(default_factory=list)
    revoking: list[int] = field(default_factory=list)
    unanswered: bool = False
    """Whether the store did not answer."""


class Lost:
    """A toy: whoever sends ``a1 00 77`` and a Client ID has the device revoked that has it."""

    def __init__(self) -> None:
        self.fault: Exception | None = None

    def read(self, payloads: Sequence[bytes], now: float) -> Losses:
        client_ids = [client_id_of(payload[3:10]) for payload in payloads]
        return Losses(questions=Questions(holders=set(client_ids)), client_ids=client_ids)

    def decide(self, batch: Losses, facts: Facts | None, now: float, wall: float) -> Questions | None:
        if self.fault is not None:
            raise self.fault
        batch.unanswered = facts is None
        if facts is not None:
            batch.revoking = [client_id for client_id in batch.client_ids if client_id in facts.holders]
            batch.changes += [Revoke(facts.holders[client_id], int(wall)) for client_id in batch.revoking]
        return None

    def complete(self, batch: Losses, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        if outcomes is None or batch.unanswered:
            return Completed([busy(5)] * len(batch.client_ids), [])
        ended = dict(zip(batch.revoking, outcomes, strict=True))
        replies = [
            Reply(Code.CHANGED, ended[client_id].value.encode()) if client_id in ended else UNAUTHORIZED
            for client_id in batch.client_ids
        ]
        return Completed(replies, [AuditRecord("lost", {"devices": len(ended)})])

    def abandon(self, batch: Losses) -> None:
        pass


class Counted:
    """The store of ``server``; notes what it is asked and given."""

    def __init__(self, server: Server) -> None:
        self._store = server.store
        self.remote = server.remote
        self.looks: list[Questions] = []
        self.commits: list[list[type]] = []
        self.fails = False
        self.defect: Exception | None = None

    def look(self, questions: Questions) -> Facts:
        self.looks.append(questions)
        if self.defect is not None:
            raise self.defect
        if self.fails:
            raise StoreError("made to fail")
        return self._store.look(questions)

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        self.commits.append([type(change) for change in changes])
        if self.fails:
            raise StoreError("made to fail")
        return self._store.commit(changes)


@pytest.fixture(params=[False, True], ids=["near", "remote"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The store is near, or the batcher is told that it is not."""
    server = Server(tmp_path / "dpe.sqlite")
    server.remote = request.param
    yield server
    server.store.close()


def lost(client_id: bytes | None) -> bytes:
    assert client_id is not None
    return b"\xa2" + LOST + client_id


Together = Callable[[Batcher, Lost, Counted], Awaitable[None]]


def run(server: Server, test: Together) -> list[AuditRecord]:
    """Run ``test`` with a batcher; return what the audit log was told."""
    records: list[AuditRecord] = []

    async def main() -> None:
        counted = Counted(server)
        batcher = Batcher(
            counted, retry_after=30, audit=records.extend, clock=lambda: server.now, wall=lambda: server.wall
        )
        try:
            await asyncio.wait_for(test(batcher, Lost(), counted), 20)
        finally:
            await batcher.close()

    asyncio.run(main())
    return records


async def gathered(batcher: Batcher, *requests: Awaitable[Reply]) -> list[Reply]:
    """Have all decided in one batch: they wait together for an action that nobody else is told of."""
    action = asyncio.create_task(batcher.exclusively(lambda: None))
    await asyncio.sleep(0)
    replies = await asyncio.gather(*requests)
    await action
    return replies


def test_two_handlers_share_a_look_and_a_commit(server: Server) -> None:
    gone, coming, asking = (Device(server, f"3520990010000{number}") for number in range(3))
    theirs = gone.register().client_id
    success, last, _ = coming.offered()
    request = asking.request()

    async def test(batcher: Batcher, toy: Lost, store: Counted) -> None:
        submit = partial(batcher.submit, server.registrar)
        ended, confirmed, responded, unknown = await gathered(
            batcher,
            batcher.submit(toy, lost(theirs)),
            submit(success),
            submit(request),
            batcher.submit(toy, lost(b"\xff" * 7)),
        )
        assert ended == Reply(Code.CHANGED, Outcome.SESSION_ENDED.value.encode())
        assert unknown == UNAUTHORIZED
        assert confirmation(confirmed, last).status == Status.OK
        assert asking.receive(request, responded)[0].status == Status.OK
        (look,) = store.looks
        assert look.restrictions == {server.device_id(asking.imei)}
        assert {client_id_of(theirs or b""), client_id_of(b"\xff" * 7)} < look.holders
        (commit,) = store.commits
        assert sorted(kind.__name__ for kind in commit) == ["Revoke", "Session"]

    records = run(server, test)
    assert {record.event for record in records} == {"lost", "established", "response"}


def test_the_lane_gives_each_handler_its_own(server: Server) -> None:
    device, other = Device(server, "35209900100001"), Device(server, "35209900100002")
    theirs = other.register().client_id
    request = device.request()

    async def test(batcher: Batcher, toy: Lost, store: Counted) -> None:
        link = FakeLink()
        entrances = [
            Entrance(
                (b"dpe", b"register"), CONTENT_FORMAT_CBOR, MAX_PAYLOAD, KINDS, partial(batcher.take, server.registrar)
            ),
            Entrance(PATH, CONTENT_FORMAT_CBOR, 10, [LOST], partial(batcher.take, toy)),
        ]
        others: list[bytes] = []
        lane = Lane(link, entrances)
        lane.start(lambda datagrams, _: others.extend(datagrams))
        astray = Message(CON, POST, 3, b"cc", REGISTER, lost(theirs)), Message(CON, POST, 4, b"dd", OPTIONS, request)
        long = Message(CON, POST, 5, b"ee", OPTIONS, lost(theirs) + b"x")
        link.put(
            bytes(Message(CON, POST, 1, b"aa", OPTIONS, lost(theirs))),
            bytes(Message(CON, POST, 2, b"bb", REGISTER, request)),
            *map(bytes, (*astray, long)),
        )
        assert others == [*map(bytes, (*astray, long))], "each resource takes the kinds of its handler"
        sent: dict[bytes, bytes] = {}
        while len(sent) < 2:
            await asyncio.sleep(0)
            sent |= {(message := Message.parse(datagram)).coap_token: message.payload for datagram, _ in link.taken()}
        assert sent[b"aa"] == Outcome.SESSION_ENDED.value.encode()
        assert device.receive(request, Reply.cbor(Code.CHANGED, sent[b"bb"]))[0].status == Status.OK

    run(server, test)


def test_a_store_that_fails_is_told_to_both(server: Server) -> None:
    other, device = Device(server, "35209900100001"), Device(server, "35209900100002")
    theirs = other.register().client_id
    request = device.request()

    async def test(batcher: Batcher, toy: Lost, store: Counted) -> None:
        store.fails = True
        replies = await gathered(batcher, batcher.submit(toy, lost(theirs)), batcher.submit(server.registrar, request))
        assert [reply.code for reply in replies] == [Code.SERVICE_UNAVAILABLE, Code.SERVICE_UNAVAILABLE]
        assert [reply.max_age for reply in replies] == [5, 30]
        assert (len(store.looks), store.commits) == (1, [])

    run(server, test)


def test_a_defect_of_the_store_is_5_03_for_all_and_logged(server: Server) -> None:
    async def test(batcher: Batcher, toy: Lost, store: Counted) -> None:
        store.defect = RuntimeError("secret")
        submitted = batcher.submit(toy, lost(bytes(7))), batcher.submit(server.registrar, device.request())
        with capture_logs() as logs:
            assert await gathered(batcher, *submitted) == [busy(30)] * 2
        assert [(log["event"], log["error"]) for log in logs] == [("batch failed", "RuntimeError")] * 2
        store.defect = None
        assert await batcher.submit(toy, lost(bytes(7))) == UNAUTHORIZED

    device = Device(server)
    run(server, test)


def test_a_handler_that_cannot_let_go_is_logged_and_its_requests_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("secret")

    async def test(batcher: Batcher, toy: Lost, store: Counted) -> None:
        toy.fault = RuntimeError("secret")
        monkeypatch.setattr(toy, "abandon", fail)
        with capture_logs() as logs:
            assert await batcher.submit(toy, lost(bytes(7))) == busy(30)
        assert [log["error"] for log in logs] == ["LookupError", "RuntimeError"]
        assert len(batcher) == 0

    run(server, test)


def test_a_defect_of_one_leaves_the_other_what_it_has_decided(server: Server) -> None:
    device, other = Device(server, "35209900100001"), Device(server, "35209900100002")
    theirs = other.register().client_id
    success, last, _ = device.offered()

    async def test(batcher: Batcher, toy: Lost, store: Counted) -> None:
        toy.fault = RuntimeError("secret")
        with capture_logs() as logs:
            lost_reply, confirmed = await gathered(
                batcher, batcher.submit(toy, lost(theirs)), batcher.submit(server.registrar, success)
            )
        assert lost_reply == busy(30)
        assert confirmation(confirmed, last).status == Status.OK
        assert [(log["event"], log["error"]) for log in logs] == [("batch failed", "RuntimeError")]

    run(server, test)


@pytest.mark.parametrize("step", ["decide", "complete"])
def test_what_a_defect_has_left_undecided_is_decided_when_it_comes_again(
    server: Server, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defect strikes when the SUCCESS is taken already, or when its session is durable."""
    device = Device(server, "35209900100001")
    success, last, _ = device.offered()
    sound = getattr(Registrar, step)

    def defect(*arguments: Any) -> Any:
        sound(*arguments)
        raise RuntimeError("secret")

    async def test(batcher: Batcher, toy: Lost, store: Counted) -> None:
        with monkeypatch.context() as patch, capture_logs():
            patch.setattr(Registrar, step, defect)
            assert await batcher.submit(server.registrar, success) == busy(30)
        assert server.registrar._confirmations == {}
        assert confirmation(await batcher.submit(server.registrar, success), last).status == Status.OK

    run(server, test)


def test_a_handler_that_asks_without_end_is_a_defect(server: Server) -> None:
    endless = Asking(0, 10**9)
    (error,) = decide([Part(endless, endless.read([], 0.0))], lambda _: Facts(), 0.0, 0.0).values()
    assert "without end" in str(error)
    assert len(endless.told) == MOST_LOOKS
    with pytest.raises(RuntimeError, match="without end"):
        handle(endless, server.store, [], 0.0, 0.0)


def test_a_defect_of_one_is_told_without_its_payload(server: Server) -> None:
    async def test(batcher: Batcher, toy: Lost, store: Counted) -> None:
        toy.fault = RuntimeError("secret")
        with capture_logs() as logs:
            assert await batcher.submit(toy, lost(bytes(7))) == busy(30)
        assert [(log["event"], log["error"]) for log in logs] == [("batch failed", "RuntimeError")]
        toy.fault = None
        assert await batcher.submit(toy, lost(bytes(7))) == UNAUTHORIZED

    run(server, test)


class Asking:
    """Asks about one Client ID after the other, ``rounds`` times."""

    def __init__(self, first: int, rounds: int) -> None:
        self.first = first
        self.rounds = rounds
        self.told: list[set[int]] = []

    def read(self, payloads: Sequence[bytes], now: float) -> Batch:
        return Batch(questions=Questions(holders={self.first}) if self.rounds else Questions())

    def decide(self, batch: Batch, facts: Facts | None, now: float, wall: float) -> Questions | None:
        assert facts is not None
        self.told.append(set(facts.holders))
        asked = self.first + len(self.told)
        return Questions(holders={asked}) if len(self.told) < self.rounds else None

    def complete(self, batch: Batch, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        return Completed([], [])

    def abandon(self, batch: Batch) -> None:
        pass


def test_who_needs_further_looks_does_not_hold_the_others_up_and_shares_what_it_can() -> None:
    looks: list[set[int]] = []

    def look(questions: Questions) -> Facts:
        looks.append(questions.holders)
        return Facts(holders=dict.fromkeys(questions.holders, b"device"))

    short, long, none = Asking(0, 1), Asking(10, 3), Asking(20, 0)
    decide([Part(one, one.read([], 0.0)) for one in (short, long, none)], look, 0.0, 0.0)
    assert looks == [{0, 10}, {11}, {12}]
    assert (len(short.told), len(long.told), len(none.told)) == (1, 3, 1)
    assert [10 in told or 11 in told or 12 in told for told in long.told] == [True] * 3


def test_who_asks_nothing_causes_no_look() -> None:
    none = Asking(0, 0)

    def look(questions: Questions) -> Facts:
        raise AssertionError("nothing was asked")

    decide([Part(none, none.read([], 0.0))], look, 0.0, 0.0)
    assert none.told == [set()]


def test_a_batch_that_raises_is_let_go_in_one_call_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a SUCCESS would wait for ever for the commit of the first."""
    device = Device(server)
    success, last, _ = device.offered()

    def fail(*_: object, **__: object) -> list[Outcome]:
        raise ValueError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(server.store, "commit", fail)
        with pytest.raises(ValueError, match="a defect"):
            server.send(success)
    assert confirmation(server.send(success), last).status == Status.OK
