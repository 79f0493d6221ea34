"""What a REQUEST gets: by the store's health, the operator's restrictions, the policy, and a free Client ID."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from dpe_coap.messages import Version
from dpe_coap.numbers import SIZE_CLIENT_ID, Status
from dpe_server.policy import Accept, Policy, Redirect, Refuse, RequireX25519, VersionNotSupported
from dpe_server.registration.authentication import Sender
from dpe_server.registration.id_manager import IdManager
from dpe_server.registration.transactions import State, Transactions
from dpe_server.store import Restriction, Session, Store, StoreError

STORE_PAUSE = 5.0
"""Seconds after a failed commit in which no Client ID is offered, as its SUCCESS would fail too."""

UNRESTRICTED = Restriction(revoked=False, minimum_epoch=0)


@dataclass(slots=True)
class Verdict:
    """The status of the RESPONSE, its version, the policy rule that said so, and what goes with the status."""

    status: Status
    version: Version
    rule: str
    accept: Accept | None = None
    client_id: int | None = None
    server_uri: str | None = None


class Admission:
    """Judges the REQUESTs of a batch together, with a few looks at the store for all."""

    def __init__(
        self, store: Store, transactions: Transactions, policy: Policy, random: Callable[[int], bytes]
    ) -> None:
        self.policy = policy
        self._store = store
        self._transactions = transactions
        self._id_manager = IdManager(store, random)
        self._failed_at: float | None = None

    def store_failed(self, now: float) -> None:
        """Offer no Client ID for a while."""
        self._failed_at = now

    def store_works(self) -> None:
        """Offer Client IDs again."""
        self._failed_at = None

    def judge(self, batch: Sequence[Sender], now: float) -> list[Verdict | None]:
        """Return the verdict on each REQUEST; None on one that is not proved, and on a revoked device's alike.

        The device must not learn that it is revoked, nor anybody who replays what it has sent. So the store is asked
        for the others too.
        """
        try:
            minimum_epoch = self._store.minimum_epoch()
            restrictions = self._store.restrictions({p.device for p in batch})
            paused = self._failed_at is not None and now < self._failed_at + STORE_PAUSE
            verdicts = [
                self._verdict(p, restrictions.get(p.device, UNRESTRICTED), minimum_epoch, paused) for p in batch
            ]
            pairs = zip(batch, verdicts, strict=True)
            self._give_client_ids([(p, v, v.accept) for p, v in pairs if v is not None and v.accept is not None])
        except StoreError:
            self.store_failed(now)
            return [_unavailable(p) if p.proved else None for p in batch]
        return verdicts

    def _verdict(self, p: Sender, restriction: Restriction, minimum_epoch: int, paused: bool) -> Verdict | None:
        """Judge by all but the Client IDs that are free."""
        if restriction.revoked | (not p.proved):  # without a shortcut
            return None
        if paused:
            return _unavailable(p)
        request = p.request
        if p.epoch < minimum_epoch or p.epoch < restriction.minimum_epoch:
            return Verdict(Status.REPROVISION, request.version, "minimum epoch")
        decision = self.policy.decide(request.version, request.firmware, p.imei.tac, request.x25519_key is not None)
        match decision:
            case Accept():
                return Verdict(Status.OK, decision.selected, decision.rule, accept=decision)
            case VersionNotSupported():
                return Verdict(Status.VERSION_NOT_SUPPORTED, decision.highest, decision.rule)
            case RequireX25519():
                return Verdict(Status.SUITE_TOO_WEAK, request.version, decision.rule)
            case Redirect():
                return Verdict(Status.REDIRECT, request.version, decision.rule, server_uri=decision.server_uri)
            case Refuse():  # pragma: no branch  # a decision is one of these five
                return Verdict(Status.REFUSED, request.version, decision.rule)

    def _give_client_ids(self, accepted: Sequence[tuple[Sender, Verdict, Accept]]) -> None:
        """Give each its Client ID, or the status unavailable where the range is exhausted."""
        stable = {p.device for p, _, accept in accepted if accept.stable}
        sessions = self._store.sessions_of(stable) if stable else {}
        offered = {device: self._offered(device) for device in stable}
        holders = self._holders(chain.from_iterable(offered.values()))
        wanted: dict[tuple[int, int], dict[bytes, list[Verdict]]] = {}
        for p, verdict, accept in accepted:
            if accept.stable:
                mine = [n for n in offered[p.device] if holders.get(n, p.device) == p.device]
                verdict.client_id = _held(mine, accept, sessions.get(p.device))
            if verdict.client_id is None:
                sharing = p.device if accept.stable else p.th1
                wanted.setdefault((accept.first, accept.last), {}).setdefault(sharing, []).append(verdict)
        for (first, last), verdicts in wanted.items():
            drawn = self._id_manager.draw(first, last, len(verdicts), self._transactions.is_reserved)
            for sharers, client_id in zip_longest(verdicts.values(), drawn):
                for verdict in sharers:
                    verdict.client_id = client_id
                    if client_id is None:
                        verdict.status = Status.UNAVAILABLE

    def _offered(self, device: bytes) -> list[int]:
        """Return the Client IDs that a device has been offered and may still confirm, the oldest first."""
        pending = (t for t in self._transactions.of_device(device) if t.state == State.PENDING)
        return [t.offer.client_id for t in pending if t.offer]

    def _holders(self, client_ids: Iterable[int]) -> dict[int, bytes]:
        """Return the devices that have these Client IDs: another worker may have given them to others meanwhile."""
        names = {client_id.to_bytes(SIZE_CLIENT_ID, "big") for client_id in client_ids}
        held = self._store.sessions(names) if names else {}
        return {int.from_bytes(name, "big"): session.device for name, session in held.items()}


def _held(offered: Sequence[int], accept: Accept, session: Session | None) -> int | None:
    """Return the Client ID in the rule's range that a device has, or has been offered."""
    held = list(offered)
    if session is not None:
        held.append(int.from_bytes(session.client_id, "big"))
    return next((client_id for client_id in reversed(held) if accept.first <= client_id <= accept.last), None)


def _unavailable(p: Sender) -> Verdict:
    return Verdict(Status.UNAVAILABLE, p.request.version, "store failure")
