"""No input without a valid key changes durable state: a device has made all that a server takes, byte for byte."""

from dpe_coap.client_ids import client_id_of
from dpe_coap.numbers import Status
from dpe_server.store.contract import Session
from dpe_tools.simulation.events import ResponseGiven, SessionMade, Stored, SuccessAnswered
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.names import KEY_NEEDED
from dpe_tools.simulation.world import World


class Origin:
    """Looks at each message that is answered and each session that is, or is to be, durable."""

    def __init__(self, world: World, messages: Messages, durable: Durable) -> None:
        self._fail = world.fail
        self._messages = messages
        self._durable = durable
        world.on(ResponseGiven, self._response)
        world.on(SessionMade, lambda event: self._session(event.session))
        world.on(Stored, self._stored)
        world.on(SuccessAnswered, self._answered)

    def _response(self, event: ResponseGiven) -> None:
        if event.request not in self._messages.requests:
            self._fail(KEY_NEEDED, "a RESPONSE to a REQUEST that no device has made")

    def _stored(self, _: Stored) -> None:
        for row in self._durable.new:
            self._session(row)

    def _session(self, session: Session) -> None:
        made = self._messages.by_hash.get(session.success_hash)
        if made is None:
            self._fail(KEY_NEEDED, "a session of a SUCCESS that no device has made")
        elif (
            made.status != Status.OK
            or made.device != session.device
            or client_id_of(made.client_id) != session.client_id
        ):
            self._fail(KEY_NEEDED, f"a session of another SUCCESS, with status {made.status}")

    def _answered(self, event: SuccessAnswered) -> None:
        if event.confirm and event.success not in self._messages.successes:
            self._fail(KEY_NEEDED, "a CONFIRM to a SUCCESS that no device has made")
