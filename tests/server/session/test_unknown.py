"""A request whose commit is unknown gets no protected answer that another could have made, and is accepted once."""

import pytest

from dpe_coap.binding import Code
from dpe_server.handling.handler import Part, decide
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.session.answers import REPEATS
from dpe_server.session.sessions import SessionBatch, Sessions
from dpe_server.store.contract import Change, Outcome
from tests.server.session.double import Device, Server

BATTERY = b"\x00"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def device(server: Server) -> Device:
    return Device(server)


class Pending:
    """A batch that is decided. ``give`` commits its changes, ``end`` tells the handler what became of them."""

    def __init__(self, server: Server, *payloads: bytes, at: Sessions | None = None) -> None:
        self._server = server
        self._handler = at or server.sessions
        self._batch: SessionBatch = self._handler.read(payloads, server.now)
        assert decide([Part(self._handler, self._batch)], server.store.look, server.now, server.wall) == {}

    @property
    def changes(self) -> list[Change]:
        return self._batch.changes

    def give(self) -> list[Outcome]:
        return self._server.store.commit(self.changes)

    def end(self, outcomes: list[Outcome] | None) -> list[Reply]:
        return self._handler.complete(self._batch, outcomes, self._server.now).replies


def test_given_again_a_report_is_answered_as_if_its_first_commit_had_told(server: Server, device: Device) -> None:
    request = device.report({0: 20})
    first = Pending(server, request)
    first.give()
    (reply,) = first.end(first.give())
    assert device.opened(request, reply)[0] == Code.CHANGED
    assert device.session.mark == 1


@pytest.mark.parametrize("at", ["the same process", "another"])
def test_when_nobody_knows_and_it_was_durable_the_same_request_is_refused(
    server: Server, device: Device, at: str
) -> None:
    """The device then asks under a new number."""
    request = device.report({0: 20})
    first = Pending(server, request)
    first.give()
    assert first.end(None) == [busy(30)]
    record = device.record
    other = server.sessions if at == "the same process" else server.another()
    assert server.send(request, to=other) == [UNAUTHORIZED]
    assert device.record == record
    assert device.ask(device.report({0: 20}))[0] == Code.CHANGED


@pytest.mark.parametrize("at", ["the same process", "another"])
def test_a_commit_that_comes_late_is_not_the_one_that_was_answered(server: Server, device: Device, at: str) -> None:
    request = device.report({0: 20})
    first = Pending(server, request)
    assert first.end(None) == [busy(30)]
    (reply,) = server.send(request, to=server.sessions if at == "the same process" else server.another())
    assert device.opened(request, reply)[0] == Code.CHANGED
    assert first.give() == [Outcome.NOT_ACCEPTED]


def test_a_commit_that_comes_while_the_same_request_is_asked_again_leaves_that_without_an_answer(
    server: Server, device: Device
) -> None:
    request = device.report({0: 20})
    first = Pending(server, request)
    assert first.end(None) == [busy(30)]
    second = Pending(server, request)
    assert first.give() == [Outcome.COMMITTED]
    assert second.end(second.give()) == [UNAUTHORIZED]


def test_of_two_requests_of_a_session_the_first_is_not_told_for_the_second(server: Server, device: Device) -> None:
    one, two = device.report({0: 20}), device.report({0: 19})
    both = Pending(server, one, two)
    both.give()
    first, second = both.end(both.give())
    assert first == UNAUTHORIZED
    assert device.opened(two, second)[0] == Code.CHANGED
    assert device.record[BATTERY] == b"\x13"


def test_an_end_whose_commit_was_durable_is_not_confirmed_when_it_is_given_again(
    server: Server, device: Device
) -> None:
    """Nothing is left that shows whose it was. The device asks again, is refused as any stranger, and has ended."""
    ending = Pending(server, device.delete())
    assert ending.give() == [Outcome.SESSION_ENDED]
    assert ending.give() == [Outcome.NOT_ACCEPTED]
    assert ending.end([Outcome.NOT_ACCEPTED]) == [UNAUTHORIZED]
    assert server.send(device.delete()) == [UNAUTHORIZED]
    assert server.store.session_of(device.device) is None


def test_an_end_whose_commit_is_unknown_and_failed_is_confirmed_when_the_device_asks_again(
    server: Server, device: Device
) -> None:
    ending = Pending(server, device.delete())
    assert ending.end(None) == [busy(30)]
    assert device.ask(device.delete())[0] == Code.DELETED


def test_a_repeat_that_was_read_before_the_answer_was_made_gets_it_too(server: Server, device: Device) -> None:
    """It asks the store before the first one's commit is over, and is decided after it."""
    request = device.report({0: 20})
    first = Pending(server, request)
    early = server.sessions.read([request] * 9, server.now)
    facts = server.store.look(early.questions)
    (reply,) = first.end(first.give())
    assert server.sessions.decide(early, facts, server.now, server.wall) is None
    assert early.changes == []
    assert server.sessions.complete(early, [], server.now).replies == [reply] * 9
    assert server.send(*[request] * 5) == [*[reply] * REPEATS, UNAUTHORIZED], "and these are repeats"


def test_what_was_not_answered_meanwhile_is_decided(server: Server, device: Device) -> None:
    request, another = device.report({0: 20}), device.report({0: 21})
    first = Pending(server, request)
    early = server.sessions.read([request, another], server.now)
    facts = server.store.look(early.questions)
    (reply,) = first.end(first.give())
    assert server.sessions.decide(early, facts, server.now, server.wall) is None
    assert len(early.changes) == 1
    repeated, new = server.sessions.complete(early, server.store.commit(early.changes), server.now).replies
    assert repeated == reply
    assert new.protected
    assert new != reply


def test_keys_that_were_derived_are_kept(server: Server, device: Device) -> None:
    for level in (20, 21, 22):
        (reply,) = server.send(device.report({0: level}))
        assert reply.protected
    contexts = server.sessions.contexts
    assert (len(contexts), contexts.derived, contexts.hits) == (1, 1, 2)
