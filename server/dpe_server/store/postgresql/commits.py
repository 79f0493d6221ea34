"""How changes are committed: nearly all batches by one statement, and any batch step by step with its rows locked.

The statement takes effect whole, whoever else writes, and may be given again: it never puts an older session in the
place of a newer one. So its conditions stand in it. It cannot say why a change had none; and within a batch it knows no
order. What it leaves undone, and batches in which the order matters, are therefore judged by ``commit_rules``, on rows
that nobody else can change until the end.
"""

import time
from collections.abc import Sequence
from typing import Any

from psycopg import errors

from dpe_server.store.commit_rules import Accepted, InSession, Registered, accept, decide, steps
from dpe_server.store.contract import Change, Contact, Deregister, Outcome, Session, StoreError
from dpe_server.store.postgresql import measures, rows, statements
from dpe_server.store.postgresql.connection import Connection
from dpe_server.store.postgresql.parameters import ByteStrings, Integers
from dpe_server.store.session_rows import StoredSession

_MEANWHILE = (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure)
"""Somebody else has changed the same rows. Nothing has happened, and the next attempt sees what he did."""


class _Overtaken(Exception):
    """What was decided on locked rows did not fit any more: a row was made, or a session was over, meanwhile."""


def commit(connection: Connection, changes: Sequence[Change]) -> list[Outcome]:
    """Make changes durable and say what became of each; psycopg.Error, StoreError."""
    outcomes = _at_once(connection, changes)
    left = [place for place, outcome in enumerate(outcomes) if outcome is None]
    if left:
        for place, outcome in zip(left, _step_by_step(connection, [changes[n] for n in left]), strict=True):
            outcomes[place] = outcome
    return [outcome for outcome in outcomes if outcome is not None]


def _at_once(connection: Connection, changes: Sequence[Change]) -> list[Outcome | None]:
    """Commit what one statement can, and say what became of it; None for what is left."""
    nothing: list[Outcome | None] = [None] * len(changes)
    sessions = [change for change in changes if isinstance(change, Session)]
    requests = [change for change in changes if isinstance(change, (Contact, Deregister))]
    devices = {session.device for session in sessions}
    client_ids = {session.client_id for session in sessions}
    asked = {request.client_id for request in requests}
    distinct = len(devices) == len(client_ids) == len(sessions) and not client_ids & asked
    if not distinct or len(sessions) + len(requests) < len(changes):
        return nothing
    now, stored, device_of = _in_session(connection, asked, statements.IN_SESSION)
    if not devices.isdisjoint(device_of.values()):
        return nothing
    effect = accept(requests, stored.values(), now)
    ended = [stored[client_id] for client_id in effect.ended]
    try:
        done = _write(connection, sessions, effect.changed, ended, stored)
    except _MEANWHILE:
        return nothing
    connection.committed = bool(done)
    touched = {row.client_id for row in (*effect.changed, *ended)}
    undone = {client_id for client_id in touched if device_of[client_id] not in done}
    became = iter(effect.outcomes)
    outcomes = nothing
    for place, change in enumerate(changes):
        if isinstance(change, Session):
            if change.device in done:
                outcomes[place] = Outcome.COMMITTED if done[change.device] is None else Outcome.REPLACED
        else:
            outcome = next(became)
            if isinstance(change, (Contact, Deregister)) and change.client_id not in undone:
                outcomes[place] = outcome
    return outcomes


def _step_by_step(connection: Connection, changes: Sequence[Change]) -> list[Outcome]:
    """Commit changes in their order, in one transaction."""
    while True:
        try:
            with connection.transaction():
                return [outcome for step in steps(changes) for outcome in _take(connection, step)]
        except (_Overtaken, *_MEANWHILE):
            if time.monotonic() >= connection.deadline:
                raise StoreError("others change the same devices all the time", hint="try again") from None


def _take(connection: Connection, step: Any) -> list[Outcome]:
    match step:
        case Registered(sessions):
            return _establish(connection, sessions)
        case Accepted(requests):
            return _accept(connection, requests)
        case measure:
            return [measures.apply(connection, measure)]


def _establish(connection: Connection, sessions: Sequence[Session]) -> list[Outcome]:
    asked = ByteStrings({s.device for s in sessions}), Integers({s.client_id for s in sessions})
    found = connection.execute(statements.STORED_LOCKED, asked, binary=True).fetchall()
    stored = [StoredSession(*row) for *row, _ in found if row[2] is not None]
    effect = decide(sessions, stored, {device for _, device, *_, revoked in found if revoked})
    if effect.ended:
        connection.execute(statements.END_SESSIONS, (0, Integers(effect.ended)))
        connection.execute(statements.NOTE_ENDED, (Integers(effect.ended),))
    if effect.started and len(_write(connection, effect.started, [], [], {})) != len(effect.started):
        raise _Overtaken
    return effect.outcomes


def _accept(connection: Connection, requests: Sequence[Contact | Deregister]) -> list[Outcome]:
    asked = {request.client_id for request in requests}
    now, stored, _ = _in_session(connection, asked, statements.IN_SESSION_LOCKED)
    effect = accept(requests, stored.values(), now)
    ended = [stored[client_id] for client_id in effect.ended]
    if len(_write(connection, [], effect.changed, ended, stored)) != len(effect.changed) + len(ended):
        raise _Overtaken
    return effect.outcomes


def _in_session(
    connection: Connection, client_ids: set[int], statement: str
) -> tuple[int, dict[int, InSession], dict[int, bytes]]:
    """Return the time, and by Client ID the sessions and their devices."""
    if not client_ids:
        return 0, {}, {}
    asked = (Integers(sorted(client_ids)),)
    now, stored, device_of = 0, {}, {}
    for now, device, *row in connection.execute(statement, asked, prepare=True, binary=True):  # noqa: B007  # all alike
        session = InSession(*row)
        stored[session.client_id] = session
        device_of[session.client_id] = device
    return now, stored, device_of


def _write(
    connection: Connection,
    sessions: Sequence[Session],
    changed: Sequence[InSession],
    ended: Sequence[InSession],
    stored: dict[int, InSession],
) -> dict[bytes, int | None]:
    """Execute the statement; return the devices that it has changed, and of new sessions whom each replaces."""
    if not sessions and not changed and not ended:
        return {}
    by_client_id = sorted(changed, key=lambda row: row.client_id)  # so nobody locks in another order
    arrays = [
        *rows.arrays_of(sessions),
        *rows.arrays_of_heard(by_client_id, stored),
        *rows.arrays_of_over(sorted(ended, key=lambda row: row.client_id)),
    ]
    return dict(connection.execute(statements.COMMIT, arrays, prepare=True, binary=True).fetchall())
