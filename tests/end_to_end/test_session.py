"""Sessions over real sockets: sizes, repeats, restarts between any two messages, and the end."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from dpe_coap.binding import Code
from dpe_device.registration import IDLE
from dpe_device.session import READY
from dpe_server.operation.state_dir import StateDir
from dpe_tools.session_scenes import OTHER_POLICY, POLICY, SIX
from dpe_tools.voice import Method
from tests.coap import ACK, Message
from tests.end_to_end.speaking import OSCORE, Repeater, Served, Speaker

UNAUTHORIZED_SIZE = 8


@pytest.fixture
def served(state: StateDir) -> Iterator[Served]:
    state.policy_path.write_text(OTHER_POLICY, encoding="utf-8")
    with Served(state) as served:
        yield served


@pytest.fixture
def speaker(served: Served) -> Speaker:
    return Speaker(served).register()


def sizes(speaker: Speaker) -> tuple[int, int]:
    (request,), (answer,) = speaker.sent, speaker.received
    return len(request), len(answer)


def test_sizes_above_udp(speaker: Speaker) -> None:
    """Byte for byte what the protocol's page says: CoAP token 4, number of 1 byte."""
    found = {}
    speaker.ask(Method.REPORT, SIX)
    found["first report of six, six policies and a lifetime back"] = sizes(speaker)
    speaker.ask(Method.REPORT, SIX)
    found["six"] = sizes(speaker)
    speaker.ask(Method.REPORT, {0: 86})
    found["one"] = sizes(speaker)
    speaker.ask(Method.REPORT)
    found["refresh"] = sizes(speaker)
    assert len(Message.parse(speaker.sent[0]).coap_token) == 4
    assert speaker.numbers == [4]
    speaker.ask(Method.END)
    found["deregister"] = sizes(speaker)
    assert found == {
        "first report of six, six policies and a lifetime back": (67, 69),
        "six": (73, 19),
        "one": (47, 19),
        "refresh": (42, 19),
        "deregister": (32, 19),
    }


def test_a_number_of_two_bytes_takes_one_more(speaker: Speaker) -> None:
    speaker.ask(Method.REPORT)
    speaker.boot()
    speaker.ask(Method.REPORT)  # to be told anew
    speaker.ask(Method.REPORT, {0: 86})
    assert speaker.numbers == [258]
    assert sizes(speaker) == (48, 19)


def test_whoever_proves_nothing_gets_eight_bytes(served: Served, speaker: Speaker) -> None:
    speaker.ask(Method.REPORT, {0: 1})
    damaged = speaker.sent[0][:-1] + bytes([speaker.sent[0][-1] ^ 1])
    with Repeater(served) as repeater:
        answer = repeater.ask(damaged)
        assert (len(answer), Message.parse(answer)) == (
            UNAUTHORIZED_SIZE,
            Message(ACK, Code.UNAUTHORIZED, int.from_bytes(damaged[2:4], "big"), damaged[4:8]),
        )


def test_a_repeat_gets_the_same_bytes_four_times(served: Served, speaker: Speaker) -> None:
    speaker.ask(Method.REPORT, {0: 1})
    with Repeater(served) as repeater:
        answers = [repeater.ask(speaker.sent[0]) for _ in range(5)]
        assert answers[:4] == [speaker.received[0]] * 4
        assert (len(answers[4]), Message.parse(answers[4]).code) == (UNAUTHORIZED_SIZE, Code.UNAUTHORIZED)
    assert speaker.held == {0: 1}


EXCHANGES: list[tuple[Method, dict[Any, Any] | None]] = [
    (Method.REPORT, {0: 50, 1: "4.2"}),
    (Method.REPORT, {0: 40}),
    (Method.GET, None),
    (Method.REPORT, {1: None, "own": 7}),
    (Method.REPORT, None),
]
AFTER: list[dict[Any, Any]] = [
    {0: 50, 1: "4.2"},
    {0: 40, 1: "4.2"},
    {0: 40, 1: "4.2"},
    {0: 40, "own": 7},
    {0: 40, "own": 7},
]


class Mishap:
    """Restarts the server once: when a request is lost, or when its answer is."""

    def __init__(self, served: Served, *, request: bool) -> None:
        self._served = served
        self._request = request
        self._over = False

    def __call__(self, sent: bool, _datagram: bytes) -> bool:
        if self._over or sent != self._request:
            return False
        self._over = True
        self._served.restart()
        return True


@pytest.mark.parametrize("place", range(len(EXCHANGES)))
def test_a_restart_between_two_exchanges_costs_nothing(served: Served, speaker: Speaker, place: int) -> None:
    for number, ((method, properties), after) in enumerate(zip(EXCHANGES, AFTER, strict=True)):
        if number == place:
            served.restart()
        assert speaker.ask(method, properties).done
        assert len(speaker.sent) == 1
        assert speaker.held == after


@pytest.mark.parametrize("place", range(len(EXCHANGES)))
def test_a_restart_before_a_request_arrives_costs_nothing(served: Served, speaker: Speaker, place: int) -> None:
    for number, ((method, properties), after) in enumerate(zip(EXCHANGES, AFTER, strict=True)):
        if number == place:
            speaker.lose = Mishap(served, request=True)
        assert speaker.ask(method, properties).done
        assert len(speaker.numbers) == 1
        assert len(speaker.sent) == 1 + (number == place)
        assert speaker.held == after


@pytest.mark.parametrize("place", range(1, len(EXCHANGES)))
def test_a_restart_before_the_answer_arrives_costs_one_exchange(served: Served, speaker: Speaker, place: int) -> None:
    for number, ((method, properties), after) in enumerate(zip(EXCHANGES, AFTER, strict=True)):
        if number == place:
            speaker.lose = Mishap(served, request=False)
        assert speaker.ask(method, properties).done
        assert len(speaker.numbers) == 1 + (number == place), "the request is made again under a new number"
        assert speaker.session.client_id is not None
        assert speaker.held == after


def test_a_device_that_has_just_booted_registers_anew_when_its_first_answer_is_lost_in_a_restart(
    served: Served, speaker: Speaker
) -> None:
    """It cannot know whether the session is still there; the report is accepted all the same."""
    before = speaker.session.client_id
    speaker.lose = Mishap(served, request=False)
    assert speaker.ask(Method.REPORT, {0: 50}).done
    assert speaker.session.client_id != before
    assert speaker.held == {0: 50}


def test_both_sides_restart_between_any_two_exchanges(served: Served, speaker: Speaker) -> None:
    highest = 0
    for (method, properties), after in zip(EXCHANGES, AFTER, strict=True):
        served.restart()
        speaker.boot()
        assert speaker.session.state == READY
        assert speaker.ask(method, properties).done
        (number,) = speaker.numbers
        assert number > highest
        highest = number
        assert speaker.held == after


def test_no_number_is_sent_with_two_ciphertexts(served: Served, speaker: Speaker) -> None:
    seen: dict[bytes, set[bytes]] = {}
    lost = itertools.cycle([False, True, False, False, True])
    for number in range(20):
        speaker.lose = lambda _sent, _datagram: next(lost)
        if number % 4 == 3:
            speaker.boot()
        if number % 5 == 4:
            served.restart()
        speaker.ask(Method.REPORT, {0: number})
        for datagram in speaker.sent:
            message = Message.parse(datagram)
            if (value := message.option(OSCORE)) is not None:
                client_id_and_number = value + (speaker.session.oscore or (b"",))[0]
                seen.setdefault(client_id_and_number, set()).add(message.payload)
    assert len(seen) >= 20
    assert {len(ciphertexts) for ciphertexts in seen.values()} == {1}


def test_a_policy_change_comes_with_the_next_answer(served: Served, state: StateDir, speaker: Speaker) -> None:
    first = speaker.ask(Method.REPORT, {0: 1}).answer
    assert first is not None
    assert speaker.ask(Method.REPORT, {0: 2}).answer is None
    state.policy_path.write_text(POLICY, encoding="utf-8")
    served.running.loop.run(served.running.server.reload())
    told = speaker.ask(Method.REPORT, {0: 3}).answer
    assert told is not None
    assert (first.lifetime, told.lifetime) == (604_800, None)
    assert (first.policies[0][4], told.policies[0][4]) == (5, 10)


def test_a_session_that_ended_is_gone(served: Served, state: StateDir, speaker: Speaker) -> None:
    speaker.ask(Method.REPORT, {0: 1})
    assert speaker.ask(Method.END).code == Code.DELETED
    assert (speaker.session.state, speaker.session.client_id, speaker.session.oscore) == (IDLE, None, None)
    with pytest.raises(ValueError, match="not enough values"):
        _ = speaker.held
    speaker.boot()
    assert speaker.session.state == IDLE
    assert speaker.register().ask(Method.REPORT, {0: 2}).done
    assert speaker.numbers == [1]


@pytest.mark.parametrize("request_lost", [True, False])
def test_an_end_that_a_restart_interrupts(served: Served, speaker: Speaker, request_lost: bool) -> None:
    """If the answer is lost, nobody can confirm it any more: three exchanges, then the device has ended it alone."""
    speaker.ask(Method.REPORT, {0: 1})
    speaker.lose = Mishap(served, request=request_lost)
    speaker.give_up()
    assert (speaker.said.reply is not None) == request_lost
    assert len(speaker.numbers) == (1 if request_lost else 3)
    assert speaker.session.state == IDLE
    with pytest.raises(ValueError, match="not enough values"):
        _ = speaker.held


def test_a_wrong_key_is_refused_and_changes_nothing(served: Served, speaker: Speaker) -> None:
    speaker.ask(Method.REPORT, {0: 1})
    secret, salt = speaker.session.oscore or (b"", b"")
    speaker.boot()
    speaker.session.oscore = bytes(len(secret)), salt
    speaker.lose = lambda sent, datagram: sent and Message.parse(datagram).option(OSCORE) is None
    with pytest.raises(AssertionError, match="does not end"):
        speaker.ask(Method.REPORT, {0: 99})
    assert {Message.parse(datagram).code for datagram in speaker.received} == {Code.UNAUTHORIZED}
    assert speaker.held == {0: 1}
