"""A device has one session, a Client ID one device, and a revoked device nothing.

A client that is REGISTERED has a durable row with the same Client ID, TH3 and keys.
"""

from dpe_server.keys.at_rest import AtRest
from dpe_server.store.contract import Session
from dpe_tools.simulation.events import BoardChanged, BoardOff, Registered, SessionMade, Stored, SuccessSent
from dpe_tools.simulation.invariants.asked import Requests
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.names import (
    CLIENT_IDS_DIFFER,
    ONE_SESSION,
    REGISTERED_IS_DURABLE,
    REVOKED,
    STAYS_ENDED,
)
from dpe_tools.simulation.session_events import RolledBack
from dpe_tools.simulation.world import World


class Sessions:
    """Looks at the rows of each server, and at each board that is REGISTERED."""

    def __init__(self, world: World, messages: Messages, durable: Durable, requests: Requests, at_rest: AtRest) -> None:
        self._fail = world.fail
        self._messages = messages
        self._durable = durable
        self._at_rest = at_rest
        self._requests = requests
        self._rolled_back: set[bytes] = set()
        """Devices whose storage is a copy, until they register again."""
        self._registered: dict[str, tuple[bytes, Registered]] = {}
        """Device and session of each board that is REGISTERED."""
        world.on(SessionMade, lambda event: self._same_th3(event.session))
        world.on(Stored, self._stored)
        world.on(BoardChanged, self._changed)
        world.on(BoardOff, self._off)
        world.on(RolledBack, lambda event: self._rolled_back.add(event.device))
        world.on(SuccessSent, lambda event: self._rolled_back.discard(event.device))

    def _stored(self, event: Stored) -> None:
        rows = event.rows
        if len({row.client_id for row in rows}) != len(rows):
            self._fail(CLIENT_IDS_DIFFER, "two rows have one")
        if len({row.device for row in rows}) != len(rows):
            self._fail(ONE_SESSION, "two rows have one device")
        if self._durable.back:
            self._fail(STAYS_ENDED, "its keys are back")
        for row in self._durable.new:
            self._same_th3(row)
            if (event.server, row.device) in self._durable.revoked:
                self._fail(REVOKED, "a session")
        for board, (device, session) in self._registered.items():
            self._row(board, device, session)

    def _same_th3(self, session: Session) -> None:
        made = self._messages.by_hash.get(session.success_hash)
        if made is not None and made.th3 != session.th3:
            self._fail(REGISTERED_IS_DURABLE, "the server has another TH3 than the client")

    def _changed(self, event: BoardChanged) -> None:
        session = event.session
        if session is None:
            self._registered.pop(event.board, None)
            return
        self._registered[event.board] = event.device, session
        row = self._row(event.board, event.device, session)
        if row is not None and self._at_rest.open_keys(row.sealed_keys, row.client_id) != session.oscore:
            self._fail(REGISTERED_IS_DURABLE, "other keys")

    def _off(self, event: BoardOff) -> None:
        self._registered.pop(event.board, None)

    def _row(self, board: str, device: bytes, session: Registered) -> Session | None:
        """Return the row of a REGISTERED board; None if it is rightly gone.

        It is over, or its device was revoked, or has deregistered; or the database or the board's storage is a copy.
        """
        durable = self._durable
        server = durable.servers[session.server]
        rows = [row for row in durable.rows[server] if row.device == device]
        for row in rows:
            if _same(row, session):
                return row
        was = [row for row in durable.of_device[device].values() if _same(row, session)]
        latest = durable.latest_wall[server]
        known = self._requests.sessions.get(session.th3)
        rightly_gone = (
            any(row.expires_at is not None and row.expires_at <= latest for row in was)
            or (was and (server, device) in durable.revoked)
            or any(row.success_hash in durable.lost for row in was)
            or (known is not None and known.ends)
            or device in self._rolled_back
        )
        if not rightly_gone:
            what = "the row is of another registration" if rows else "there is no row"
            self._fail(REGISTERED_IS_DURABLE, f"{board}: {what}")
        return None


def _same(row: Session, session: Registered) -> bool:
    return row.client_id == session.client_id and row.th3 == session.th3
