"""Each invariant notices what it is for: the events of a good run go on with some that must not be."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from dpe_coap.numbers import Status
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.registration.transaction_table import PER_DEVICE
from dpe_server.registration.transactions import LIFE
from dpe_server.store.contract import Outcome, Session
from dpe_tools.faults import Faults
from dpe_tools.simulation import events as ev
from dpe_tools.simulation import invariants
from dpe_tools.simulation.invariants import names
from dpe_tools.simulation.trouble import NONE
from tests.simulation.replayed import Change, More, Run, Watched, again, but, failed, flipped, recorded
from tests.simulation.test_session_invariants import CASES as IN_SESSIONS

SEED = 22
TROUBLE = replace(NONE, faults=Faults(loss=0.2, duplication=0.3), lane=False, boards=2, restarts=3)
ANOTHER, UNKNOWN = b"another", 7
"""A device, and a Client ID, that the run does not know."""


@pytest.fixture(scope="module")
def run() -> Run:
    return recorded(SEED, TROUBLE)


def test_a_good_run_is_good(run: Run) -> None:
    assert failed(run) == []
    assert len(run.durable) == 2
    assert len(run.history) > 2


def test_events_are_plain_data(run: Run) -> None:
    """What an invariant is told it cannot change, and it reaches no actor."""

    def frozen(record: Any) -> bool:
        # A session is made on the way of a request, and frozen it would take three times as long.
        return bool(record.__dataclass_params__.frozen) or isinstance(record, Session)

    def plain(value: object) -> bool:
        if isinstance(value, tuple):
            return all(map(plain, value))
        if is_dataclass(value):
            return frozen(value) and all(plain(getattr(value, one.name)) for one in fields(value))
        return value is None or isinstance(value, (bytes, str, int, float, Outcome))

    assert [event for _, event in run.events if not plain(event)] == []


def one_more(**changes: object) -> Change:
    """Add a row, made of the first with other fields."""
    return lambda rows: (*rows, replace(rows[0], **changes))


def later(seconds: float) -> Change:
    return lambda now: now + seconds


def confirm(status: Status) -> bytes:
    """A CONFIRM with this status, without a valid token."""
    return bytes.fromhex("a300040418") + bytes([status]) + bytes(20)


def revoked(more: More) -> More:
    """Revoke all devices first."""

    def both(run: Run) -> tuple[object, ...]:
        server = run.last(ev.Stored).server
        return (*(ev.Revoked(server, row.device) for row in run.durable), *more(run))

    return both


def lost(run: Run) -> tuple[object, ...]:
    """Two attempts under siege, and what became of the first is not known."""
    sent = replace(run.last(ev.RequestSent), again=False)
    return ev.SiegeBegan(), sent, sent


def many(run: Run) -> tuple[object, ...]:
    return tuple(replace(run.last(ev.ResponseGiven), response=bytes([number]) * 80) for number in range(81))


def a_refusal(run: Run) -> tuple[object, ...]:
    """A REQUEST with a handle that was never used is refused."""
    sent, given = run.last(ev.RequestSent), run.last(ev.ResponseGiven)
    fresh: Any = flipped(10)(sent.request)
    return replace(sent, request=fresh), ev.RequestRefused(given.process, given.now, fresh)


def unanswered(run: Run) -> tuple[object, ...]:
    read, answered = run.last(ev.SuccessRead), run.last(ev.SuccessAnswered)
    return read, replace(answered, batch=read.batch, success=read.success, reply=UNAUTHORIZED, confirm=b"")


def another_acknowledgement(run: Run) -> tuple[object]:
    sent = [event for event in run.all(ev.DatagramSent) if event.datagram[0] >> 4 == 6][-1]
    return (replace(sent, datagram=sent.datagram + b"x"),)


NONCE = -20
"""A place in a nonce."""
CASES: tuple[tuple[str, str, More], ...] = (
    (names.REGISTERED_IS_DURABLE, "there is no row", again(ev.Stored, rows=())),
    (
        names.REGISTERED_IS_DURABLE,
        "the row is of another registration",
        again(ev.Stored, rows=lambda rows: tuple(replace(row, th3=bytes(32)) for row in rows)),
    ),
    (names.REGISTERED_IS_DURABLE, "other keys", again(ev.BoardChanged, session=but(oscore=bytes(24)))),
    (names.REGISTERED_IS_DURABLE, "another TH3", again(ev.SessionMade, session=but(th3=bytes(32)))),
    (names.CLIENT_IDS_DIFFER, "two rows have one", again(ev.Stored, rows=one_more(device=ANOTHER))),
    (names.CLIENT_IDS_DIFFER, "another device has", again(ev.TransactionBegan, device=ANOTHER)),
    (names.CLIENT_IDS_DIFFER, "offered to two", again(ev.TransactionBegan, client_id=UNKNOWN, rivals=(ANOTHER,))),
    (names.ONE_SESSION, "two rows have one device", again(ev.Stored, rows=one_more(client_id=UNKNOWN))),
    (names.KEY_NEEDED, "a RESPONSE to a REQUEST", again(ev.ResponseGiven, request=bytes(80))),
    (names.KEY_NEEDED, "that no device has made", again(ev.SessionMade, session=but(success_hash=bytes(32)))),
    (names.KEY_NEEDED, "of another SUCCESS, with status 0", again(ev.SessionMade, session=but(client_id=UNKNOWN))),
    (names.KEY_NEEDED, "that no device has made", again(ev.Stored, rows=one_more(success_hash=bytes(32)))),
    (names.KEY_NEEDED, "a CONFIRM to a SUCCESS", again(ev.SuccessAnswered, success=bytes(30))),
    (names.SAME_REPLY, "another RESPONSE", again(ev.ResponseGiven, response=flipped())),
    (names.SAME_REPLY, "no CONFIRM to the SUCCESS", unanswered),
    (names.SAME_REPLY, "another CONFIRM", again(ev.SuccessAnswered, confirm=flipped())),
    (names.SAME_REPLY, "released, though", again(ev.SuccessAnswered, confirm=confirm(Status.RELEASED))),
    (names.LIFE_ENDS, "a RESPONSE was sent again", again(ev.ResponseGiven, now=later(LIFE))),
    (names.LIFE_ENDS, "a SUCCESS was taken", again(ev.SessionMade, now=later(LIFE))),
    (names.BOUNDED, "5 of one device", again(ev.TransactionBegan, of_device=PER_DEVICE + 1)),
    (names.BOUNDED, "in total", again(ev.TransactionBegan, of_all=NONE.total + 1)),
    (names.REVOKED, "a RESPONSE", revoked(again(ev.ResponseGiven, response=flipped()))),
    (names.REVOKED, "a session", revoked(again(ev.Stored, rows=one_more(success_hash=bytes(32))))),
    (names.NONCES_DIFFER, "of a REQUEST", again(ev.RequestSent, request=flipped())),
    (names.NONCES_DIFFER, "of a RESPONSE", again(ev.ResponseGiven, response=flipped())),
    (names.TOKENS, "REQUEST", again(ev.RequestSent, request=flipped(NONCE))),
    (names.TOKENS, "RESPONSE", again(ev.ResponseGiven, response=flipped(NONCE))),
    (names.TOKENS, "SUCCESS", again(ev.SuccessSent, success=flipped())),
    (names.TOKENS, "CONFIRM", again(ev.SuccessAnswered, confirm=flipped())),
    (names.NEWER_WINS, "there is no other", again(ev.SuccessAnswered, confirm=confirm(Status.SUPERSEDED))),
    (names.HEEDED, "board", again(ev.BoardHeeded, sender=("elsewhere", 5683))),
    (names.HEEDED, "board", again(ev.BoardHeeded, datagram=flipped(3))),  # its message ID
    (names.HEEDED, "board", again(ev.BoardHeeded, datagram=flipped(5))),  # its CoAP token
    (names.CLIENT_RAISES, "ValueError in IDLE", lambda _: (ev.ClientRaised("board 0", "IDLE", "ValueError"),)),
    (names.ACCEPTABLE, "version (9, 9)", again(ev.AcceptanceAsked, version=(9, 9))),
    (names.NO_DEFECT, "batch failed", lambda _: (ev.DefectSeen("batch failed"),)),
    (names.LAST_WORD, "BACKOFF", lambda _: (ev.PatienceOver((("board 0", "BACKOFF"),)),)),
    (names.FIRST_ATTEMPT, "one is lost", lost),
    (names.LIMITED, "more than 80", many),
    (names.OWN_SHARE, "is refused after", a_refusal),
    (names.RETRANSMISSION, "a REQUEST in another exchange", again(ev.RequestSent, again=False)),
    (names.RETRANSMISSION, "other bytes", again(ev.SuccessSent, datagram=flipped(), again=True)),
    (names.RETRANSMISSION, "sent 6 times", lambda run: again(ev.SuccessSent, again=True)(run) * 5),
    (names.DUPLICATES, "another acknowledgement", another_acknowledgement),
    (names.WHOLE_RECORD, "board", again(ev.BoardChanged, record=flipped())),
    (names.PERSISTED, "is not stored", again(ev.SuccessSent, record=None)),
)


@pytest.mark.parametrize(("invariant", "what", "more"), CASES, ids=[f"{name}: {what}" for name, what, _ in CASES])
def test_what_must_not_be_is_noticed(run: Run, invariant: str, what: str, more: More) -> None:
    found = failed(run, *more(run))
    assert any(name == invariant and what in said for name, said in found), found


def with_rows(event: object) -> bool:
    return isinstance(event, ev.Stored) and event.rows != ()


def test_a_confirm_before_the_commit_is_noticed(run: Run) -> None:
    assert (names.AFTER_COMMIT, "it has not been made durable") in failed(run, unsaid=with_rows)


def test_a_success_that_is_refused_without_a_reason_is_noticed(run: Run) -> None:
    refused = again(ev.SuccessAnswered, reply=UNAUTHORIZED, confirm=b"")(run)
    noticed = names.PUSHED_OUT, "a SUCCESS was refused while its transaction should live"
    assert noticed in failed(run, *refused, unsaid=with_rows)


def test_an_attempt_that_takes_too_long_is_noticed(run: Run) -> None:
    registered = run.last(ev.BoardChanged)
    sent = next(event for event in run.all(ev.RequestSent) if event.device == registered.device)
    world = Watched()
    invariants.watch(world, run.at_rest)
    scene = (ev.DeviceKnown, ev.ServerKnown, ev.ProcessStarted, ev.Stored)
    for event in (*(event for _, event in run.events if isinstance(event, scene)), ev.SiegeBegan(), sent):
        world.emit(event)
    world.now = 1001
    world.emit(registered)
    assert (names.FIRST_ATTEMPT, "one has taken 1001 ms") in world.failed


def test_an_older_registration_that_replaces_a_newer_one_is_noticed(run: Run) -> None:
    stored = run.last(ev.Stored)
    older, newer = (replace(stored, rows=(row,)) for row in run.history[:2])
    pruned = ev.Pruned(stored.server, newer.rows)
    noticed = names.NEWER_WINS, "an older registration has replaced a newer one"
    assert noticed in failed(run, newer, older, unsaid=with_rows)
    assert noticed not in failed(run, older, newer, unsaid=with_rows)
    assert noticed not in failed(run, newer, pruned, older, unsaid=with_rows)


def test_a_session_that_comes_back_after_its_end_is_noticed(run: Run) -> None:
    stored = run.last(ev.Stored)
    gone, pruned = replace(stored, rows=stored.rows[1:]), ev.Pruned(stored.server, stored.rows[:1])
    noticed = names.STAYS_ENDED, "its keys are back"
    assert noticed in failed(run, gone, stored)
    assert noticed not in failed(run, stored, gone, stored.__class__(stored.server, (), stored.latest_wall))
    assert noticed not in failed(run, gone, pruned, stored)


def test_a_session_that_is_over_or_revoked_may_go(run: Run) -> None:
    stored = run.last(ev.Stored)
    gone = replace(stored, rows=())
    assert failed(run, *revoked(lambda _: (gone,))(run)) == []

    def ended(event: Any) -> Any:
        if not with_rows(event):
            return event
        return replace(event, rows=tuple(replace(row, expires_at=int(stored.latest_wall)) for row in event.rows))

    short = Run(run.at_rest, [(at, ended(event)) for at, event in run.events])
    assert failed(short, gone) == []


def test_every_invariant_is_tried() -> None:
    tried = {name for name, _, _ in (*CASES, *IN_SESSIONS)}
    tried |= {names.AFTER_COMMIT, names.STAYS_ENDED, names.PUSHED_OUT}
    assert tried == {name for place, name in vars(names).items() if place.isupper()}
