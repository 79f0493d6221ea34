"""What a commit makes of its changes, where no database need be asked."""

import re

import pytest

from dpe_coap.messages import Version
from dpe_server.store.commit_rules import Accepted, InSession, Registered, accept, check_beat, decide, steps
from dpe_server.store.contract import Beat, Contact, Deregister, ForgottenError, Outcome, ReplacedError, Revoke, Session

NOW = 1_800_000_000
ROW = InSession(7, 5, None, None, None, 60, None, b"")


def session(client_id: int = 7, *, ordinal: int = 1, device: bytes = bytes(16)) -> Session:
    return Session(
        client_id=client_id, device=device, sealed_imei=b"", version=Version(1, 0), firmware=None, suite=1, rule="",
        ordinal=ordinal, established_at=NOW, lifetime=None, expires_at=None, th3=bytes(32),
        success_hash=ordinal.to_bytes(32, "big"), confirm=b"", sealed_keys=b"",
    )  # fmt: skip


def contact(number: int, attempt: bytes = bytes(16)) -> Contact:
    return Contact(7, 5, number, attempt, {b"\x00": b"\x01"}, None)


def test_neighbours_of_one_sort_are_one_step() -> None:
    sessions, contacts, revoke = [session(1), session(2)], [contact(1), contact(2)], Revoke(bytes(16), NOW)
    last = Deregister(7, 5, 3)
    assert list(steps([*sessions, *contacts, revoke, *sessions, last])) == [
        Registered(sessions), Accepted([*contacts]), revoke, Registered(sessions), Accepted([last]),
    ]  # fmt: skip
    assert list(steps([revoke, revoke])) == [revoke, revoke]
    assert list(steps([*contacts, *sessions])) == [Accepted([*contacts]), Registered(sessions)]


def test_a_device_that_gets_its_client_id_again_keeps_its_row() -> None:
    effect = decide([session(ordinal=2)], [session(ordinal=1)], set())
    assert (effect.outcomes, effect.ended) == ([Outcome.REPLACED], [])
    other = session(ordinal=1, device=b"another's device")
    moved = session(8, ordinal=2, device=other.device)
    effect = decide([moved, session(ordinal=3)], [other], set())
    assert (effect.outcomes, effect.ended) == ([Outcome.REPLACED, Outcome.COMMITTED], [7])  # it must go first


def test_a_session_is_over_from_its_last_second_on() -> None:
    for expires_at, outcome in ((NOW + 1, Outcome.COMMITTED), (NOW, Outcome.NOT_ACCEPTED), (None, Outcome.COMMITTED)):
        assert accept([contact(1)], [ROW._replace(expires_at=expires_at)], NOW).outcomes == [outcome]


def test_what_was_reported_goes_with_a_session_that_ends_behind_it() -> None:
    contacts = accept([contact(1), Deregister(7, 5, 2), contact(3)], [ROW], NOW)
    assert contacts.outcomes == [Outcome.COMMITTED, Outcome.SESSION_ENDED, Outcome.NOT_ACCEPTED]
    assert (contacts.ended, contacts.changed) == ([7], [])


def test_a_number_that_was_accepted_is_again_only_for_who_drew_its_attempt() -> None:
    mine, others = b"m" * 16, b"o" * 16
    row = ROW._replace(mark=4, attempt=mine)
    for number, attempt, outcome in (
        (4, mine, Outcome.COMMITTED),
        (4, others, Outcome.NOT_ACCEPTED),
        (3, mine, Outcome.NOT_ACCEPTED),
        (5, others, Outcome.COMMITTED),
    ):
        assert accept([contact(number, attempt)], [row], NOW).outcomes == [outcome]
    assert accept([Deregister(7, 5, 4)], [row], NOW).outcomes == [Outcome.NOT_ACCEPTED]


def test_a_beat_that_is_not_there_is_explained() -> None:
    beat = Beat(5, b"8 bytes!")
    check_beat(None, None, None)
    check_beat(beat, beat.random, 1)
    for remembered, found, oldest, kind, text in (
        (None, None, 1, ForgottenError, "it has beats of a server, and this state directory remembers none"),
        (beat, None, 6, ForgottenError, "this state directory remembers beat 5, and the oldest is 6"),
        (beat, None, 4, ReplacedError, "it is not as this server left it: beat 5 is missing"),
        (beat, b"others!!", 5, ReplacedError, "it is not as this server left it: beat 5 is another"),
        (beat, None, None, ReplacedError, "it is not as this server left it: beat 5 is missing"),
    ):
        with pytest.raises(ReplacedError, match=f"^{re.escape(text)}$") as caught:
            check_beat(remembered, found, oldest)
        assert type(caught.value) is kind
