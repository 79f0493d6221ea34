"""What operators do to devices, and what is told of it: for commands and for the HTTP API, in the same words.

Each returns what JSON says of it. With ``dry_run``, nothing is changed. ``by`` is who does it, for the audit log, if
that is not the user of a command; ``details`` are noted with it. ``working`` shows a person how far it is.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, Protocol

from dpe_coap.session_messages import decode_policies
from dpe_server.operation.acts import note
from dpe_server.operation.journal import enact
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import imposing
from dpe_server.operators.properties import conditions
from dpe_server.policy import Vocabulary
from dpe_server.store.contract import (
    End,
    Measure,
    Outcome,
    OverridePolicies,
    RestrictEpoch,
    Revoke,
    Session,
    Store,
    Unrevoke,
)
from dpe_server.store.questions import Questions, Restriction

Told = dict[str, Any]
Details = Mapping[str, int | str]


class Counter(Protocol):
    """Shows how much is done."""

    def add(self, count: int, /) -> None:
        """Count so many devices as done."""


class _Unseen:
    def add(self, count: int, /) -> None:
        """Nobody watches."""


Working = Callable[[str, int], AbstractContextManager[Counter]]
"""Begins to show what is being done, and to how many devices."""


def unseen(_what: str, _total: int) -> AbstractContextManager[Counter]:
    """Show nothing."""
    return nullcontext(_Unseen())


_NONE: Details = MappingProxyType({})


def revoke(
    opened: StateDir,
    store: Store,
    devices: Sequence[bytes],
    below_epoch: int | None = None,
    *,
    dry_run: bool = False,
    by: str = "",
    details: Details = _NONE,
    working: Working = unseen,
) -> Told:
    """Refuse devices and end their sessions; or, with ``below_epoch``, refuse their credentials of a lower epoch."""
    restrictions, registered = _look(store, devices, working)
    told: Told = {
        "devices": len(devices),
        "never_seen": len(set(devices) - restrictions.keys() - registered),
        "dry_run": dry_run,
    }
    now = int(time.time())
    measure: Callable[[bytes], Measure]
    if below_epoch is None:
        measure, ends, told["sessions_ended"] = lambda device: Revoke(device, now), "revoked", len(registered)
    else:
        measure, ends, told["below_epoch"] = lambda device: RestrictEpoch(device, below_epoch), "", below_epoch
        details = {"below_epoch": below_epoch, **details}
    if not dry_run:
        with working("imposing it", len(devices)) as shown:
            outcomes = imposing.impose(
                opened, store, devices, measure, "revoked", ends=ends, by=by, done=shown.add, details=details
            )
        if below_epoch is None:
            told["sessions_ended"] = outcomes.count(Outcome.SESSION_ENDED)
    return told


def lift(
    opened: StateDir,
    store: Store,
    devices: Sequence[bytes],
    *,
    below_epoch: bool = False,
    dry_run: bool = False,
    by: str = "",
    details: Details = _NONE,
    working: Working = unseen,
) -> Told:
    """Lift the revocations of devices; or, with ``below_epoch``, their minimum epochs and nothing else."""
    restrictions, _ = _look(store, devices, working)
    measure: Callable[[bytes], Measure]
    if below_epoch:
        found = [device for device, restriction in restrictions.items() if restriction.minimum_epoch]
        measure, details = lambda device: RestrictEpoch(device, 0), {"below_epoch": 0, **details}
    else:
        found = [device for device, restriction in restrictions.items() if restriction.revoked]
        measure = Unrevoke
    if not dry_run:
        with working("imposing it", len(found)) as shown:
            imposing.impose(opened, store, found, measure, "unrevoked", by=by, done=shown.add, details=details)
    return {"devices": len(devices), "lifted": len(found), "below_epoch": below_epoch, "dry_run": dry_run}


def end(opened: StateDir, store: Store, devices: Sequence[bytes], *, by: str = "", working: Working = unseen) -> int:
    """End the sessions of devices; return how many there were. Only these are noted."""
    now, ended = int(time.time()), 0
    with working("imposing it", len(devices)) as shown:
        for part in imposing.parts(devices):
            outcomes = enact(opened.journal_path, store, [End(device, now) for device in part])
            imposing.note_ended(opened, part, outcomes, "operator", by=by)
            ended += outcomes.count(Outcome.SESSION_ENDED)
            shown.add(len(part))
    return ended


def set_policies(
    opened: StateDir,
    store: Store,
    device: bytes,
    policies: bytes,
    vocabulary: Vocabulary,
    *,
    dry_run: bool = False,
    by: str = "",
    details: Details = _NONE,
) -> Told:
    """Have a device report by ``policies`` of its own, encoded as in a dpe-answer."""
    if not dry_run:
        imposing.impose(
            opened,
            store,
            [device],
            lambda device: OverridePolicies(device, policies),
            "policies-set",
            by=by,
            details=details,
        )
    return {"policies": conditions(decode_policies(policies), vocabulary), "dry_run": dry_run}


def clear_policies(
    opened: StateDir, store: Store, session: Session, *, dry_run: bool = False, by: str = "", details: Details = _NONE
) -> Told:
    """Have the device of a session report by its rule again."""
    context = store.look(Questions(contexts={session.client_id})).contexts[session.client_id]
    cleared = context.found and context.policies is not None
    if cleared and not dry_run:
        (outcome,) = enact(opened.journal_path, store, [OverridePolicies(session.device, None)])
        cleared = outcome is Outcome.COMMITTED
        if cleared:
            note(opened, "policies-cleared", [session.device], **details, **({"by": by} if by else {}))
    return {"cleared": cleared, "rule": session.rule, "dry_run": dry_run}


def _look(store: Store, devices: Sequence[bytes], working: Working) -> tuple[dict[bytes, Restriction], set[bytes]]:
    with working("looking the devices up", len(devices)) as shown:
        return imposing.look(store, devices, shown.add)
