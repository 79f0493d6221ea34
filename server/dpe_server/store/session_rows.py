"""A device's session as the rows of every database have it."""

from typing import Any, NamedTuple

from dpe_coap.messages import Version
from dpe_server.store.contract import Session


class StoredSession(NamedTuple):
    """What ``decide`` must know of a device's row."""

    client_id: int | None
    device: bytes
    ordinal: int
    success_hash: bytes


def session_of(row: tuple[Any, ...]) -> Session:
    """Return the session of a row with all its columns, in the order of ``Session``, the version as two."""
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
