"""The registrar: the server's side of DPE-1 as a pure state machine over batches of messages.

Bytes and the time go in; replies, sessions to commit and audit records come out. Between the two stands one durable
commit for the whole batch, which the caller makes:

    prepared = registrar.prepare(batch, now, wall)     # decode, verify, policy, Client ID
    outcomes = store.commit(prepared.sessions)         # or None when the store failed
    replies = registrar.complete(prepared, outcomes, now)

One batch is completed before the next is prepared. The store is read in ``prepare``, never written.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest

from dpe_coap import keys as schedule
from dpe_coap.binding import RESPONSE_CODES, Code
from dpe_coap.errors import MalformedMessage
from dpe_coap.messages import SIZE_NONCE, Confirm, Request, Response, Success, Version, decode, encode
from dpe_coap.numbers import SIZE_CLIENT_ID, SIZE_MAC, Status
from dpe_server.at_rest import AtRest
from dpe_server.authentication import Authenticator, Proved, UnprovedError
from dpe_server.id_manager import IdManager
from dpe_server.key_ring import KeyRing
from dpe_server.policy import Accept, Policy, Redirect, Refuse, RequireX25519, VersionNotSupported
from dpe_server.reply import UNAUTHORIZED, Reply, busy
from dpe_server.store import Outcome, Restriction, Session, Store, StoreError
from dpe_server.transactions import LIFE, Event, Offer, State, Transaction, Transactions

STORE_PAUSE = 5.0
"""Seconds after a failed commit in which no Client ID is offered, as its SUCCESS would fail too."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One decision, without personal data: ``event`` and what belongs to it."""

    event: str
    details: dict[str, str | int]

    @property
    def unproved(self) -> bool:
        """Whether anybody can cause it at will, without a key or with bytes overheard."""
        return self.event in ("malformed", "unauthenticated", "confirm-repeated")


@dataclass(slots=True)
class Prepared:
    """A batch between ``prepare`` and ``complete``: its replies, or the transactions whose commit they wait for."""

    slots: list[Reply | Transaction] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    committing: list[Transaction] = field(default_factory=list)
    """The transaction of each session."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a REQUEST gets: the status, the version of the RESPONSE and the policy rule that said so."""

    status: Status
    version: Version
    rule: str
    accept: Accept | None = None
    client_id: int | None = None
    server_uri: str | None = None


UNRESTRICTED = Restriction(revoked=False, minimum_epoch=0)


class Registrar:
    """The ID Manager's front: decides every REQUEST and SUCCESS.

    ``realm`` is the cluster's name; ``random`` gives cryptographically strong bytes; ``retry_after`` (seconds) is what
    a device is told when the server cannot register it now.
    """

    def __init__(
        self,
        *,
        realm: str,
        keys: KeyRing,
        policy: Policy,
        store: Store,
        random: Callable[[int], bytes],
        retry_after: int = 60,
        transactions: Transactions | None = None,
    ) -> None:
        self._realm = realm
        self._at_rest = AtRest(keys.at_rest)
        self._store = store
        self._random = random
        self._retry_after = retry_after
        self._transactions = Transactions() if transactions is None else transactions
        self._id_manager = IdManager(store, random)
        self._ordinal = store.last_ordinal()
        self._store_failed_at: float | None = None
        self._audit: list[Audit] = []
        self.reload(keys=keys, policy=policy)

    def reload(self, *, keys: KeyRing, policy: Policy) -> None:
        """Go on with other keys and another policy; transactions under way keep what they were offered."""
        self._keys = keys
        self._policy = policy
        self._authenticator = Authenticator(self._realm, keys, self._at_rest, allow_clear_imei=policy.allow_clear_imei)

    def take_audit(self) -> list[Audit]:
        """Return the decisions made since the last call, and forget them."""
        taken, self._audit = self._audit, []
        return taken

    def prepare(self, batch: Sequence[bytes], now: float, wall: float) -> Prepared:
        """Decide a batch of payloads. ``now`` is monotonic, ``wall`` is Unix time, both in seconds."""
        self._transactions.expire(now)
        prepared = Prepared()
        proved: list[tuple[int, Proved]] = []
        for payload in batch:
            slot: Reply | Transaction
            try:
                message = decode(payload)
                if isinstance(message, Request):
                    known = self._transactions.of_request(sha256(payload).digest())
                    if known is None:
                        proved.append((len(prepared.slots), self._authenticator.prove(message, payload)))
                    slot = UNAUTHORIZED if known is None else known.response
                elif isinstance(message, Success):
                    slot = self._success(message, payload, prepared, wall)
                else:
                    raise MalformedMessage("a server takes REQUEST and SUCCESS only", offset=2, key=0)
            except MalformedMessage as error:
                slot = self._malformed(error)
            except UnprovedError as error:
                self._log("unauthenticated", reason=str(error))
                slot = UNAUTHORIZED
            except StoreError:
                self._store_failed_at = now
                slot = busy(self._retry_after)
            prepared.slots.append(slot)
        self._requests(proved, prepared, now, wall)
        return prepared

    def complete(self, prepared: Prepared, outcomes: Sequence[Outcome] | None, now: float) -> list[Reply]:
        """Return the replies to the batch, in its order, now that its sessions are durable (or could not be: None)."""
        if outcomes is None:
            self._store_failed_at = now
            for transaction in prepared.committing:
                transaction.move(Event.STORE_FAILED)
                self._log("store-failed")
        else:
            if prepared.sessions:
                self._store_failed_at = None
            for transaction, session, outcome in zip(prepared.committing, prepared.sessions, outcomes, strict=True):
                self._settle(transaction, session, outcome)
        return [slot if isinstance(slot, Reply) else slot.answer or busy(self._retry_after) for slot in prepared.slots]

    def handle(self, batch: Sequence[bytes], now: float, wall: float) -> list[Reply]:
        """Do all three steps in one call, for callers without an event loop to keep free."""
        prepared = self.prepare(batch, now, wall)
        try:
            outcomes = self._store.commit(prepared.sessions) if prepared.sessions else []
        except StoreError:
            outcomes = None
        return self.complete(prepared, outcomes, now)

    # REQUEST

    def _requests(self, proved: list[tuple[int, Proved]], prepared: Prepared, now: float, wall: float) -> None:
        """Answer the proved REQUESTs of a batch, with one look at the store's restrictions for all."""
        if not proved:
            return
        try:
            minimum_epoch = self._store.minimum_epoch()
            restrictions = self._store.restrictions({p.device for _, p in proved})
        except StoreError:
            self._store_failed_at = now
            minimum_epoch, restrictions = 0, {}
        for index, p in proved:
            known = self._transactions.of_request(p.th1)
            restriction = restrictions.get(p.device, UNRESTRICTED)
            if known is not None:  # twice in this batch
                prepared.slots[index] = known.response
            elif restriction.revoked:
                self._log("unauthenticated", reason="revoked device")
            else:
                retired = p.epoch < max(minimum_epoch, restriction.minimum_epoch)
                try:
                    prepared.slots[index] = self._request(p, retired, now, wall)
                except MalformedMessage as error:
                    prepared.slots[index] = self._malformed(error)

    def _request(self, p: Proved, retired: bool, now: float, wall: float) -> Reply:
        """Answer one proved REQUEST and remember the transaction."""
        request = p.request
        public, dh = self._agree(request)
        nonce = self._random(SIZE_NONCE)
        step = p.step.respond(p.payload, nonce, dh)
        answer = self._answer(p, retired, now)
        client_id = sealed_handle = None
        if answer.client_id is not None:
            client_id = answer.client_id.to_bytes(SIZE_CLIENT_ID, "big")
            sealed_handle = step.mask(self._keys.seal_handle(p.epoch, p.imei, self._random))
        retry_after = self._retry_after if answer.status == Status.UNAVAILABLE else None
        message = Response(
            version=answer.version,
            status=answer.status,
            security_token=nonce + bytes(SIZE_MAC),
            client_id=client_id,
            sealed_handle=sealed_handle,
            x25519_key=public,
            server_uri=answer.server_uri,
            retry_after=retry_after,
        )
        payload = step.sign(encode(message))
        reply = Reply.message(RESPONSE_CODES[answer.status], payload, max_age=retry_after)
        self._ordinal = max(self._ordinal + 1, int(wall * 1e6))
        transaction = Transaction(p.th1, p.device, self._ordinal, now + LIFE, reply)
        suite = 1 if public is None else 2
        if answer.accept is not None and answer.client_id is not None:
            transaction.state = State.PENDING
            transaction.offer = Offer(
                client_id=answer.client_id,
                imei=p.imei,
                version=answer.version,
                firmware=request.firmware,
                suite=suite,
                accept=answer.accept,
                step=step.next(payload),
            )
        self._transactions.add(transaction)
        status = answer.status.name.lower()
        self._log("response", status=status, rule=answer.rule, version=str(request.version), suite=suite)
        return reply

    def _agree(self, request: Request) -> tuple[bytes | None, bytes]:
        """Return our ephemeral public key and ``dh`` in the X25519 suite, else None and nothing."""
        if request.x25519_key is None:
            return None, b""
        private = self._random(schedule.KEY_SIZE)
        shared = schedule.agree(private, request.x25519_key)
        public = schedule.ephemeral(private)
        return public, public + shared

    def _answer(self, p: Proved, retired: bool, now: float) -> _Answer:
        """Decide a REQUEST: the store's health, the device's key generation, then the policy."""
        request = p.request
        unavailable = _Answer(Status.UNAVAILABLE, request.version, "store failure")
        if self._store_failed_at is not None and now < self._store_failed_at + STORE_PAUSE:
            return unavailable
        if retired:
            return _Answer(Status.REPROVISION, request.version, "minimum epoch")
        decision = self._policy.decide(request.version, request.firmware, p.imei.tac, request.x25519_key is not None)
        match decision:
            case Accept(rule=rule):
                try:
                    client_id = self._client_id(p.device, decision)
                except StoreError:
                    self._store_failed_at = now
                    return unavailable
                if client_id is None:
                    return _Answer(Status.UNAVAILABLE, request.version, rule)
                return _Answer(Status.OK, decision.selected, rule, accept=decision, client_id=client_id)
            case VersionNotSupported(rule=rule):
                return _Answer(Status.VERSION_NOT_SUPPORTED, decision.highest, rule)
            case RequireX25519(rule=rule):
                return _Answer(Status.SUITE_TOO_WEAK, request.version, rule)
            case Redirect(rule=rule):
                return _Answer(Status.REDIRECT, request.version, rule, server_uri=decision.server_uri)
            case Refuse(rule=rule):
                return _Answer(Status.REFUSED, request.version, rule)

    def _client_id(self, device: bytes, accept: Accept) -> int | None:
        """Return the Client ID to offer, or None when the range is exhausted; StoreError passes through."""
        if accept.stable:
            held = [
                t.offer.client_id
                for t in self._transactions.of_device(device)
                if t.offer is not None and t.state is State.PENDING
            ]
            session = self._store.sessions_of([device]).get(device)
            if session is not None:
                held.append(int.from_bytes(session.client_id, "big"))
            for client_id in reversed(held):
                if accept.first <= client_id <= accept.last:
                    return client_id
        return self._id_manager.draw(accept.first, accept.last, self._transactions.is_reserved)

    # SUCCESS

    def _success(self, message: Success, payload: bytes, prepared: Prepared, wall: float) -> Reply | Transaction:
        """Return the answer to a SUCCESS, or the transaction that must be durable first."""
        client_id = int.from_bytes(message.client_id, "big")
        for transaction in self._transactions.of_client_id(client_id):
            offer = transaction.offer
            if transaction.state is State.PENDING and offer is not None:
                if offer.step.verify(payload):
                    return self._confirm(transaction, offer, message, payload, prepared, wall)
            elif transaction.state is not State.ESTABLISHED and compare_digest(transaction.success, payload):
                return transaction
        # The store alone knows whether an established session still lives: an operator may have ended it.
        session = self._store.sessions([message.client_id]).get(message.client_id)
        if session is None or not compare_digest(session.success_hash, sha256(payload).digest()):
            raise UnprovedError("unknown transaction")
        if session.expires_at is not None and session.expires_at <= wall:
            raise UnprovedError("expired session")
        self._log("confirm-repeated", client_id=message.client_id.hex())
        return Reply.message(Code.CHANGED, session.confirm)

    def _confirm(
        self,
        transaction: Transaction,
        offer: Offer,
        message: Success,
        payload: bytes,
        prepared: Prepared,
        wall: float,
    ) -> Transaction:
        """Take a verified SUCCESS: a decline is answered at once, an ok goes into the batch's commit."""
        transaction.success = payload
        transaction.confirm_step = step = offer.step.next(payload)
        if message.status != Status.OK:
            transaction.move(Event.DECLINED)
            transaction.answer = self._confirmation(step, Status.RELEASED)
            self._log("declined", client_id=message.client_id.hex(), status=message.status)
            return transaction
        transaction.move(Event.CONFIRMED)
        accept = offer.accept
        established_at = int(wall)
        session = Session(
            client_id=message.client_id,
            device=transaction.device,
            sealed_imei=self._at_rest.seal_imei(offer.imei, transaction.device),
            version=offer.version,
            firmware=offer.firmware,
            suite=offer.suite,
            rule=accept.rule,
            ordinal=transaction.ordinal,
            established_at=established_at,
            expires_at=None if accept.lifetime is None else established_at + accept.lifetime,
            th3=step.th3,
            success_hash=sha256(payload).digest(),
            confirm=self._confirmation(step, Status.OK, accept.lifetime).payload,
            sealed_keys=self._at_rest.seal_keys(b"".join(step.export()), message.client_id),
            properties=json.dumps(dict.fromkeys(accept.properties)),
            policies=json.dumps(accept.reporting),
        )
        prepared.sessions.append(session)
        prepared.committing.append(transaction)
        return transaction

    def _settle(self, transaction: Transaction, session: Session, outcome: Outcome) -> None:
        """Give a transaction the answer that its commit's outcome asks for."""
        client_id = session.client_id.hex()
        if outcome is Outcome.COMMITTED:
            transaction.move(Event.COMMITTED)
            transaction.answer = Reply.message(Code.CHANGED, session.confirm)
            self._log("established", client_id=client_id, rule=session.rule, suite=session.suite)
            for older in self._transactions.of_device(transaction.device):
                if older is not transaction and older.state is State.ESTABLISHED:
                    self._supersede(older)
        elif outcome is Outcome.SUPERSEDED:
            self._supersede(transaction)
            self._log("superseded", client_id=client_id)
        else:
            self._transactions.remove(transaction)
            transaction.answer = UNAUTHORIZED
            self._log("unauthenticated", reason=f"not committed: {outcome.name.lower()}")

    def _supersede(self, transaction: Transaction) -> None:
        transaction.move(Event.NEWER_WON)
        assert transaction.confirm_step is not None  # set with the SUCCESS that brought it here
        transaction.answer = self._confirmation(transaction.confirm_step, Status.SUPERSEDED)

    @staticmethod
    def _confirmation(step: schedule.ConfirmStep, status: Status, lifetime: int | None = None) -> Reply:
        """Return the reply that carries a signed CONFIRM."""
        return Reply.message(Code.CHANGED, step.sign(encode(Confirm(status, bytes(SIZE_MAC), lifetime))))

    def _malformed(self, error: MalformedMessage) -> Reply:
        self._log("malformed", fault=error.fault, place=error.place)
        return Reply.malformed(error)

    def _log(self, event: str, **details: str | int) -> None:
        self._audit.append(Audit(event, details))
