"""Rows of the database, as what the rest of the store works with, and back."""

from collections.abc import Sequence
from typing import Any

from dpe_server.store import session_rows
from dpe_server.store.commit_rules import InSession
from dpe_server.store.contract import Session
from dpe_server.store.listing import Listed
from dpe_server.store.postgresql.parameters import ByteStrings, Integers, Texts
from dpe_server.store.postgresql.statements import SESSION_COLUMNS

_ARRAYS = {"int8": Integers, "bytea": ByteStrings, "text": Texts}


def arrays_of(sessions: Sequence[Session]) -> list[Any]:
    """Return sessions as the columns of ``statements.SESSION_COLUMNS``."""
    columns = list(zip(*map(_row_of, sessions), strict=True)) or [()] * len(SESSION_COLUMNS)
    return [_ARRAYS[kind](column) for kind, column in zip(SESSION_COLUMNS.values(), columns, strict=True)]


def arrays_of_heard(changed: Sequence[InSession], stored: dict[int, InSession]) -> list[Any]:
    """Return sessions that have accepted requests as ``statements.COMMIT`` takes them, each with its mark before."""
    return [
        Integers(row.client_id for row in changed),
        Integers(row.ordinal for row in changed),
        Integers(stored[row.client_id].mark for row in changed),
        Integers(row.mark for row in changed),
        ByteStrings(row.attempt for row in changed),
        Integers(row.seen_at for row in changed),
        Integers(row.lifetime for row in changed),
        Integers(row.expires_at for row in changed),
        ByteStrings(row.record for row in changed),
        Integers(1 if row.record != stored[row.client_id].record else None for row in changed),
        Integers(row.client_id for row in changed),
    ]


def arrays_of_over(ended: Sequence[InSession]) -> list[Any]:
    """Return sessions that have ended as ``statements.COMMIT`` takes them, as they were before."""
    return [
        Integers(row.client_id for row in ended),
        Integers(row.ordinal for row in ended),
        Integers(row.mark for row in ended),
        Integers(row.client_id for row in ended),
    ]


def session_of(row: tuple[Any, ...]) -> Session:
    """Return the session of a row of ``statements.SESSION_COLUMNS``."""
    firmware = row[5]
    return session_rows.session_of(row if firmware is None else (*row[:5], firmware.decode(), *row[6:]))


def listed_of(row: tuple[Any, ...]) -> Listed:
    """Return a session in a list, from a row of ``statements.listed``."""
    listed = Listed._make(row)
    return listed if row[4] is None else listed._replace(firmware=row[4].decode())


def _row_of(s: Session) -> tuple[Any, ...]:
    return (
        s.client_id,
        s.device,
        s.sealed_imei,
        s.version.major,
        s.version.minor,
        None if s.firmware is None else s.firmware.encode(),
        s.suite,
        s.rule,
        s.ordinal,
        s.established_at,
        s.lifetime,
        s.expires_at,
        s.th3,
        s.success_hash,
        s.confirm,
        s.sealed_keys,
        s.mark,
        s.seen_at,
        s.record,
        s.epoch,
    )
