"""What servers accept in sessions, and what they hold: each request once, and exactly what its device has said."""

from dpe_server.store import record
from dpe_server.store.contract import Session
from dpe_tools.simulation.events import Stored
from dpe_tools.simulation.invariants.asked import Held, Requests
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.names import (
    ACCEPTED_ONCE,
    AS_REPORTED,
    MARK_RISES,
    OVER_IS_OVER,
    REQUEST_NEEDS_KEY,
)
from dpe_tools.simulation.session_events import RequestsAccepted
from dpe_tools.simulation.world import World


class Reports:
    """Looks at each commit."""

    def __init__(self, world: World, durable: Durable, requests: Requests) -> None:
        self._world = world
        self._fail = world.fail
        self._durable = durable
        self._requests = requests
        self._last: dict[bytes, Session] = {}
        """By TH3, the row as it was last."""
        world.on(RequestsAccepted, self._accepted)
        world.on(Stored, self._stored)

    def _accepted(self, event: RequestsAccepted) -> None:
        self._world.counts["requests accepted"] += len(event.accepted)
        for one, (asked, row, is_new) in zip(event.accepted, self._requests.just, strict=True):
            if asked is None or row is None:
                self._fail(REQUEST_NEEDS_KEY, f"number {one.number} is accepted")
                continue
            if not is_new:
                self._fail(ACCEPTED_ONCE, f"number {one.number}")
            before = self._last.get(row.th3)
            if before is not None and before.expires_at is not None and before.expires_at <= int(event.wall):
                self._fail(OVER_IS_OVER, f"number {one.number}")

    def _stored(self, event: Stored) -> None:
        for row in event.rows:
            before = self._last.get(row.th3)
            if before is row:
                continue
            self._last[row.th3] = row
            if before is not None and before.mark is not None and (row.mark is None or row.mark < before.mark):
                self._fail(MARK_RISES, f"from {before.mark} to {row.mark}")
            known = self._requests.sessions.get(row.th3)
            held = None if known is None else known.held
            if not _fits(row, held or Held(None, row.expires_at)):
                self._fail(AS_REPORTED, "the row is another")


def _fits(row: Session, held: Held) -> bool:
    values = {entry.property: (entry.value, entry.at) for entry in record.entries(row.record)}
    return (row.mark, row.expires_at, values) == (held.mark, held.expires_at, held.values)
