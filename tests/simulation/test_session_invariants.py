"""Each invariant of sessions notices what it is for: a good run with reports goes on with some that must not be."""

from dataclasses import replace

import pytest

from dpe_coap import oscore
from dpe_coap.binding import Code
from dpe_coap.client_ids import client_id_bytes
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.session.answers import REPEATS
from dpe_server.store import record
from dpe_server.store.contract import Contact, Deregister
from dpe_tools.faults import Faults
from dpe_tools.simulation import events as ev
from dpe_tools.simulation import invariants
from dpe_tools.simulation import session_events as sv
from dpe_tools.simulation.invariants import names
from dpe_tools.simulation.trouble import NONE, REPORTS, SHORT
from tests.simulation.replayed import More, Run, Watched, again, changed, failed, flipped, recorded

SEED = 3
TROUBLE = replace(NONE, faults=Faults(loss=0.1), boards=2, restarts=2, reports=6, terms=NONE.terms + SHORT + REPORTS[1])
NOW = 1 << 40
"""Unix seconds, long after all sessions are over."""


@pytest.fixture(scope="module")
def run() -> Run:
    return recorded(SEED, TROUBLE)


def test_a_good_run_is_good(run: Run) -> None:
    assert failed(run) == []
    assert len(run.all(sv.RequestsAccepted)) > 10
    assert {event.code for event in run.all(sv.ResponseBelieved)} == {Code.CHANGED}
    assert any(row.record for row in run.durable)


def answered(run: Run) -> sv.ProtectedAnswered:
    """The last answer under protection."""
    return [event for event in run.all(sv.ProtectedAnswered) if event.reply.protected][-1]


def answered_again(**changes: object) -> More:
    return lambda run: (changed(answered(run), **changes),)


REPORT, DELETE = b"\x02\xb3dpe\x11\x3c\xff\xa0", b"\x04\xb3dpe"
"""Plaintexts of a refresh, and of the end of a session."""


def keys(run: Run) -> oscore.Keys:
    """The keys of the session of the last request."""
    session = run.last(sv.ProtectedSent).session
    return oscore.derive(session.oscore[:16], session.oscore[16:], client_id_bytes(session.client_id))


def sent(run: Run, plaintext: bytes, ahead: int = 1) -> sv.ProtectedSent:
    """Another request in the session of the last one, whose number is ``ahead`` of that."""
    last = run.last(sv.ProtectedSent)
    client_id = client_id_bytes(last.session.client_id)
    number = oscore.read_option(last.request[: 8 + (last.request[0] & 7)])[1] + ahead
    ciphertext = oscore.encrypt(
        keys(run).client,
        oscore.nonce(keys(run).common_iv, client_id, number),
        oscore.additional_data(client_id, number),
        plaintext,
    )
    return replace(last, request=oscore.option(client_id, number) + b"\xff" + ciphertext, again=False)


def reply(run: Run, request: bytes, plaintext: bytes) -> Reply:
    """A response to a request in the session of the last one."""
    client_id, number = oscore.read_option(request[: 8 + (request[0] & 7)])
    nonce, data = oscore.nonce(keys(run).common_iv, client_id, number), oscore.additional_data(client_id, number)
    return Reply(Code.CHANGED, oscore.encrypt(keys(run).server, nonce, data, plaintext), protected=True)


def by_another(run: Run, *answers: sv.ProtectedAnswered) -> tuple[object, ...]:
    """Another process of the same server answers."""
    begun = next(event for event in run.all(ev.ProcessStarted) if event.process == answers[0].process)
    loaded = next(event for event in run.all(sv.PolicyLoaded) if event.process == answers[0].process)
    named = [replace(event, process="another") for event in (begun, loaded)]
    return (*named, *(replace(answer, process="another") for answer in answers))


def told_something_else(run: Run) -> tuple[object, ...]:
    event = answered(run)
    return by_another(run, replace(event, reply=reply(run, event.request, b"\x45")))


def damaged(run: Run) -> tuple[object, ...]:
    event = answered(run)
    return by_another(run, replace(event, reply=event.reply._replace(payload=flipped()(event.reply.payload))))  # type: ignore[arg-type]


def not_committed(run: Run) -> tuple[object, ...]:
    more = sent(run, REPORT)
    return more, replace(answered(run), request=more.request, reply=reply(run, more.request, b"\x44"))


def still_there(run: Run) -> tuple[object, ...]:
    """The end of a session is answered, and its row stays."""
    more = sent(run, DELETE)
    event = run.last(sv.RequestsAccepted)
    number = oscore.read_option(more.request[: 8 + (more.request[0] & 7)])[1]
    rows = [row for stored in run.all(ev.Stored) for row in stored.rows]
    row = next(row for row in rows if row.th3 == more.session.th3)
    accepted = Deregister(row.client_id, row.ordinal, number)
    answer = replace(answered(run), request=more.request, reply=reply(run, more.request, b"\x42"))
    return more, replace(event, accepted=(accepted,)), answer


def another_etag(run: Run) -> tuple[object, ...]:
    loaded = run.last(sv.PolicyLoaded)
    (rule, answer, lifetime), *others = loaded.told
    another = answer[:3] + bytes([answer[3] ^ 1]) + answer[4:]
    return (replace(loaded, told=((rule, another, lifetime), *others)),)


def believed(**changes: object) -> More:
    return again(sv.ResponseBelieved, **changes)


def with_rows(**changes: object) -> More:
    """What is durable, with another first row."""
    return again(ev.Stored, rows=lambda rows: (changed(rows[0], **changes), *rows[1:]))


def before(run: Run) -> tuple[object, ...]:
    """No request of any session has been accepted."""
    return (changed(run.last(ev.Stored), rows=lambda rows: tuple(replace(row, mark=None) for row in rows)),)


def accepted_of_nobody(run: Run) -> tuple[object, ...]:
    event = run.last(sv.RequestsAccepted)
    return (replace(event, accepted=(event.accepted[-1]._replace(number=1 << 30),)),)


def repeats(times: int) -> More:
    """The last answered request comes again, is read so often in all, and is refused in the end."""

    def more(run: Run) -> tuple[object, ...]:
        event = answered(run)
        read = sv.ProtectedRead(event.process, event.request)
        return (*[read] * times, replace(event, reply=UNAUTHORIZED))

    return more


def unsaved(run: Run) -> tuple[object, ...]:
    """The last request of a board that has saved only the block before."""
    last = run.last(sv.ProtectedSent)
    saved = [event for event in run.all(sv.RecordSaved) if event.device == last.device][-1]
    block = int.from_bytes(saved.record[:4], "big")
    return replace(saved, record=(block - 1).to_bytes(4, "big") + saved.record[4:]), replace(last, again=False)


def without_session(run: Run) -> tuple[object, ...]:
    last = run.last(sv.ProtectedSent)
    saved = [event for event in run.all(sv.RecordSaved) if event.device == last.device][-1]
    return replace(saved, record=saved.record[:26]), replace(last, again=False)


def besieged(*more: object) -> More:
    """Under siege, the last request goes out, and then another one does."""

    def both(run: Run) -> tuple[object, ...]:
        last = replace(run.last(sv.ProtectedSent), again=False)
        return ev.SiegeBegan(), last, *more, last

    return both


CASES: tuple[tuple[str, str, More], ...] = (
    (names.RETRANSMISSION, "other bytes in a session", again(sv.ProtectedSent, datagram=flipped(), again=True)),
    (
        names.RETRANSMISSION,
        "sent 6 times in a session",
        lambda run: (*again(sv.ProtectedSent, again=False)(run), *again(sv.ProtectedSent, again=True)(run) * 5),
    ),
    (names.NUMBERS_SAVED, "blocks of 256 are saved", unsaved),
    (names.NUMBERS_SAVED, "the session itself is not there", without_session),
    (names.REQUEST_NEEDS_KEY, "is accepted", accepted_of_nobody),
    (names.REQUEST_NEEDS_KEY, "a protected answer", answered_again(request=flipped())),
    (names.ACCEPTED_ONCE, "number", again(sv.RequestsAccepted)),
    (names.OVER_IS_OVER, "number", again(sv.RequestsAccepted, wall=NOW)),
    (names.MARK_RISES, "to None", before),
    (names.AS_REPORTED, "the row is another", with_rows(record=b"")),
    (names.AS_REPORTED, "the row is another", with_rows(expires_at=NOW)),
    (names.SAME_REPLY, "another answer to the same request", answered_again(reply=lambda r: r._replace(payload=b"x"))),
    (names.SAME_REPLY, "was answered is refused", repeats(REPEATS)),
    (names.REFUSED_ALIKE, "more than its code", answered_again(reply=Reply(Code.UNAUTHORIZED, b"no"))),
    (names.REFUSED_ALIKE, "3 bytes behind the CoAP token", lambda _: (sv.Unauthorized("0", b"`\x81\0\0\xffno"),)),
    (names.ONLY_PROTECTED, "code 132", believed(code=0x84)),
    (names.ONLY_PROTECTED, "code 68", believed(payload=b"told")),
    (names.ONE_PLAINTEXT, "of a request", lambda run: (sent(run, REPORT, ahead=0),)),
    (names.ONE_PLAINTEXT, "of a response", damaged),
    (names.TOLD, "the device cannot open it", damaged),
    (names.TOLD, "it is told something else", told_something_else),
    (names.TOLD, "has an etag of something else", another_etag),
    (names.MARK_IS_DURABLE, "has not been accepted", not_committed),
    (names.END_IS_SAVED, "it is not in the record", lambda run: (sent(run, DELETE),)),
    (names.END_IS_DURABLE, "the row is still there", still_there),
    (names.FIRST_REPORT, "an answer is lost", besieged()),
    (names.FIRST_REPORT, "a request is not accepted", lambda run: besieged()(run)[:1] + (sent(run, REPORT),) * 2),
)


@pytest.mark.parametrize(("invariant", "what", "more"), CASES, ids=[f"{name}: {what}" for name, what, _ in CASES])
def test_what_must_not_be_is_noticed(run: Run, invariant: str, what: str, more: More) -> None:
    found = failed(run, *more(run))
    assert any(name == invariant and what in said for name, said in found), found


def test_copies_excuse_an_answer_and_not_a_report(run: Run) -> None:
    last = run.last(sv.ProtectedSent)
    more = sent(run, REPORT)
    assert failed(run, *besieged(sv.Copied(last.request))(run)) == []
    found = failed(run, ev.SiegeBegan(), more, sv.Copied(more.request), more)
    assert found == [(names.FIRST_REPORT, "a request is not accepted")]


def test_a_used_up_share_is_excused_and_only_that(run: Run) -> None:
    event = answered(run)
    last = [one for one in run.all(sv.ProtectedSent) if one.request == event.request][-1]
    too_many = replace(event, reply=busy(10))
    assert (names.FIRST_REPORT, "an answer is lost, and nobody has copied the request") in failed(
        run, *besieged(too_many)(run)
    )
    world = Watched()
    invariants.watch(world, run.at_rest)
    for world.now, one in run.events:
        world.emit(one)
    for _ in range(10):
        world.emit(run.last(sv.RequestsAccepted))
    world.failed.clear()
    for one in (ev.SiegeBegan(), replace(last, again=False), too_many, replace(last, again=False)):
        world.emit(one)
    assert names.FIRST_REPORT not in {name for name, _ in world.failed}


def test_an_answer_that_takes_too_long_is_noticed(run: Run) -> None:
    world = Watched()
    invariants.watch(world, run.at_rest)
    believed = run.last(sv.ResponseBelieved)
    last = [event for event in run.all(sv.ProtectedSent) if event.request == believed.request][-1]
    for world.now, event in run.events:
        world.emit(event)
    world.emit(ev.SiegeBegan())
    world.emit(replace(last, again=False))
    world.now += 1001
    world.emit(believed)
    assert world.failed == [(names.FIRST_REPORT, "an answer has taken 1001 ms")]


def test_numbers_of_a_storage_that_was_rolled_back_are_excused(run: Run) -> None:
    last = run.last(sv.ProtectedSent)
    saved = [event for event in run.all(sv.RecordSaved) if event.device == last.device][-1]
    assert failed(run, sv.RolledBack(last.device, saved.record), sent(run, REPORT, ahead=0)) == []


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_response_is_believed_for_its_number_alone(run: Run, ahead: int) -> None:
    last, believed = run.last(sv.ProtectedSent), run.last(sv.ResponseBelieved)
    assert last.request == believed.request
    saved = [event for event in run.all(sv.RecordSaved) if event.device == last.device][-1]
    another = sent(run, REPORT, ahead)
    found = failed(run, sv.RolledBack(last.device, saved.record), another, replace(believed, request=another.request))
    assert {name for name, _ in found} == ({names.ONLY_PROTECTED} if ahead else set())


@pytest.mark.parametrize("read", [False, True])
def test_a_late_commit_has_the_lifetime_that_was_told_when_its_request_was_read(run: Run, read: bool) -> None:
    more, taken, loaded = sent(run, REPORT), run.last(sv.RequestsAccepted), run.last(sv.PolicyLoaded)
    number = oscore.read_option(more.request[: 8 + (more.request[0] & 7)])[1]
    before = [row for event in run.all(ev.Stored) for row in event.rows if row.th3 == more.session.th3][-1]
    lifetime = next(told[2] for told in loaded.told if told[0] == before.rule)
    another = replace(loaded, told=tuple((*told[:2], 7) for told in loaded.told))
    contact = Contact(before.client_id, before.ordinal, number, bytes(16), {}, lifetime)
    now = int(taken.wall)
    row = replace(before, mark=number, expires_at=None if lifetime is None else now + lifetime)
    stored = replace(run.last(ev.Stored), rows=(*run.durable, row))
    by = taken.process
    events = [more, *[sv.ProtectedRead(by, more.request)][: int(read)], replace(another, process=by)]
    found = failed(run, *events, replace(taken, accepted=(contact,)), stored)
    assert ((names.AS_REPORTED, "the row is another") in found) == (not read)
    assert {name for name, _ in found} <= {names.AS_REPORTED, names.TOLD}  # the etag is that of another lifetime


def test_what_an_operator_has_ended_may_go(run: Run) -> None:
    stored = run.last(ev.Stored)
    gone = replace(stored, rows=())
    noticed = names.REGISTERED_IS_DURABLE
    assert {name for name, _ in failed(run, gone)} == {noticed}
    assert failed(run, sv.SessionsEnded(tuple(row.success_hash for row in run.durable)), gone) == []


@pytest.mark.parametrize("accepted", [0, 1])
@pytest.mark.parametrize("kept", [0, 1])
def test_of_two_requests_with_one_number_the_accepted_one_counts(run: Run, accepted: int, kept: int) -> None:
    last = run.last(sv.ProtectedSent)
    saved = [event for event in run.all(sv.RecordSaved) if event.device == last.device][-1]
    reported = ({b"\0": b"\5"}, {b"\0": b"\6"})
    requests = [sent(run, REPORT[:-1] + b"\xa1\1\xa1\0" + items[b"\0"]) for items in reported]
    number = oscore.read_option(requests[0].request[: 8 + (requests[0].request[0] & 7)])[1]
    before = [row for event in run.all(ev.Stored) for row in event.rows if row.th3 == last.session.th3][-1]
    taken = run.last(sv.RequestsAccepted)
    lifetime = next(told[2] for told in run.last(sv.PolicyLoaded).told if told[0] == before.rule)
    contact = Contact(before.client_id, before.ordinal, number, bytes(16), reported[accepted], lifetime)
    now = int(taken.wall)
    row = replace(before, mark=number, record=record.merge(before.record, reported[kept], now) or b"")
    row = replace(row, expires_at=None if lifetime is None else now + lifetime)
    stored = replace(run.last(ev.Stored), rows=(*run.durable, row))
    found = failed(
        run, sv.RolledBack(last.device, saved.record), *requests, replace(taken, accepted=(contact,)), stored
    )
    assert ((names.AS_REPORTED, "the row is another") in found) == (accepted != kept)
    assert {name for name, _ in found} <= {names.AS_REPORTED}
