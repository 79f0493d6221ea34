"""The registrar: the server's side of DPE-1 as a pure state machine over batches of messages.

It is a ``Handler`` (``handling/handler.py``): payloads, facts of the store and the time go in; replies, sessions to
commit and audit records come out. ``admission.py`` decides a REQUEST. A SUCCESS is decided by its transaction or, if
that is established or gone, by the store.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import compare_digest

from dpe_coap import keys as schedule
from dpe_coap.binding import RESPONSE_CODES
from dpe_coap.client_ids import client_id_bytes, client_id_of, client_id_text
from dpe_coap.errors import MalformedMessage
from dpe_coap.imei import Imei
from dpe_coap.messages import SIZE_NONCE, Request, Response, Success, decode, encode
from dpe_coap.numbers import Status
from dpe_server.handling.handler import Completed
from dpe_server.handling.records import SIZE_END
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing, freshness, next_issued
from dpe_server.policy import Policy
from dpe_server.registration.admission import Admission, Verdict
from dpe_server.registration.allowances import Allowances
from dpe_server.registration.answers import NO_MAC, agree, confirmed, malformed, signed_confirm
from dpe_server.registration.audit_records import log_refused, log_response, log_unproved, named
from dpe_server.registration.authentication import Authenticator, Sender
from dpe_server.registration.batch import Confirmation, Registrations
from dpe_server.registration.draining import Draining
from dpe_server.registration.ordinals import OrdinalSource
from dpe_server.registration.recognition import subject
from dpe_server.registration.transaction_table import Transactions
from dpe_server.registration.transactions import LIFE, Event, Offer, State, Transaction
from dpe_server.store.contract import Outcome, Session
from dpe_server.store.questions import Facts, Questions


class Registrar:
    """The ID Manager's front: decides every REQUEST and SUCCESS.

    ``realm`` is the cluster's name; ``random`` gives cryptographically strong bytes; ``retry_after`` (seconds) is how
    long a device is told to wait when the server cannot register it now.
    """

    def __init__(
        self,
        *,
        realm: str,
        keys: KeyRing,
        policy: Policy,
        random: Callable[[int], bytes],
        ordinals: OrdinalSource,
        retry_after: int = 60,
        transactions: Transactions | None = None,
    ) -> None:
        self._realm = realm
        self._at_rest = AtRest(keys.at_rest, random)
        self._random = random
        self._retry_after = retry_after
        self._busy = busy(retry_after)
        self._transactions = Transactions(random) if transactions is None else transactions
        self._admission = Admission(self._transactions, policy, random)
        self._allowances = Allowances()
        self._ordinals = ordinals
        self._confirmations: dict[bytes, Confirmation] = {}
        """By TH3, each SUCCESS whose commit is not over."""
        self._draining: Draining | None = None
        self._established: dict[int, bytes] = {}
        """By Client ID, the devices whose sessions have become durable since the last batch was read."""
        self.resent = 0
        """How many messages came again and were known."""
        self.reload(keys=keys, policy=policy)

    def reload(self, *, keys: KeyRing, policy: Policy) -> None:
        """Go on with new keys and a new policy; transactions under way keep their offers."""
        self._keys = keys
        self._admission.policy = policy
        self._authenticator = Authenticator(
            self._realm, keys, self._at_rest, self._random, allow_clear_imei=policy.allow_clear_imei
        )

    def drain(self, now: float) -> Draining:
        """Begin no registration from now on; what this returns says whether one that was begun may be finished."""
        self._draining = Draining(self._transactions, now)
        return self._draining

    def read(self, payloads: Sequence[bytes], now: float) -> Registrations:
        """See ``Handler.read``."""
        self._transactions.expire(now)
        self._established.clear()
        self._allowances.begin(now)
        batch = Registrations()
        senders: dict[bytes, Sender] = {}
        for place, payload in enumerate(payloads):
            slot: Reply = UNAUTHORIZED
            try:
                message = decode(payload)
                if isinstance(message, Request):
                    th1 = sha256(payload).digest()
                    known = self._transactions.of_request(th1)
                    if known is not None:
                        slot = self._response(known)
                        self.resent += 1
                    elif self._draining is not None:
                        slot = self._draining.reply
                    else:
                        if th1 not in senders:
                            senders[th1] = self._authenticator.prove(message, payload, th1)
                        else:
                            self.resent += 1
                        batch.requests.append((place, th1))
                elif isinstance(message, Success):
                    batch.successes.append((place, message, payload))
                else:
                    raise MalformedMessage("a server takes REQUEST and SUCCESS only", offset=2, key=0)
            except MalformedMessage as error:
                slot = malformed(error, payload, batch)
            batch.slots.append(slot)
        if senders:
            batch.applications = self._admission.read(list(senders.values()), batch.questions)
            self._ordinals.ask(batch.questions)
        return batch

    def decide(self, batch: Registrations, facts: Facts | None, now: float, wall: float) -> Questions | None:
        """See ``Handler.decide``."""
        further = Questions()
        if self._established and facts is not None:
            facts.add_holders(self._established)  # what is there was looked up earlier
        if batch.unknown:
            self._look_for_sessions(batch, facts, now, wall)
        if batch.successes:
            self._look_for_transactions(batch, further, wall)
        if batch.applications is not None:
            if facts is not None and facts.number:
                batch.number = facts.number
            verdicts = self._admission.decide(batch.applications, facts, now, further)
            if verdicts is not None:
                self._answer_requests(batch, verdicts, now, wall)
        return further or None

    def complete(self, batch: Registrations, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        """See ``Handler.complete``."""
        if outcomes is None:
            self._admission.store_failed(now)
            for confirmation in batch.confirmations:
                self._transactions.move(confirmation.transaction, Event.STORE_FAILED)
                log_unproved(batch, confirmation.end, "store-failed", **named(confirmation.transaction))
        elif batch.confirmations:
            self._admission.store_works()
            for confirmation, outcome in zip(batch.confirmations, outcomes, strict=True):
                self._settle(confirmation, outcome, batch)
        self._forget(batch)
        replies = [slot.reply if isinstance(slot, Confirmation) else slot for slot in batch.slots]
        return Completed(replies, batch.records)

    def abandon(self, batch: Registrations) -> None:
        """See ``Handler.abandon``."""
        for confirmation in batch.confirmations:
            if confirmation.transaction.state == State.COMMITTING:
                self._transactions.move(confirmation.transaction, Event.STORE_FAILED)
        self._forget(batch)

    def _forget(self, batch: Registrations) -> None:
        """Forget the confirmations of a batch: nobody waits for them any more."""
        for confirmation in batch.confirmations:
            self._confirmations.pop(confirmation.transaction.th3, None)

    # REQUEST

    def _answer_requests(
        self, batch: Registrations, verdicts: Sequence[Verdict | None], now: float, wall: float
    ) -> None:
        assert batch.applications is not None
        replies: dict[bytes, Reply] = {}
        self._ordinals.begin(batch.number)
        for sender, verdict in zip(batch.applications.senders, verdicts, strict=True):
            if verdict is None:
                log_refused(batch, sender)
                replies[sender.th1] = UNAUTHORIZED
            else:
                try:
                    replies[sender.th1] = self._respond(sender, verdict, batch, now, wall)
                except MalformedMessage as error:
                    replies[sender.th1] = malformed(error, sender.payload, batch)
        for place, th1 in batch.requests:
            batch.slots[place] = replies[th1]
        batch.applications = None

    def _respond(self, p: Sender, verdict: Verdict, batch: Registrations, now: float, wall: float) -> Reply:
        """Answer one proved REQUEST and remember the transaction, unless its device has had enough of them."""
        request = p.request
        fresh = freshness(p.issued, wall)
        refusal = self._allowances.refuse(p.device, fresh, p.th1, p.payload[-SIZE_END:])
        if refusal is not None:
            batch.records.append(refusal)
            batch.crowds.append((subject(p.payload), p.device))
            return self._busy
        public, dh = agree(request, self._random)
        nonce = self._random(SIZE_NONCE)
        step = p.step.respond(p.payload, nonce, dh)
        client_id = sealed_handle = None
        if verdict.client_id is not None:
            client_id = client_id_bytes(verdict.client_id)
            handle = self._keys.seal_handle(p.epoch, p.imei, next_issued(fresh, wall), self._random)
            sealed_handle = step.mask(handle)
        message = Response(
            version=verdict.version,
            status=verdict.status,
            security_token=nonce + NO_MAC,
            client_id=client_id,
            sealed_handle=sealed_handle,
            x25519_key=public,
            server_uri=verdict.server_uri,
            retry_after=self._retry_after if verdict.status == Status.UNAVAILABLE else None,
        )
        payload = step.sign(encode(message))
        suite = 1 if public is None else 2
        transaction = Transaction(
            th1=p.th1,
            device=p.device,
            freshness=fresh,
            ordinal=self._ordinals.next(now),
            ends=now + LIFE,
            status=verdict.status,
            response=payload,
        )
        if verdict.accept is not None and verdict.client_id is not None:
            transaction.state = State.PENDING
            transaction.offer = Offer(
                client_id=verdict.client_id,
                imei=p.imei.packed,
                version=verdict.version,
                firmware=request.firmware,
                suite=suite,
                epoch=p.epoch,
                terms=verdict.accept.terms,
                prk3=step.next(payload).prk3,
            )
        self._transactions.add(transaction)
        log_response(batch, p.payload, transaction, client_id, verdict.rule, request.version, suite)
        return self._response(transaction)

    def _response(self, transaction: Transaction) -> Reply:
        """Return the reply that carries the RESPONSE of a transaction."""
        max_age = self._retry_after if transaction.status == Status.UNAVAILABLE else None
        return Reply.cbor(RESPONSE_CODES[transaction.status], transaction.response, max_age=max_age)

    # SUCCESS

    def _look_for_transactions(self, batch: Registrations, further: Questions, wall: float) -> None:
        """Answer each SUCCESS that fits a transaction; ask the store about the others, all in one look."""
        for place, message, payload in batch.successes:
            slot = self._success(message, payload, batch, wall)
            if slot is not None:
                batch.slots[place] = slot
            else:
                client_id = client_id_of(message.client_id)
                batch.unknown.append((place, client_id, payload))
                further.confirmed.add(client_id)
        batch.successes.clear()

    def _success(
        self, message: Success, payload: bytes, batch: Registrations, wall: float
    ) -> Reply | Confirmation | None:
        """Return the reply to a SUCCESS, or what it waits for; None if the store must be asked."""
        for transaction in self._transactions.of_client_id(client_id_of(message.client_id)):
            step = transaction.success_step
            last = step.next(payload)
            if compare_digest(last.th3, transaction.th3):
                if transaction.state is not State.ESTABLISHED:  # those, the store may not know
                    self.resent += 1
                match transaction.state:
                    case State.COMMITTING:
                        batch.waits = True
                        return self._confirmations[transaction.th3]
                    case State.RELEASED:
                        return confirmed(signed_confirm(last, Status.RELEASED))
                    case State.SUPERSEDED:
                        return confirmed(signed_confirm(last, Status.SUPERSEDED))
                    case State.ESTABLISHED:
                        return None
            # Do not refuse early: the time would reveal which Client IDs are offered.
            if step.verify(payload) and transaction.state == State.PENDING:
                return self._take(transaction, last, message, payload, batch, wall)
        return None

    def _look_for_sessions(self, batch: Registrations, facts: Facts | None, now: float, wall: float) -> None:
        """Answer each SUCCESS whose session is durable, and no other.

        Only the store knows whether an established session still lives: an operator may have ended it.
        """
        if facts is None:
            self._admission.store_failed(now)
        for place, client_id, payload in batch.unknown:
            if facts is None:
                batch.slots[place] = self._busy
                continue
            session = facts.confirmed[client_id]
            same = compare_digest(session.success_hash, sha256(payload).digest())
            if same and (session.expires_at is None or session.expires_at > wall):
                self.resent += 1
                log_unproved(batch, payload, "confirm-repeated", client_id=client_id_text(client_id))
                batch.slots[place] = confirmed(session.confirm)
            else:
                why = "expired session" if same else "unknown transaction"
                log_unproved(batch, payload, "unauthenticated", reason=why)
        batch.unknown.clear()

    def _take(
        self,
        transaction: Transaction,
        step: schedule.ConfirmStep,
        message: Success,
        payload: bytes,
        batch: Registrations,
        wall: float,
    ) -> Reply | Confirmation:
        """Take a verified SUCCESS: a decline is answered at once, an ok goes into the batch's commit."""
        offer = transaction.offer
        assert offer is not None  # without an offer there is no Client ID for SUCCESS to name
        if message.status != Status.OK:
            self._transactions.move(transaction, Event.DECLINED, th3=step.th3)
            declined: dict[str, str | int] = {"client_id": client_id_text(offer.client_id), "status": message.status}
            self._allowances.log(batch, payload[-SIZE_END:], transaction, "declined", **declined)
            return confirmed(signed_confirm(step, Status.RELEASED))
        self._transactions.move(transaction, Event.CONFIRMED, th3=step.th3)
        terms = offer.terms
        established_at = int(wall)
        session = Session(
            client_id=offer.client_id,
            device=transaction.device,
            sealed_imei=self._at_rest.seal_imei(Imei(offer.imei), transaction.device),
            version=offer.version,
            firmware=offer.firmware,
            suite=offer.suite,
            rule=terms.rule,
            ordinal=transaction.ordinal,
            established_at=established_at,
            lifetime=terms.lifetime,
            expires_at=None if terms.lifetime is None else established_at + terms.lifetime,
            th3=step.th3,
            success_hash=sha256(payload).digest(),
            confirm=signed_confirm(step, Status.OK, terms.lifetime),
            sealed_keys=self._at_rest.seal_keys(b"".join(step.export()), offer.client_id),
            epoch=offer.epoch,
        )
        confirmation = Confirmation(transaction, session, self._busy, payload[-SIZE_END:])
        self._confirmations[transaction.th3] = confirmation
        batch.changes.append(session)
        batch.confirmations.append(confirmation)
        return confirmation

    def _settle(self, confirmation: Confirmation, outcome: Outcome, batch: Registrations) -> None:
        """Apply the outcome of its commit to a transaction and its reply."""
        transaction, session, end = confirmation.transaction, confirmation.session, confirmation.end
        client_id = client_id_text(session.client_id)
        if outcome in (Outcome.COMMITTED, Outcome.REPLACED):
            self._transactions.move(transaction, Event.COMMITTED)
            self._established[session.client_id] = session.device
            confirmation.reply = confirmed(session.confirm)
            made = {"client_id": client_id, "rule": session.rule}
            self._allowances.log(batch, end, transaction, "established", **made, suite=session.suite)
            # A later one can be here too: its session was over and pruned early, because the wall clock jumped.
            for earlier in self._transactions.established_before(transaction):
                self._supersede(earlier)
            if outcome is Outcome.REPLACED:
                self._allowances.log(batch, end, transaction, "superseded", by=client_id)
        elif outcome is Outcome.SUPERSEDED:
            self._supersede(transaction)
            self._allowances.log(batch, end, transaction, "superseded", client_id=client_id)
        else:
            self._transactions.remove(transaction)
            confirmation.reply = UNAUTHORIZED
            reason = f"not committed: {outcome.name.lower()}"
            log_unproved(batch, end, "unauthenticated", **named(transaction), reason=reason)

    def _supersede(self, transaction: Transaction) -> None:
        self._transactions.move(transaction, Event.NEWER_WON)
        waiting = self._confirmations.get(transaction.th3)
        if waiting is not None:  # otherwise it was answered before a newer registration won
            waiting.reply = confirmed(signed_confirm(transaction.confirm_step, Status.SUPERSEDED))
