"""Stand between the batcher and its handlers, and tell what is asked, decided and answered."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from dpe_coap.binding import CONTENT_FORMAT_CBOR, Code
from dpe_coap.numbers import MessageType
from dpe_server.handling.handler import Completed
from dpe_server.handling.reply import Reply
from dpe_server.registration.batch import Registrations
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transaction_table import Transactions
from dpe_server.registration.transactions import State
from dpe_server.session.sessions import SessionBatch, Sessions
from dpe_server.store.contract import Outcome
from dpe_server.store.questions import Facts, Questions
from dpe_tools.simulation.events import (
    RequestRefused,
    ResponseGiven,
    SessionMade,
    SessionSettled,
    SuccessAnswered,
    SuccessRead,
    TransactionBegan,
)
from dpe_tools.simulation.session_events import ProtectedAnswered, ProtectedRead

_REQUEST, _SUCCESS = bytes((0, MessageType.REQUEST)), bytes((0, MessageType.SUCCESS))
_OPEN = (State.PENDING, State.COMMITTING)


class Witness:
    """The handler of registrations for the batcher, in the process called ``process``.

    ``wall`` gives Unix time; ``store_answers`` says whether the store can be read, without it the last look does.
    """

    def __init__(
        self,
        process: str,
        registrar: Registrar,
        transactions: Transactions,
        emit: Callable[[object], None],
        wall: Callable[[], float],
        store_answers: Callable[[], bool] | None,
    ) -> None:
        self._process = process
        self._registrar = registrar
        self._transactions = transactions
        self._emit = emit
        self._wall = wall
        self._answers = True
        self._store_answers = store_answers or (lambda: self._answers)
        self._count = 0
        self._given: dict[bytes, bytes] = {}
        """The last RESPONSE to each REQUEST."""
        self._asked: dict[int, tuple[int, Sequence[bytes], float]] = {}

    def read(self, payloads: Sequence[bytes], now: float) -> Registrations:
        """See ``Registrar.read``."""
        self._count = number = self._count + 1
        wall = self._wall()
        for payload in payloads:
            if payload[1:3] == _SUCCESS:
                self._emit(SuccessRead(self._process, number, payload, wall))
        batch = self._registrar.read(payloads, now)
        self._asked[id(batch)] = number, payloads, now
        return batch

    def decide(self, batch: Registrations, facts: Facts | None, now: float, wall: float) -> Questions | None:
        """See ``Registrar.decide``."""
        emit, process = self._emit, self._process
        self._answers = facts is not None
        further = self._registrar.decide(batch, facts, now, wall)
        if further is None:
            # Their commits have begun before the REQUESTs of the batch are answered.
            for confirmation in batch.confirmations:
                emit(SessionMade(process, now, confirmation.session))
            _, payloads, read_at = self._asked[id(batch)]
            looked_for = round((now - read_at) * 1000)
            for payload, slot in zip(payloads, batch.slots, strict=True):
                if payload[1:3] != _REQUEST or not isinstance(slot, Reply):
                    continue
                if slot.code == Code.SERVICE_UNAVAILABLE and not slot.payload and self._store_answers():
                    emit(RequestRefused(process, now, payload))
                if slot.content_format == CONTENT_FORMAT_CBOR:
                    offer = slot.code == Code.CHANGED
                    emit(ResponseGiven(process, now, payload, slot.payload, offer, self._store_answers(), looked_for))
                    if self._given.get(payload) != slot.payload:
                        self._given[payload] = slot.payload
                        self._began(payload, now, looked_for)
        return further

    def complete(self, batch: Registrations, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        """See ``Registrar.complete``."""
        emit, process = self._emit, self._process
        completed = self._registrar.complete(batch, outcomes, now)
        number, payloads, _ = self._asked.pop(id(batch))
        if outcomes is not None:
            for confirmation, outcome in zip(batch.confirmations, outcomes, strict=True):
                emit(SessionSettled(process, confirmation.session, outcome))
        for payload, reply in zip(payloads, completed.replies, strict=True):
            if payload[1:3] == _SUCCESS:
                confirm = reply.payload if reply.content_format == CONTENT_FORMAT_CBOR else b""
                emit(SuccessAnswered(process, number, payload, reply, confirm, now, self._wall()))
        return completed

    def abandon(self, batch: Registrations) -> None:
        """See ``Registrar.abandon``."""
        self._registrar.abandon(batch)

    def _began(self, request: bytes, now: float, looked_for: int) -> None:
        """Tell of a new transaction."""
        transactions = self._transactions
        found = transactions.of_request(sha256(request).digest())
        if found is None:  # it was evicted within its own batch
            return
        of_device = sum(one.state != State.COMMITTING for one in transactions.of_device(found.device))
        client_id, prk3, rivals = None, b"", list[bytes]()
        if found.offer is not None:
            client_id, prk3 = found.offer.client_id, found.offer.prk3
            others = transactions.of_client_id(found.offer.client_id)
            rivals = [one.device for one in others if one.device != found.device and one.state in _OPEN]
        self._emit(
            TransactionBegan(
                self._process,
                now,
                found.device,
                request,
                client_id,
                prk3,
                tuple(rivals),
                of_device,
                len(transactions),
                looked_for,
            )
        )


class SessionsWitness:
    """The handler of sessions for the batcher, in the process called ``process``."""

    def __init__(self, process: str, sessions: Sessions, emit: Callable[[object], None]) -> None:
        self._process = process
        self._sessions = sessions
        self._emit = emit
        self._asked: dict[int, Sequence[bytes]] = {}
        self.decide = sessions.decide
        self.abandon = sessions.abandon

    def read(self, payloads: Sequence[bytes], now: float) -> SessionBatch:
        """See ``Sessions.read``."""
        for request in payloads:
            self._emit(ProtectedRead(self._process, request))
        batch = self._sessions.read(payloads, now)
        self._asked[id(batch)] = payloads
        return batch

    def complete(self, batch: SessionBatch, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        """See ``Sessions.complete``."""
        completed = self._sessions.complete(batch, outcomes, now)
        for request, reply in zip(self._asked.pop(id(batch)), completed.replies, strict=True):
            self._emit(ProtectedAnswered(self._process, now, request, reply))
        return completed
