"""The policy in force: which decision a REQUEST gets, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dpe_coap.messages import Version
from dpe_coap.session_messages import encode_policies
from dpe_server.policy.reporting import policies_of
from dpe_server.policy.rule_index import RuleIndex
from dpe_server.policy.rules import REQUESTED, Accept, Decision, Refuse, Rule, Traits, describe
from dpe_server.policy.told import Told, told_of
from dpe_server.policy.vocabulary import Vocabulary

DEFAULT = Refuse("default")
"""The decision when no rule matches. No rule of a file has this name."""

VERSIONS = 4_096
"""The most decisions remembered by rule and version, of rules that keep the requested version."""
TRAITS = 4_096
"""The most traits of REQUESTs whose decision is remembered."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that a request met: ``line`` is where it stands, None for the default; ``why`` is plain English."""

    rule: str
    line: int | None
    matched: bool
    why: str
    reporting: tuple[str, ...] = ()
    """What the device is then to report, a line of plain English for each property."""


class Policy:
    """Ordered rules; the first that matches decides. A policy never changes.

    ``allow_clear_imei``: whether a REQUEST may carry its IMEI in clear, for a lab. ``vocabulary``: the properties that
    the file knows by name. No two rules have the same name.
    """

    def __init__(
        self, rules: Sequence[Rule], *, allow_clear_imei: bool = False, vocabulary: Vocabulary | None = None
    ) -> None:
        self.rules = tuple(rules)
        self.vocabulary = vocabulary or Vocabulary()
        self.allow_clear_imei = allow_clear_imei
        self.any_stable = any(isinstance(rule.decision, Accept) and rule.decision.stable for rule in self.rules)
        """Whether under any rule a device that comes back gets its Client ID again."""
        self._told = {
            rule.name: told_of(encode_policies(policies_of(rule.decision.reporting)), rule.decision.lifetime)
            for rule in self.rules
            if isinstance(rule.decision, Accept)
        }
        self._index = RuleIndex(self.rules)
        self._decision = lru_cache(VERSIONS)(self._decision_of)
        self._remembered = lru_cache(TRAITS)(self._decide)

    def decide(self, traits: Traits) -> Decision:
        """Decide a REQUEST by what the policy can tell of it."""
        return self._remembered(traits)

    def _decide(self, traits: Traits) -> Decision:
        found = self._index.first(traits)
        return DEFAULT if found is None else self._decision(found, traits.version)

    def told(self, rule_name: str) -> Told | None:
        """Return what the devices of a rule are told; None when no rule of this name accepts any."""
        return self._told.get(rule_name)

    def explain(self, traits: Traits) -> list[Step]:
        """Return a step for every rule that the request meets; the last step decides, and says what."""
        steps: list[Step] = []
        for i, rule in enumerate(self.rules):
            reasons = rule.mismatches(traits)
            if not reasons:
                decision = self._decision(i, traits.version)
                why = f"matches {rule.asks()}: {describe(decision)}"
                reporting = tuple(map(str, decision.reporting)) if isinstance(decision, Accept) else ()
                return [*steps, Step(rule.name, rule.line, True, why, reporting)]
            steps.append(Step(rule.name, rule.line, False, "; ".join(reasons)))
        return [*steps, Step(DEFAULT.rule, None, True, f"no rule matches: {describe(DEFAULT)}")]

    def _decision_of(self, i: int, version: Version) -> Decision:
        decision = self.rules[i].decision
        if isinstance(decision, Accept) and decision.selected == REQUESTED:
            return replace(decision, selected=version)
        return decision
