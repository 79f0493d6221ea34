"""How the questions of a batch are answered: one statement for each kind, all sent together."""

from contextlib import nullcontext
from typing import Any

from psycopg import Cursor

from dpe_server.store.postgresql import statements
from dpe_server.store.postgresql.connection import Connection
from dpe_server.store.postgresql.parameters import ByteStrings, Integers
from dpe_server.store.questions import Confirmed, Context, Facts, Questions, Restriction

ALL_DEVICES = b""
"""The name under which ``statements.RESTRICTIONS`` has the minimum epoch of all devices."""


def look(connection: Connection, questions: Questions) -> Facts:
    """Answer all questions in one round trip; psycopg.Error."""
    asked: dict[str, tuple[Any, ...]] = {}
    if questions.restrictions:
        asked[statements.RESTRICTIONS] = (ByteStrings(questions.restrictions),)
    if questions.client_ids_of:
        asked[statements.CLIENT_IDS_OF] = (ByteStrings(questions.client_ids_of),)
    if questions.holders:
        asked[statements.HOLDERS] = (Integers(questions.holders),)
    if questions.in_use:
        firsts, lasts = zip(*questions.in_use, strict=True)
        asked[statements.IN_USE] = (Integers(firsts), Integers(lasts))
    if questions.confirmed:
        asked[statements.CONFIRMED] = (Integers(questions.confirmed),)
    if questions.contexts:
        asked[statements.CONTEXTS] = (Integers(questions.contexts),)
    if questions.number:
        asked[statements.NUMBER] = ()
    with connection.pipeline() if len(asked) > 1 else nullcontext():
        answers: dict[str, Cursor[tuple[Any, ...]]] = {
            sql: connection.execute(sql, values, prepare=True, binary=True) for sql, values in asked.items()
        }
    return _facts({sql: cursor.fetchall() for sql, cursor in answers.items()})


def _facts(found: dict[str, list[tuple[Any, ...]]]) -> Facts:
    facts = Facts()
    if (rows := found.get(statements.RESTRICTIONS)) is not None:
        facts.restrictions = {device: Restriction(revoked, epoch) for device, revoked, epoch in rows}
        facts.minimum_epoch = facts.restrictions.pop(ALL_DEVICES).minimum_epoch
    facts.client_ids_of = dict(found.get(statements.CLIENT_IDS_OF, ()))
    facts.holders = dict(found.get(statements.HOLDERS, ()))
    facts.in_use = {(first, last): set(client_ids) for first, last, client_ids in found.get(statements.IN_USE, ())}
    facts.confirmed = {client_id: Confirmed(*rest) for client_id, *rest in found.get(statements.CONFIRMED, ())}
    for (facts.number,) in found.get(statements.NUMBER, ()):
        break
    facts.contexts = {row[0]: Context._make(row) for row in found.get(statements.CONTEXTS, ())}
    return facts
