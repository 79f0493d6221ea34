"""The policy in force: which decision a REQUEST gets, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dpe_coap.messages import Version
from dpe_server.policy.index import Index
from dpe_server.policy.rules import REQUESTED, Accept, Decision, Refuse, Rule, describe

DEFAULT = Refuse("default")
"""The decision when no rule matches. No rule of a file has this name."""

VERSIONS = 4_096
"""Decisions of rules that keep the requested version, remembered by rule and version."""
KINDS = 4_096
"""Kinds of REQUESTs whose decision is remembered: model, version, firmware and suite."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that a request met: ``line`` is where it stands, None for the default; ``why`` is plain English."""

    rule: str
    line: int | None
    matched: bool
    why: str


class Policy:
    """Ordered rules; the first that matches decides. Nothing of it changes.

    ``allow_clear_imei``: whether a REQUEST may carry its IMEI in clear, for a lab.
    """

    def __init__(self, rules: Sequence[Rule], *, allow_clear_imei: bool = False) -> None:
        self.rules = tuple(rules)
        self.allow_clear_imei = allow_clear_imei
        self._index = Index(self.rules)
        self._decision = lru_cache(VERSIONS)(self._decision_of)
        self._decide_kind = lru_cache(KINDS)(self._decide)

    def decide(self, version: Version, firmware: str | None, tac: str, x25519: bool) -> Decision:
        """Decide a REQUEST. ``tac`` is the first 8 digits of the IMEI; ``x25519``, whether the request has that key."""
        return self._decide_kind(version, firmware, tac, x25519)

    def _decide(self, version: Version, firmware: str | None, tac: str, x25519: bool) -> Decision:
        found = self._index.first(version, firmware, tac, x25519)
        return DEFAULT if found is None else self._decision(found, version)

    def explain(self, version: Version, firmware: str | None, tac: str, x25519: bool) -> list[Step]:
        """Return a step for every rule that the request meets; the last is the one that decides, and says what."""
        steps: list[Step] = []
        for i, rule in enumerate(self.rules):
            reasons = rule.mismatches(version, firmware, tac, x25519)
            if not reasons:
                decision = describe(self._decision(i, version))
                return [*steps, Step(rule.name, rule.line, True, f"matches {rule.conditions()}: {decision}")]
            steps.append(Step(rule.name, rule.line, False, "; ".join(reasons)))
        return [*steps, Step(DEFAULT.rule, None, True, f"no rule matches: {describe(DEFAULT)}")]

    def _decision_of(self, i: int, version: Version) -> Decision:
        decision = self.rules[i].decision
        if isinstance(decision, Accept) and decision.selected == REQUESTED:
            return replace(decision, selected=version)
        return decision
