"""Rows of the database, as what the rest of the store works with, and back."""

from typing import Any

from dpe_server.store.commit_rules import InSession
from dpe_server.store.contract import Session
from dpe_server.store.session_rows import StoredSession


def stored(client_id: int | None, device: str, ordinal: int, success_hash: str) -> StoredSession:
    """Return what ``decide`` must know of a row, from what ``statements.STORED`` finds."""
    return StoredSession(client_id, bytes.fromhex(device), ordinal, bytes.fromhex(success_hash))


def in_session(
    client_id: int,
    ordinal: int,
    mark: int | None,
    attempt: str,
    seen_at: int | None,
    lifetime: int | None,
    expires_at: int | None,
    record: str,
) -> InSession:
    """Return what ``accept`` must know of a row, from what ``statements.IN_SESSION`` finds."""
    kept = bytes.fromhex(attempt), seen_at, lifetime, expires_at, bytes.fromhex(record)
    return InSession(client_id, ordinal, mark, *kept)


def row_of(s: Session) -> tuple[Any, ...]:
    """Return a session's values in the order of the columns; when to check whether it is over comes last."""
    return (
        s.client_id,
        s.device,
        s.sealed_imei,
        s.version.major,
        s.version.minor,
        s.firmware,
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
        s.expires_at,
    )
