"""The registrar: the server's side of DPE-1 as a pure state machine over batches of messages.

Bytes and the time go in; replies, sessions to commit and audit records come out. Between the two stands one durable
commit for the whole batch, which the caller makes:

    prepared = registrar.prepare(batch, now, wall)     # decode, verify, policy, Client ID
    outcomes = store.commit(prepared.sessions)         # or None when the store failed
    replies = registrar.complete(prepared, outcomes, now)

Batches are completed in the order in which they were prepared, but those that wait for no commit at once; any number
may be prepared before the first of them is committed. The store is read in ``prepare``, never written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest

from dpe_coap import keys as schedule
from dpe_coap.binding import RESPONSE_CODES, Code
from dpe_coap.errors import MalformedMessage
from dpe_coap.imei import Imei
from dpe_coap.messages import SIZE_NONCE, Confirm, Request, Response, Success, decode, encode
from dpe_coap.numbers import SIZE_CLIENT_ID, SIZE_MAC, Status
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing
from dpe_server.policy import Policy
from dpe_server.registration.admission import Admission, Verdict
from dpe_server.registration.authentication import Authenticator, Sender
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.transactions import LIFE, Event, Offer, State, Transaction, Transactions
from dpe_server.store import Outcome, Session, Store, StoreError


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
    awaiting: bool = False
    """Whether a reply waits for the commit of an earlier batch: a SUCCESS came again meanwhile."""


_NAMES = {status: status.name.lower() for status in Status}


class Registrar:
    """The ID Manager's front: decides every REQUEST and SUCCESS.

    ``realm`` is the cluster's name; ``random`` gives cryptographically strong bytes; ``retry_after`` (seconds) is what
    a device is told when the server cannot register it now. ``ordinals`` are made on the first use unless given.
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
        ordinals: Ordinals | None = None,
    ) -> None:
        self._realm = realm
        self._at_rest = AtRest(keys.at_rest)
        self._store = store
        self._random = random
        self._retry_after = retry_after
        self._transactions = Transactions() if transactions is None else transactions
        self._admission = Admission(store, self._transactions, policy, random)
        self._ordinals = ordinals
        self._audit: list[Audit] = []
        self.reload(keys=keys, policy=policy)

    def reload(self, *, keys: KeyRing, policy: Policy) -> None:
        """Go on with other keys and another policy; transactions under way keep what they were offered."""
        self._keys = keys
        self._admission.policy = policy
        self._authenticator = Authenticator(self._realm, keys, self._at_rest, allow_clear_imei=policy.allow_clear_imei)

    def take_audit(self) -> list[Audit]:
        """Return the decisions made since the last call, and forget them."""
        taken, self._audit = self._audit, []
        return taken

    def prepare(self, batch: Sequence[bytes], now: float, wall: float) -> Prepared:
        """Decide a batch of payloads. ``now`` is monotonic, ``wall`` is Unix time, both in seconds."""
        self._transactions.expire(now)
        prepared = Prepared()
        senders: dict[bytes, Sender] = {}
        requests: list[tuple[int, bytes]] = []
        strangers: list[tuple[int, bytes, bytes]] = []
        for place, payload in enumerate(batch):
            slot: Reply | Transaction = UNAUTHORIZED
            try:
                message = decode(payload)
                if isinstance(message, Request):
                    th1 = sha256(payload).digest()
                    known = self._transactions.of_request(th1)
                    if known is not None:
                        slot = self._response(known)
                    else:
                        if th1 not in senders:
                            senders[th1] = self._authenticator.prove(message, payload, th1)
                        requests.append((place, th1))
                elif isinstance(message, Success):
                    found = self._success(message, payload, prepared, wall)
                    if found is not None:
                        slot = found
                    else:
                        strangers.append((place, message.client_id, payload))
                else:
                    raise MalformedMessage("a server takes REQUEST and SUCCESS only", offset=2, key=0)
            except MalformedMessage as error:
                slot = self._malformed(error)
            prepared.slots.append(slot)
        if requests:
            replies = self._requests(list(senders.values()), now, wall)
            for place, th1 in requests:
                prepared.slots[place] = replies[th1]
        if strangers:
            self._strangers(strangers, prepared, now, wall)
        return prepared

    def complete(self, prepared: Prepared, outcomes: Sequence[Outcome] | None, now: float) -> list[Reply]:
        """Return the replies to the batch, in its order, now that its sessions are durable (or could not be: None)."""
        if outcomes is None:
            self._admission.store_failed(now)
            for transaction in prepared.committing:
                transaction.move(Event.STORE_FAILED)
                self._transactions.update(transaction)
                self._log("store-failed")
        elif prepared.sessions:
            self._admission.store_works()
            for transaction, session, outcome in zip(prepared.committing, prepared.sessions, outcomes, strict=True):
                self._settle(transaction, session, outcome)
            for transaction in prepared.committing:
                if transaction.state == State.ESTABLISHED:
                    self._transactions.update(transaction)
        return [
            slot.answer or busy(self._retry_after) if isinstance(slot, Transaction) else slot for slot in prepared.slots
        ]

    def handle(self, batch: Sequence[bytes], now: float, wall: float) -> list[Reply]:
        """Do all three steps in one call, for callers without an event loop to keep free."""
        prepared = self.prepare(batch, now, wall)
        try:
            outcomes = self._store.commit(prepared.sessions) if prepared.sessions else []
        except StoreError:
            outcomes = None
        return self.complete(prepared, outcomes, now)

    # REQUEST

    def _requests(self, senders: Sequence[Sender], now: float, wall: float) -> dict[bytes, Reply]:
        """Answer the REQUESTs of a batch, by their TH1."""
        if self._ordinals is None:
            try:
                self._ordinals = Ordinals.after(self._store.last_ordinal(), now, wall)
            except StoreError:
                self._admission.store_failed(now)
        replies: dict[bytes, Reply] = {}
        for p, verdict in zip(senders, self._admission.judge(senders, now), strict=True):
            if verdict is None:
                self._log("unauthenticated", reason=p.refusal)
                replies[p.th1] = UNAUTHORIZED
            else:
                try:
                    replies[p.th1] = self._respond(p, verdict, now)
                except MalformedMessage as error:
                    replies[p.th1] = self._malformed(error)
        return replies

    def _respond(self, p: Sender, verdict: Verdict, now: float) -> Reply:
        """Answer one proved REQUEST and remember the transaction."""
        request = p.request
        public, dh = self._agree(request)
        nonce = self._random(SIZE_NONCE)
        step = p.step.respond(p.payload, nonce, dh)
        client_id = sealed_handle = None
        if verdict.client_id is not None:
            client_id = verdict.client_id.to_bytes(SIZE_CLIENT_ID, "big")
            sealed_handle = step.mask(self._keys.seal_handle(p.epoch, p.imei, self._random))
        message = Response(
            verdict.version,
            verdict.status,
            nonce + bytes(SIZE_MAC),
            client_id,
            sealed_handle,
            public,
            verdict.server_uri,
            self._retry_after if verdict.status == Status.UNAVAILABLE else None,
        )
        payload = step.sign(encode(message))
        ordinal = 0 if self._ordinals is None else self._ordinals.next(now)  # without, nothing is offered
        suite = 1 if public is None else 2
        transaction = Transaction(p.th1, p.device, ordinal, now + LIFE, verdict.status, payload)
        if verdict.accept is not None and verdict.client_id is not None:
            transaction.state = State.PENDING
            transaction.offer = Offer(
                client_id=verdict.client_id,
                imei=p.imei.packed,
                version=verdict.version,
                firmware=request.firmware,
                suite=suite,
                terms=verdict.accept.terms,
                prk3=step.next(payload).prk3,
            )
        self._transactions.add(transaction)
        self._log(
            "response", status=_NAMES[verdict.status], rule=verdict.rule, version=str(request.version), suite=suite
        )
        return self._response(transaction)

    def _response(self, transaction: Transaction) -> Reply:
        """Return the reply that carries the RESPONSE of a transaction."""
        max_age = self._retry_after if transaction.status == Status.UNAVAILABLE else None
        return Reply.message(RESPONSE_CODES[transaction.status], transaction.response, max_age=max_age)

    def _agree(self, request: Request) -> tuple[bytes | None, bytes]:
        """Return our ephemeral public key and ``dh`` in the X25519 suite, else None and nothing."""
        if request.x25519_key is None:
            return None, b""
        private = self._random(schedule.KEY_SIZE)
        shared = schedule.agree(private, request.x25519_key)
        public = schedule.ephemeral(private)
        return public, public + shared

    # SUCCESS

    def _success(self, message: Success, payload: bytes, prepared: Prepared, wall: float) -> Reply | Transaction | None:
        """Return the answer to a SUCCESS, the transaction that must be durable first, or None if there is neither."""
        for transaction in self._transactions.of_client_id(int.from_bytes(message.client_id, "big")):
            step = transaction.success_step
            last = step.next(payload)
            if compare_digest(last.th3, transaction.th3):
                match transaction.state:
                    case State.COMMITTING:
                        prepared.awaiting = True
                        return transaction
                    case State.RELEASED:
                        return _confirmation(last, Status.RELEASED)
                    case State.SUPERSEDED:
                        return _confirmation(last, Status.SUPERSEDED)
                    case State.ESTABLISHED:
                        return None
            # Refused soon it must not be: how long that takes would tell which Client IDs are offered.
            if step.verify(payload) and transaction.state == State.PENDING:
                return self._confirm(transaction, last, message, payload, prepared, wall)
        return None

    def _strangers(
        self, strangers: Sequence[tuple[int, bytes, bytes]], prepared: Prepared, now: float, wall: float
    ) -> None:
        """Answer each SUCCESS of a session that is durable, and no other; with one look at the store for all.

        The store alone knows whether an established session still lives: an operator may have ended it.
        """
        try:
            sessions = self._store.confirmed({client_id for _, client_id, _ in strangers})
        except StoreError:
            self._admission.store_failed(now)
            for place, _, _ in strangers:
                prepared.slots[place] = busy(self._retry_after)
            return
        for place, client_id, payload in strangers:
            session = sessions[client_id]
            same = compare_digest(session.success_hash, sha256(payload).digest())
            if same and (session.expires_at is None or session.expires_at > wall):
                self._log("confirm-repeated", client_id=client_id.hex())
                prepared.slots[place] = Reply.message(Code.CHANGED, session.confirm)
            else:
                self._log("unauthenticated", reason="expired session" if same else "unknown transaction")

    def _confirm(
        self,
        transaction: Transaction,
        step: schedule.ConfirmStep,
        message: Success,
        payload: bytes,
        prepared: Prepared,
        wall: float,
    ) -> Reply | Transaction:
        """Take a verified SUCCESS: a decline is answered at once, an ok goes into the batch's commit."""
        offer = transaction.offer
        assert offer is not None  # or there would be no Client ID to name it by
        transaction.th3 = step.th3
        if message.status != Status.OK:
            transaction.move(Event.DECLINED)
            self._transactions.update(transaction)
            self._log("declined", client_id=message.client_id.hex(), status=message.status)
            return _confirmation(step, Status.RELEASED)
        transaction.move(Event.CONFIRMED)
        self._transactions.update(transaction)
        terms = offer.terms
        established_at = int(wall)
        session = Session(
            client_id=message.client_id,
            device=transaction.device,
            sealed_imei=self._at_rest.seal_imei(Imei(offer.imei), transaction.device),
            version=offer.version,
            firmware=offer.firmware,
            suite=offer.suite,
            rule=terms.rule,
            ordinal=transaction.ordinal,
            established_at=established_at,
            expires_at=None if terms.lifetime is None else established_at + terms.lifetime,
            th3=step.th3,
            success_hash=sha256(payload).digest(),
            confirm=_confirmation(step, Status.OK, terms.lifetime).payload,
            sealed_keys=self._at_rest.seal_keys(b"".join(step.export()), message.client_id),
            properties=terms.properties,
            policies=terms.policies,
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
            for other in self._transactions.of_device(transaction.device):
                # A newer one is there when its session is over and pruned: the wall clock has jumped.
                if other.state == State.ESTABLISHED and other.ordinal < transaction.ordinal:
                    self._supersede(other)
        elif outcome is Outcome.SUPERSEDED:
            self._supersede(transaction)
            self._log("superseded", client_id=client_id)
        else:
            self._transactions.remove(transaction)
            transaction.answer = UNAUTHORIZED
            self._log("unauthenticated", reason=f"not committed: {outcome.name.lower()}")

    def _supersede(self, transaction: Transaction) -> None:
        transaction.move(Event.NEWER_WON)
        transaction.answer = _confirmation(transaction.confirm_step, Status.SUPERSEDED)
        self._transactions.update(transaction)

    def _malformed(self, error: MalformedMessage) -> Reply:
        self._log("malformed", fault=error.fault, place=error.place)
        return Reply.malformed(error)

    def _log(self, event: str, **details: str | int) -> None:
        self._audit.append(Audit(event, details))


def _confirmation(step: schedule.ConfirmStep, status: Status, lifetime: int | None = None) -> Reply:
    """Return the reply that carries a signed CONFIRM."""
    return Reply.message(Code.CHANGED, step.sign(encode(Confirm(status, bytes(SIZE_MAC), lifetime))))
