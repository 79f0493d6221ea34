"""The transactions of each process: the same REQUEST gets the same RESPONSE while its transaction lives, and no longer.

They are bounded; a revoked device begins none; and no Client ID is offered that belongs to another device.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_server.registration.transaction_table import PER_DEVICE
from dpe_server.registration.transactions import LIFE
from dpe_server.store.contract import Outcome
from dpe_tools.simulation.events import (
    ProcessStarted,
    ResponseGiven,
    SessionMade,
    SessionSettled,
    SuccessAnswered,
    TransactionBegan,
)
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.freshness import Freshness
from dpe_tools.simulation.invariants.made import Made, Messages
from dpe_tools.simulation.invariants.names import (
    BOUNDED,
    CLIENT_IDS_DIFFER,
    LIFE_ENDS,
    PUSHED_OUT,
    REVOKED,
    SAME_REPLY,
)
from dpe_tools.simulation.invariants.tokens import th3
from dpe_tools.simulation.world import World


@dataclass(slots=True)
class _Answered:
    """What a process has answered to a REQUEST."""

    response: bytes
    at: float
    of_all: int
    """How many transactions had begun then, this one among them."""


@dataclass(slots=True)
class _Memory:
    """What must be known of one process."""

    total: int
    """The most transactions that it keeps."""
    answered: dict[bytes, _Answered] = field(default_factory=dict)
    of_all: int = 0
    """How many transactions have begun."""
    declined: set[bytes] = field(default_factory=set)
    """REQUESTs; a client whose flash has told it wrong goes back on that when it boots."""
    offered: dict[tuple[bytes, int], float] = field(default_factory=dict)
    """When a Client ID was offered to a device."""


class Transactions:
    """Looks at each RESPONSE, and at each session that a process makes."""

    def __init__(self, world: World, messages: Messages, durable: Durable, freshness: Freshness) -> None:
        self._fail = world.fail
        self._world = world
        self._messages = messages
        self._durable = durable
        self._freshness = freshness
        self._memories: dict[str, _Memory] = {}
        world.on(ProcessStarted, self._started)
        world.on(ResponseGiven, self._response)
        world.on(TransactionBegan, self._began)
        world.on(SessionMade, self._session)
        world.on(SessionSettled, self._settled)
        world.on(SuccessAnswered, self._success)

    def _started(self, event: ProcessStarted) -> None:
        self._memories[event.process] = _Memory(event.total)

    def _response(self, event: ResponseGiven) -> None:
        made = self._messages.requests.get(event.request)
        if made is None:
            return
        memory = self._memories[event.process]
        known = memory.answered.get(event.request)
        if known is not None:
            lives = event.now - event.looked_for / 1000 < known.at + LIFE  # it is found when it is read
            if known.response == event.response:
                if not lives:
                    self._fail(LIFE_ENDS, "a RESPONSE was sent again")
                return
            if lives and not self._evicted(event.process, event.request, before=True):
                self._fail(SAME_REPLY, "another RESPONSE to the same REQUEST")
        memory.of_all += 1
        memory.answered[event.request] = _Answered(event.response, event.now, memory.of_all)
        if self._is_revoked(event.process, made, event.looked_for) and event.store_answers:
            self._fail(REVOKED, "a RESPONSE")

    def _began(self, event: TransactionBegan) -> None:
        memory = self._memories[event.process]
        if event.of_device > PER_DEVICE:
            self._fail(BOUNDED, f"{event.of_device} of one device")
        if event.of_all > memory.total:
            self._fail(BOUNDED, f"{event.of_all} in total")
        if event.client_id is None:
            return
        memory.offered[event.device, event.client_id] = event.now
        rows = self._durable.rows[self._durable.server_of[event.process]]
        holders = {
            row.device
            for row in rows
            if row.client_id == event.client_id
            and (not event.looked_for or self._durable.came[row.success_hash] < self._world.now - event.looked_for)
        }
        if holders - {event.device}:
            self._fail(CLIENT_IDS_DIFFER, "one is offered that another device has")
        # A device may be offered again what it has from another worker, whatever this worker has offered to others.
        if not holders and event.rivals:
            self._fail(CLIENT_IDS_DIFFER, "one is offered to two")

    def _session(self, event: SessionMade) -> None:
        session = event.session
        offered = self._memories[event.process].offered.get((session.device, session.client_id))
        if offered is not None and offered + LIFE <= event.now:
            self._fail(LIFE_ENDS, "a SUCCESS was taken")

    def _success(self, event: SuccessAnswered) -> None:
        """Look at a SUCCESS that is refused as if there were no such transaction."""
        made = self._messages.successes.get(event.success)
        if made is not None and made.status != Status.OK:
            self._memories[event.process].declined.add(made.request)
        if made is None or event.reply.code != Code.UNAUTHORIZED:
            return
        memory = self._memories[event.process]
        known = memory.answered.get(made.request)
        if sha256(event.success).digest() in self._durable.ever or made.request in memory.declined:
            return  # its session is over, or the device has declined it before
        if known is None or event.now >= known.at + LIFE or self._evicted(event.process, made.request):
            return
        if th3(made.request, known.response, event.success) == made.th3 and not self._is_revoked(event.process, made):
            self._fail(PUSHED_OUT, "a SUCCESS was refused while its transaction should live")

    def _evicted(self, process: str, request: bytes, *, before: bool = False) -> bool:
        """Say whether a bound may have evicted the transaction of a REQUEST."""
        memory = self._memories[process]
        since = memory.of_all - memory.answered[request].of_all
        return since >= memory.total or self._freshness.may_be_pushed_out(process, request, before=before)

    def _is_revoked(self, process: str, made: Made, looked_for: int = 0) -> bool:
        """Say whether a device was revoked before the store was asked."""
        at = self._durable.revoked.get((self._durable.server_of[process], made.device))
        return at is not None and (not looked_for or at < self._world.now - looked_for)

    def _settled(self, event: SessionSettled) -> None:
        """Forget a transaction whose commit has refused it."""
        made = self._messages.by_hash.get(event.session.success_hash)
        if made is not None and event.outcome in (Outcome.CLIENT_ID_TAKEN, Outcome.ENDED, Outcome.REVOKED):
            self._memories[event.process].answered.pop(made.request, None)
