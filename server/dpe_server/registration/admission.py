"""What a REQUEST gets, by the store's health, the operator's restrictions, the policy, and the free Client IDs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dpe_coap.messages import Version
from dpe_coap.numbers import SIZE_CLIENT_ID, Status
from dpe_server.policy import (
    Accept,
    Decision,
    Policy,
    Redirect,
    Refuse,
    RequireX25519,
    Traits,
    VersionNotSupported,
)
from dpe_server.registration.authentication import Sender
from dpe_server.registration.id_manager import Drawing, probes
from dpe_server.registration.transaction_table import Transactions
from dpe_server.registration.transactions import State
from dpe_server.store.questions import Facts, Questions, Restriction

STORE_PAUSE = 5.0
"""Seconds for which no Client ID is offered after the store has failed: its SUCCESS would fail too."""

UNRESTRICTED = Restriction()
ALL = 0, (1 << 8 * SIZE_CLIENT_ID) - 1
"""The range of all Client IDs."""


class Verdict(NamedTuple):
    """The status of the RESPONSE, its version, the policy rule that said so, and what goes with the status."""

    status: Status
    version: Version
    rule: str
    accept: Accept | None = None
    client_id: int | None = None
    server_uri: str | None = None


@dataclass(slots=True)
class Applications:
    """The REQUESTs of a batch while they are judged."""

    senders: Sequence[Sender]
    decisions: list[Decision]
    probes: list[int]
    """A random Client ID for each sender, even one that will get none: the time must not reveal which that is."""
    judged: list[Verdict | Accept | None] = field(default_factory=list)
    """The verdicts. Where a device is accepted, the decision stands here, for it still needs a Client ID."""
    client_ids: dict[int, int] = field(default_factory=dict)
    """The Client IDs given so far, by place in the batch."""
    sharing: dict[int, int] = field(default_factory=dict)
    """By place, an earlier place whose Client ID it shares: the same device, under a rule with stable Client IDs."""
    claims: dict[int, list[int]] = field(default_factory=dict)
    """By place, under a rule with stable Client IDs: what the device was offered and may still confirm. Is it free?"""
    wanting: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """Places without a Client ID yet, by range."""
    drawings: dict[tuple[int, int], Drawing] = field(default_factory=dict)
    """The draws under way, by range."""


class Admission:
    """Judges the REQUESTs of a batch together. ``random`` gives cryptographically strong bytes."""

    def __init__(self, transactions: Transactions, policy: Policy, random: Callable[[int], bytes]) -> None:
        self.policy = policy
        self._transactions = transactions
        self._random = random
        self._failed_at: float | None = None

    def store_failed(self, now: float) -> None:
        """Offer no Client ID for a while."""
        self._failed_at = now

    def store_works(self) -> None:
        """Offer Client IDs again."""
        self._failed_at = None

    def read(self, senders: Sequence[Sender], questions: Questions) -> Applications:
        """Begin to judge; add to ``questions`` what must be looked up.

        A sender that has proved nothing causes the same questions as a revoked device: both are refused alike.
        """
        decisions: list[Decision] = []
        ranges: list[tuple[int, int]] = []
        decide, stable = self.policy.decide, self.policy.any_stable
        for p in senders:
            request = p.request
            decision = decide(Traits(request.version, request.firmware, p.imei.tac, request.x25519_key is not None))
            if isinstance(decision, Accept):
                ranges.append((decision.first, decision.last))
            else:
                ranges.append(ALL)
            decisions.append(decision)
        devices = {p.device for p in senders}
        questions.restrictions.update(devices)
        if stable:
            questions.client_ids_of.update(devices)
        drawn = probes(ranges, self._random)
        questions.holders.update(drawn)
        return Applications(senders, decisions, drawn)

    def decide(
        self, applications: Applications, facts: Facts | None, now: float, further: Questions
    ) -> list[Verdict | None] | None:
        """Return the verdict on each REQUEST, or None when more must be looked up, which is added to ``further``.

        The verdict is None on an unproved REQUEST, and on one of a revoked device: neither the device nor anybody who
        replays its messages must learn that it is revoked.
        """
        if facts is None:
            self.store_failed(now)
            return [_unavailable(p) if p.proved else None for p in applications.senders]
        if not applications.judged:
            self._judge(applications, facts, now)
        else:
            self._draw(applications, facts)
            self._settle_claims(applications, facts)
        if not applications.wanting and not applications.claims:
            return self._with_client_ids(applications)
        for claimed in applications.claims.values():
            further.holders.update(claimed)
        for (first, last), places in applications.wanting.items():
            drawing = applications.drawings.setdefault((first, last), Drawing(first, last, self._random))
            drawing.ask(len(places), further)
        return None

    def _judge(self, applications: Applications, facts: Facts, now: float) -> None:
        """Judge by everything but which Client IDs are free. Give one where the device has one or its probe is free."""
        paused = self._failed_at is not None and now < self._failed_at + STORE_PAUSE
        given: set[int] = set()
        places: dict[tuple[bytes, int, int], int] = {}
        for place, (p, decision) in enumerate(zip(applications.senders, applications.decisions, strict=True)):
            restriction = facts.restrictions.get(p.device, UNRESTRICTED)
            accept = self._verdict(p, decision, restriction, facts.minimum_epoch, paused)
            applications.judged.append(accept)
            if not isinstance(accept, Accept):
                continue
            if accept.stable:
                before = places.setdefault((p.device, accept.first, accept.last), place)
                if before != place:
                    applications.sharing[place] = before
                    continue
                client_id = facts.client_ids_of.get(p.device, -1)
                if accept.first <= client_id <= accept.last:
                    applications.client_ids[place] = client_id
                    continue
                if claimed := self._offered(p.device, accept):
                    applications.claims[place] = claimed
                    continue
            probe = applications.probes[place]
            if probe not in facts.holders and probe not in given and not self._transactions.is_reserved(probe):
                given.add(probe)
                applications.client_ids[place] = probe
            else:
                applications.wanting.setdefault((accept.first, accept.last), []).append(place)

    def _verdict(
        self, p: Sender, decision: Decision, restriction: Restriction, minimum_epoch: int, paused: bool
    ) -> Verdict | Accept | None:
        if restriction.revoked | (not p.proved):  # both are always looked at
            return None
        if paused:
            return _unavailable(p)
        version = p.request.version
        if p.epoch < minimum_epoch or p.epoch < restriction.minimum_epoch:
            return Verdict(Status.REPROVISION, version, "minimum epoch")
        match decision:
            case Accept():
                return decision
            case VersionNotSupported():
                return Verdict(Status.VERSION_NOT_SUPPORTED, decision.highest, decision.rule)
            case RequireX25519():
                return Verdict(Status.SUITE_TOO_WEAK, version, decision.rule)
            case Redirect():
                return Verdict(Status.REDIRECT, version, decision.rule, server_uri=decision.server_uri)
            case Refuse():  # pragma: no branch  # a decision is one of these five
                return Verdict(Status.REFUSED, version, decision.rule)

    def _offered(self, device: bytes, accept: Accept) -> list[int]:
        """Return the Client IDs in the rule's range that a device has been offered and may still confirm."""
        pending = (t for t in self._transactions.of_device(device) if t.state == State.PENDING)
        offered = [t.offer.client_id for t in pending if t.offer]
        return [client_id for client_id in offered if accept.first <= client_id <= accept.last]

    def _settle_claims(self, applications: Applications, facts: Facts) -> None:
        """Give a device again what it was offered last, unless another worker has given it to another device since."""
        claims, applications.claims = applications.claims, {}
        for place, claimed in claims.items():
            device = applications.senders[place].device
            own = [client_id for client_id in claimed if facts.holders.get(client_id, device) == device]
            if own:
                applications.client_ids[place] = own[-1]
            else:
                accept = applications.decisions[place]
                assert isinstance(accept, Accept)  # no other decision has claims
                applications.wanting.setdefault((accept.first, accept.last), []).append(place)

    def _draw(self, applications: Applications, facts: Facts) -> None:
        """Give the Client IDs that a further look has shown to be free."""
        given = set(applications.client_ids.values())

        def is_free(client_id: int) -> bool:
            return client_id not in given and not self._transactions.is_reserved(client_id)

        wanting, applications.wanting = applications.wanting, {}
        for limits, places in wanting.items():
            drawing = applications.drawings[limits]
            drawn = drawing.take(len(places), facts, is_free)
            applications.client_ids.update(zip(places, drawn, strict=False))
            if len(drawn) < len(places) and not drawing.exhausted:
                applications.wanting[limits] = places[len(drawn) :]

    def _with_client_ids(self, applications: Applications) -> list[Verdict | None]:
        """Return the verdicts: unavailable where the range is exhausted."""
        verdicts: list[Verdict | None] = []
        for place, verdict in enumerate(applications.judged):
            if isinstance(verdict, Accept):
                client_id = applications.client_ids.get(applications.sharing.get(place, place))
                if client_id is None:
                    verdicts.append(Verdict(Status.UNAVAILABLE, verdict.selected, verdict.rule))
                else:
                    verdicts.append(Verdict(Status.OK, verdict.selected, verdict.rule, verdict, client_id))
            else:
                verdicts.append(verdict)
        return verdicts


def _unavailable(p: Sender) -> Verdict:
    return Verdict(Status.UNAVAILABLE, p.request.version, "store failure")
