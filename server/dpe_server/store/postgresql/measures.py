"""What operators change: each measure locks its device's row, and goes by what it finds there."""

from typing import NamedTuple

from dpe_server.store.contract import (
    End,
    Forget,
    Measure,
    Outcome,
    OverridePolicies,
    RestrictEpoch,
    Revoke,
    SetMinimumEpoch,
    Unrevoke,
)
from dpe_server.store.postgresql import statements
from dpe_server.store.postgresql.connection import Connection
from dpe_server.store.postgresql.parameters import Integers


class _Found(NamedTuple):
    client_id: int | None = None
    ordinal: bool = False
    revoked: bool = False
    epoch: bool = False
    policies: bool = False


def apply(connection: Connection, measure: Measure) -> Outcome:
    """Apply a measure within a transaction. An operator may take any number of them together."""
    connection.go_on()
    match measure:
        case Revoke(device, at):
            found = _locked(connection, device, known=True)
            _end(connection, device, at, found)
            connection.execute(statements.REVOKE, (at, device))
            return Outcome.SESSION_ENDED if found.client_id is not None else Outcome.COMMITTED
        case Unrevoke(device):
            lifted = _locked(connection, device).revoked
            connection.execute(statements.UNREVOKE, (device,))
            connection.execute(statements.TIDY, (device,))
            return Outcome.COMMITTED if lifted else Outcome.UNCHANGED
        case End(device, at):
            found = _locked(connection, device)
            _end(connection, device, at, found)
            return Outcome.SESSION_ENDED if found.client_id is not None else Outcome.UNCHANGED
        case Forget(device, at):
            return _forget(connection, device, at)
        case RestrictEpoch(device, epoch):
            _locked(connection, device, known=True)
            connection.execute(statements.RESTRICT, (epoch, device))
            connection.execute(statements.TIDY, (device,))
        case SetMinimumEpoch(epoch):
            connection.execute(statements.SET_MINIMUM_EPOCH, (epoch,))
        case OverridePolicies(device, policies):  # pragma: no branch  # a measure is one of these seven
            found = _locked(connection, device, known=policies is not None)
            connection.execute(statements.OVERRIDE, (policies, device))
            connection.execute(statements.TIDY, (device,))
            return Outcome.UNCHANGED if policies is None and not found.policies else Outcome.COMMITTED
    return Outcome.COMMITTED


def _locked(connection: Connection, device: bytes, *, known: bool = False) -> _Found:
    """Lock a device's row and say what is in it. ``known``: it has one from now on."""
    if known:
        connection.execute(statements.KNOW, (device,))
    rows = connection.execute(statements.OF_DEVICE_LOCKED, (device,)).fetchall()
    return _Found(*rows[0]) if rows else _Found()


def _end(connection: Connection, device: bytes, at: int, found: _Found) -> None:
    if found.client_id is not None:
        connection.execute(statements.END_OF_DEVICE, (at, device))
        connection.execute(statements.NOTE_ENDED, (Integers([found.client_id]),))


def _forget(connection: Connection, device: bytes, at: int) -> Outcome:
    found = _locked(connection, device)
    _end(connection, device, at, found)
    connection.execute(statements.DATE_TRACE, (at, device))
    connection.execute(statements.IMPOSE_NO_MORE, (device,))
    connection.execute(statements.TIDY, (device,))
    if found.client_id is not None:
        return Outcome.SESSION_ENDED
    return Outcome.COMMITTED if found.ordinal or found.epoch or found.policies else Outcome.UNCHANGED
