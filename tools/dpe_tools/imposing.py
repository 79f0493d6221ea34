"""What operators impose on many devices: a part at a time, so that registrations go on between two commits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

from dpe_server.operation.acts import note
from dpe_server.operation.journal import enact
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Measure, Outcome, Store
from dpe_server.store.questions import Questions, Restriction
from dpe_tools.progress import Working

AT_ONCE = 10_000
"""Devices in one commit, for some 0.2 s."""


def impose(
    opened: StateDir,
    store: Store,
    devices: Sequence[bytes],
    measure: Callable[[bytes], Measure],
    event: str,
    *,
    ends: str = "",
    working: Working | None = None,
    **details: int | str,
) -> list[Outcome]:
    """Do this to each device, and note it in the audit log as ``event``. Returns what became of each.

    ``ends`` is why the sessions have ended that this ends, which are noted, too; empty: ``event`` says so.
    ``working`` tells a person how far it is, if these devices are a part of more.
    """
    outcomes: list[Outcome] = []
    with nullcontext(working) if working else Working("imposing it", len(devices)) as working:
        for part in _parts(devices):
            done = enact(opened.journal_path, store, [measure(device) for device in part])
            outcomes += done
            note(opened, event, part, **details)
            if ends:
                note_ended(opened, part, done, ends)
            working.done += len(part)
    return outcomes


def note_ended(opened: StateDir, devices: Sequence[bytes], outcomes: Sequence[Outcome], why: str) -> None:
    """Note in the audit log which of the devices had a session that has ended."""
    ended = [one for one, outcome in zip(devices, outcomes, strict=True) if outcome is Outcome.SESSION_ENDED]
    if ended:
        note(opened, "session-ended", ended, why=why)


def look(store: Store, devices: Sequence[bytes]) -> tuple[dict[bytes, Restriction], set[bytes]]:
    """Return what is imposed on those of the devices on which something is, and those that have a session."""
    restrictions: dict[bytes, Restriction] = {}
    registered: set[bytes] = set()
    with Working("looking the devices up", len(devices)) as working:
        for part in map(set, _parts(devices)):
            facts = store.look(Questions(restrictions=part, client_ids_of=part))
            restrictions |= {device: facts.restrictions[device] for device in part & facts.restrictions.keys()}
            registered |= facts.client_ids_of.keys()
            working.done += len(part)
    return restrictions, registered


def _parts(devices: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(devices), AT_ONCE):
        yield devices[start : start + AT_ONCE]
