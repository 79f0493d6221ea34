"""What operators impose on many devices, with its progress on a terminal."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import imposing
from dpe_server.store.contract import Measure, Outcome, Store
from dpe_server.store.questions import Restriction
from dpe_tools.progress import Working


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
    """Do as ``operators.imposing.impose``. ``working`` tells how far it is, if these devices are a part of more."""
    with nullcontext(working) if working else Working("imposing it", len(devices)) as working:
        return imposing.impose(opened, store, devices, measure, event, ends=ends, done=working.add, details=details)


def look(store: Store, devices: Sequence[bytes]) -> tuple[dict[bytes, Restriction], set[bytes]]:
    """Return what is imposed on those of the devices on which something is, and those that have a session."""
    with Working("looking the devices up", len(devices)) as working:
        return imposing.look(store, devices, working.add)
