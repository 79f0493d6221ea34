"""What a rule of the policy asks of a REQUEST, and what it decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

from dpe_coap.messages import Version
from dpe_coap.numbers import MAX_VERSION_PART, SIZE_CLIENT_ID
from dpe_server.policy.reporting import Reporting

REQUESTED = Version(-1, -1)
"""Not a version: in a rule's decision it stands for the version that the device requests."""


class Traits(NamedTuple):
    """What a policy can tell of a REQUEST."""

    version: Version
    firmware: str | None
    """None: the device sends none."""
    tac: str
    """The first 8 digits of the IMEI."""
    x25519: bool
    """Whether the REQUEST has an X25519 key."""


class Terms(NamedTuple):
    """What a rule grants beside the Client ID, as the session has it."""

    rule: str
    lifetime: int | None
    """Seconds."""


@dataclass(frozen=True)
class Accept:
    """Register the device: RESPONSE with status ok. ``rule`` is the deciding rule's name, here and below."""

    rule: str
    first: int
    last: int
    """The Client ID is drawn from ``first`` to ``last``, both included (56 bits)."""
    stable: bool
    """Whether a device that comes back gets its Client ID again."""
    lifetime: int | None
    """Seconds that the DPE session lives; None is without end."""
    selected: Version
    """The DPE version the server selects; ``REQUESTED`` in a rule that keeps the requested one."""
    reporting: Reporting
    """What the device is to report, and when."""

    @cached_property
    def terms(self) -> Terms:
        """The terms of a session."""
        return Terms(self.rule, self.lifetime)


@dataclass(frozen=True, slots=True)
class Refuse:
    """RESPONSE with status refused."""

    rule: str


@dataclass(frozen=True, slots=True)
class VersionNotSupported:
    """RESPONSE with status version-not-supported; ``highest`` is the version it names."""

    rule: str
    highest: Version


@dataclass(frozen=True, slots=True)
class RequireX25519:
    """RESPONSE with status suite-too-weak."""

    rule: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """RESPONSE with status redirect to ``server_uri``, ``coap://host[:port]``."""

    rule: str
    server_uri: str


Decision = Accept | Refuse | VersionNotSupported | RequireX25519 | Redirect


def describe(decision: Decision) -> str:
    """Say in one line of plain English what ``decision`` gives the device."""
    match decision:
        case Accept():
            width = 2 * SIZE_CLIENT_ID
            parts = [
                "accept, DPE version " + ("as requested" if decision.selected == REQUESTED else str(decision.selected)),
                f"{'stable' if decision.stable else 'fresh'} Client ID from {decision.first:0{width}x}"
                f" to {decision.last:0{width}x}",
                "session without end" if decision.lifetime is None else f"session of {decision.lifetime} s",
            ]
            names = [policy.entry.name for policy in decision.reporting]
            parts.append("reports of " + _few(names, "and") if names else "no reports")
            return "; ".join(parts)
        case Refuse():
            return "refuse"
        case VersionNotSupported(highest=highest):
            return f"version not supported; the highest is {highest}"
        case RequireX25519():
            return "suite too weak: the device shall ask again with an X25519 key"
        case Redirect(server_uri=server_uri):
            return f"redirect to {server_uri}"


class VersionRange(NamedTuple):
    """DPE versions from ``first`` to ``last``, both included, in the order of major, then minor."""

    first: Version
    last: Version

    def __str__(self) -> str:
        """As a policy writes it."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


ANY_VERSION = VersionRange(Version(0, 0), Version(MAX_VERSION_PART, MAX_VERSION_PART))


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``[[rule]]``, valid by itself."""

    name: str
    line: int
    """The line of its header in the file, from 1."""
    versions: VersionRange
    firmware: str | None
    """A shell pattern, case-sensitive; None matches any firmware, and none at all."""
    tacs: tuple[str, ...]
    """Prefixes of the TAC, 1 to 8 digits, none of which begins another; empty is any TAC."""
    decision: Decision

    @property
    def without_x25519_only(self) -> bool:
        """Whether it passes over requests with an X25519 key: they have what it demands."""
        return isinstance(self.decision, RequireX25519)

    def mismatches(self, traits: Traits) -> list[str]:
        """Say in plain English why the rule does not match; empty when it does."""
        version, firmware, tac, x25519 = traits
        reasons = []
        if not self.versions.first <= version <= self.versions.last:
            outside = "is not" if self.versions.first == self.versions.last else "is outside"
            reasons.append(f"version {version} {outside} {self.versions}")
        if self.firmware is not None and firmware is None:
            reasons.append(f'the device sends no firmware, and the rule asks for "{self.firmware}"')
        elif self.firmware is not None and firmware is not None and not fnmatchcase(firmware, self.firmware):
            reasons.append(f'firmware {firmware!a} does not match "{self.firmware}"')
        if self.tacs and not tac.startswith(self.tacs):
            reasons.append(f"TAC {tac} does not begin with {_few(self.tacs)}")
        if self.without_x25519_only and x25519:
            reasons.append("the request has the X25519 key that the rule demands")
        return reasons

    def asks(self) -> str:
        """Say in plain English what the rule asks of a request."""
        asked = []
        if self.versions != ANY_VERSION:
            asked.append(f"version {self.versions}")
        if self.firmware is not None:
            asked.append(f'firmware "{self.firmware}"')
        if self.tacs:
            asked.append(f"TAC {_few(self.tacs)}")
        if self.without_x25519_only:
            asked.append("no X25519 key")
        return ", ".join(asked) or "every request"


def _few(items: Sequence[str], word: str = "or") -> str:
    """Name some of the items: a rule may have thousands of prefixes."""
    return ", ".join(items[:4]) + (f" {word} {len(items) - 4} more" if len(items) > 4 else "")
