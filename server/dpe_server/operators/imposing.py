"""What operators impose on devices: a part at a time, so that registrations go on between two commits.

Each act is in the operators' journal before the database changes, and in the audit log with who did it. Nothing here
asks whether somebody may.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from dpe_server.operation.acts import note
from dpe_server.operation.journal import enact
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Measure, Outcome, Store
from dpe_server.store.questions import Questions, Restriction

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
    by: str = "",
    done: Callable[[int], None] = lambda _: None,
    details: Mapping[str, int | str] = MappingProxyType({}),
) -> list[Outcome]:
    """Do this to each device, and note it in the audit log as ``event``. Returns what became of each.

    ``details`` are noted with it. ``ends`` is why the sessions have ended that this ends, which are noted, too; empty:
    ``event`` says so. ``by`` is who did it, if that is not the user of a command. ``done`` is told of how many devices
    it is done, part by part.
    """
    outcomes: list[Outcome] = []
    who = {"by": by} if by else {}
    for part in parts(devices):
        became = enact(opened.journal_path, store, [measure(device) for device in part])
        outcomes += became
        note(opened, event, part, **details, **who)
        if ends:
            note_ended(opened, part, became, ends, by=by)
        done(len(part))
    return outcomes


def note_ended(
    opened: StateDir, devices: Sequence[bytes], outcomes: Sequence[Outcome], why: str, *, by: str = ""
) -> None:
    """Note in the audit log which of the devices had a session that has ended."""
    ended = [one for one, outcome in zip(devices, outcomes, strict=True) if outcome is Outcome.SESSION_ENDED]
    if ended:
        note(opened, "session-ended", ended, why=why, **({"by": by} if by else {}))


def look(
    store: Store, devices: Sequence[bytes], done: Callable[[int], None] = lambda _: None
) -> tuple[dict[bytes, Restriction], set[bytes]]:
    """Return what is imposed on those of the devices on which something is, and those that have a session."""
    restrictions: dict[bytes, Restriction] = {}
    registered: set[bytes] = set()
    for part in map(set, parts(devices)):
        facts = store.look(Questions(restrictions=part, client_ids_of=part))
        restrictions |= {device: facts.restrictions[device] for device in part & facts.restrictions.keys()}
        registered |= facts.client_ids_of.keys()
        done(len(part))
    return restrictions, registered


def parts(devices: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield the devices, as many as one commit takes."""
    for start in range(0, len(devices), AT_ONCE):
        yield devices[start : start + AT_ONCE]
