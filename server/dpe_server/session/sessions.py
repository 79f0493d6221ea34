"""The server's side of the DPE session, as a pure state machine over batches of protected requests.

It is a ``Handler`` (``handling/handler.py``). A payload is what a protected request carries: the value of its OSCORE
option, a payload marker and the ciphertext (RFC 8613 section 4). A request is verified, then committed, then answered
under protection: once, and only if this process raised the session's mark with it. A nonce is never used twice, however
often the server restarts and however many processes share the store (docs/session.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from dpe_coap import oscore
from dpe_coap.binding import CONTENT_FORMAT_PROBLEM, Code, problem
from dpe_coap.session_messages import MAX_PROPERTIES, MAX_RECORD, Report
from dpe_server.handling.handler import Batch, Completed
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing
from dpe_server.policy import Policy
from dpe_server.session import requests
from dpe_server.session.answers import Answers
from dpe_server.session.audit_records import first_contact, not_committed, session_ended, unauthenticated
from dpe_server.session.contexts import Contexts
from dpe_server.session.requests import Asked, RefusedInside
from dpe_server.session.shares import BURST, EVERY, Shares
from dpe_server.session.telling import tell
from dpe_server.store.contract import Contact, Deregister, Outcome
from dpe_server.store.questions import Context, Facts, Questions

SIZE_ATTEMPT = 16
"""Bytes that are drawn for a request, so that its commit can be told from another's."""

_COMMITTED = Outcome.COMMITTED
_OUTER = Code.CHANGED
"""The code of every protected response, outside."""
_DONE = requests.answer(Code.CHANGED)
_TOO_LARGE = requests.answer(
    Code.REQUEST_ENTITY_TOO_LARGE,
    problem("too many or too large properties", detail=f"at most {MAX_PROPERTIES}, and {MAX_RECORD} bytes in all"),
    CONTENT_FORMAT_PROBLEM,
)


Opened = tuple[bytes, bytes, bytes, bytes]
"""The plaintext of a request that the keys of its session have made, and what its answer is protected with: the
server's key, the nonce and the additional data."""


@dataclass(slots=True, repr=False)
class Accepted:
    """A request from when it is accepted until its commit is over. Its repeats wait for the same reply."""

    payload: bytes
    context: Context
    change: Contact | Deregister
    opened: Opened
    plaintext: bytes
    """The answer, once the change is durable."""
    reply: Reply


@dataclass(slots=True)
class SessionBatch(Batch):
    """A batch of protected requests."""

    slots: list[Reply | Accepted] = field(default_factory=list)
    """The replies, or what they wait for."""
    undecided: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """Number, place, Client ID and payload of each request that must be verified."""
    attempts: bytes = b""
    """Random bytes, SIZE_ATTEMPT for each place."""
    accepted: list[Accepted] = field(default_factory=list)
    """One for each change, in the same order."""
    completed: int = 0
    """How many batches had been completed when this one was read."""


class Sessions:
    """Decides what devices ask for in their sessions.

    ``random`` gives cryptographically strong bytes; ``retry_after`` (seconds) is how long a device is told to wait when
    the store does not answer.
    """

    def __init__(self, *, keys: KeyRing, policy: Policy, random: Callable[[int], bytes], retry_after: int = 60) -> None:
        self._random = random
        self._policy = policy
        self._busy = busy(retry_after)
        self._too_many = busy(int(BURST * EVERY))
        self._contexts = Contexts(AtRest(keys.at_rest, random), random)
        self._answers = Answers()
        self._shares = Shares()
        self._pending: dict[bytes, Accepted] = {}
        """By payload, each request whose commit is not over."""
        self._completed = 0
        """How many batches have been completed."""
        self.resent = 0
        """How many requests came again and were known."""

    @property
    def contexts(self) -> Contexts:
        """The sessions' keys that are in memory."""
        return self._contexts

    def reload(self, *, policy: Policy) -> None:
        """Go on with a new policy: each device hears of it at its next contact."""
        self._policy = policy

    def read(self, payloads: Sequence[bytes], now: float) -> SessionBatch:
        """See ``Handler.read``."""
        batch = SessionBatch(attempts=self._random(SIZE_ATTEMPT * len(payloads)), completed=self._completed)
        asked = batch.questions.contexts
        for place, payload in enumerate(payloads):
            size = payload[0] & 7  # of the Partial IV: the option was checked where it was read
            client_id = int.from_bytes(payload[1 + size : 1 + size + oscore.MAX_ID], "big")
            again = self._answers.again(client_id, payload, now)
            if again is not None:
                batch.slots.append(_protected(again))
                self.resent += 1
                continue
            batch.slots.append(UNAUTHORIZED)
            batch.undecided.append((int.from_bytes(payload[1 : 1 + size], "big"), place, client_id, payload))
            asked.add(client_id)
        if len(asked) < len(batch.undecided):
            batch.undecided.sort(key=itemgetter(0))  # of one session, the lower number first
        return batch

    def decide(self, batch: SessionBatch, facts: Facts | None, now: float, wall: float) -> Questions | None:
        """See ``Handler.decide``."""
        if batch.completed != self._completed:
            self._look_for_answers(batch)
        answered, derived = len(batch.undecided) if facts is not None else 0, self._contexts.derived
        for number, place, client_id, payload in batch.undecided:
            if facts is None:
                batch.slots[place] = self._busy
            elif (pending := self._pending.get(payload)) is not None:
                batch.slots[place] = pending
                batch.waits = True
                self.resent += 1
                answered -= 1
            else:
                batch.slots[place] = self._answer(
                    number, place, client_id, payload, facts.contexts[client_id], batch, now, wall
                )
        batch.undecided.clear()
        # Who is refused has keys derived, whether they were kept or not.
        self._contexts.hits += answered - (self._contexts.derived - derived)
        return None

    def complete(self, batch: SessionBatch, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        """See ``Handler.complete``."""
        if outcomes is not None:
            for accepted, outcome in zip(batch.accepted, outcomes, strict=True):
                accepted.reply = self._settle(accepted, outcome, batch, now)
        self._completed += 1
        self._forget(batch)
        return Completed([slot if isinstance(slot, Reply) else slot.reply for slot in batch.slots], batch.records)

    def abandon(self, batch: SessionBatch) -> None:
        """See ``Handler.abandon``."""
        self._forget(batch)

    def _forget(self, batch: SessionBatch) -> None:
        for accepted in batch.accepted:
            self._pending.pop(accepted.payload, None)

    def _look_for_answers(self, batch: SessionBatch) -> None:
        """Answer what was answered while the store was looked at, as if it had waited for the same commit.

        What the store says is older than that.
        """
        undecided, batch.undecided = batch.undecided, []
        for one in undecided:
            _, place, client_id, payload = one
            again = self._answers.given(client_id, payload)
            if again is None:
                batch.undecided.append(one)
            else:
                batch.slots[place] = _protected(again)
                self.resent += 1

    def _answer(
        self,
        number: int,
        place: int,
        client_id: int,
        payload: bytes,
        context: Context,
        batch: SessionBatch,
        now: float,
        wall: float,
    ) -> Reply | Accepted:
        """Return the reply to a request, or what it waits for."""
        opened = self._open(number, client_id, payload, context, wall)
        if isinstance(opened, str):
            batch.records.append(unauthenticated(opened, payload))
            return UNAUTHORIZED
        if not self._shares.take(client_id, now):
            return self._too_many
        told = tell(self._policy, context)
        ordinal, attempt = context.ordinal, batch.attempts[SIZE_ATTEMPT * place : SIZE_ATTEMPT * (place + 1)]
        change: Contact | Deregister
        try:
            asked = requests.read(opened[0])
        except RefusedInside as refused:
            change = Contact(client_id, ordinal, number, attempt, None, None)
            plaintext = refused.answer
        else:
            if isinstance(asked, Report):
                change = Contact(client_id, ordinal, number, attempt, asked.properties or {}, told.lifetime)
                plaintext = _DONE if asked.policy_etag == told.etag else requests.answer(Code.CHANGED, told.answer)
            elif asked is Asked.GET:
                change = Contact(client_id, ordinal, number, attempt, {}, told.lifetime)
                plaintext = requests.answer(Code.CONTENT, told.answer)
            else:
                change = Deregister(client_id, ordinal, number)
                plaintext = requests.answer(Code.DELETED)
        accepted = Accepted(payload, context, change, opened, plaintext, self._busy)
        self._pending[payload] = accepted
        batch.changes.append(change)
        batch.accepted.append(accepted)
        return accepted

    def _open(self, number: int, client_id: int, payload: bytes, context: Context, wall: float) -> Opened | str:
        """Return a request that its session's keys have made and that may be accepted, or why not.

        Whoever is refused has caused the same work, whether there is such a session or not.
        """
        kept = self._contexts.known(client_id, context.ordinal)
        used = kept or self._contexts.derive(context.sealed_for, context.ordinal, context.sealed_keys)
        _, theirs, ours, zero = used
        nonce = oscore.numbered(zero, number)
        start = 1 + (payload[0] & 7)
        end = start + oscore.MAX_ID
        additional_data = oscore.additional_data_of(payload[start:end], payload[1:start])
        plaintext = oscore.decrypt(theirs, nonce, additional_data, payload[end + 1 :])
        if not context.found:
            refusal = "unknown session"
        elif plaintext is None:
            refusal = "not under the session's keys"
        elif context.expires_at is not None and context.expires_at <= wall:
            refusal = "expired session"
        elif context.mark is not None and number <= context.mark:
            refusal = "number not above the mark"
        else:
            if kept is None:
                self._contexts.keep(client_id, used)
            return plaintext, ours, nonce, additional_data
        if plaintext is not None:
            oscore.fail(nonce)  # as it has failed for those who have not the keys
        if kept is not None:
            self._contexts.derive(context.sealed_for, context.ordinal, context.sealed_keys)
        return refusal

    def _settle(self, accepted: Accepted, outcome: Outcome, batch: SessionBatch, now: float) -> Reply:
        """Return the reply to a request whose commit is over: protected, if it was this one that was accepted."""
        client_id, plaintext = accepted.change.client_id, accepted.plaintext
        if outcome is Outcome.NOT_ACCEPTED:
            batch.records.append(not_committed(accepted.context, accepted.payload))
            return UNAUTHORIZED
        if accepted.context.mark is None:
            batch.records.append(first_contact(accepted.context, accepted.payload))
        if outcome is not _COMMITTED:
            if outcome is Outcome.TOO_LARGE:
                plaintext = _TOO_LARGE
            else:
                batch.records.append(session_ended(accepted.context, "deregistered", accepted.payload))
                self._contexts.forget(client_id)
        _, key, nonce, additional_data = accepted.opened
        ciphertext = oscore.encrypt(key, nonce, additional_data, plaintext)
        self._answers.keep(client_id, accepted.payload, ciphertext, now)
        return _protected(ciphertext)


def _protected(ciphertext: bytes) -> Reply:
    return Reply(_OUTER, ciphertext, None, None, True)  # by position: it is made for each report
