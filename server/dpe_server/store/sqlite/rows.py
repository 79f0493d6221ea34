"""Rows of the database, as what the rest of the store works with, and back."""

from typing import Any, NamedTuple

from dpe_coap.messages import Version
from dpe_server.store.commit_rules import InSession
from dpe_server.store.contract import Session


class StoredSession(NamedTuple):
    """What ``decide`` must know of a device's row."""

    client_id: int | None
    device: bytes
    ordinal: int
    success_hash: bytes


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


def session_of(row: tuple[Any, ...]) -> Session:
    """The inverse of ``row_of``."""
    client_id, device, sealed_imei, major, minor, firmware, suite, rule, ordinal, established_at, *rest = row
    lifetime, expires_at, th3, success_hash, confirm, sealed_keys, mark, seen_at, record, epoch = rest
    return Session(
        client_id=client_id,
        device=device,
        sealed_imei=sealed_imei,
        version=Version(major, minor),
        firmware=firmware,
        suite=suite,
        rule=rule,
        ordinal=ordinal,
        established_at=established_at,
        lifetime=lifetime,
        expires_at=expires_at,
        th3=th3,
        success_hash=success_hash,
        confirm=confirm,
        sealed_keys=sealed_keys,
        mark=mark,
        seen_at=seen_at,
        record=record,
        epoch=epoch,
    )
