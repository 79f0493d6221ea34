"""The server's policy: ordered rules that decide each REQUEST, from a TOML file (docs/how-to/policy.md).

No store, clock or message is known here: a policy sees only the traits of a REQUEST.
"""

from dpe_server.policy.file import DEFAULT_POLICY, load, parse
from dpe_server.policy.policy import Policy, Step
from dpe_server.policy.rules import (
    Accept,
    Decision,
    Redirect,
    Refuse,
    RequireX25519,
    Terms,
    Traits,
    VersionNotSupported,
    describe,
)
from dpe_server.policy.tables import Fault, PolicyError

__all__ = [
    "DEFAULT_POLICY",
    "Accept",
    "Decision",
    "Fault",
    "Policy",
    "PolicyError",
    "Redirect",
    "Refuse",
    "RequireX25519",
    "Step",
    "Terms",
    "Traits",
    "VersionNotSupported",
    "describe",
    "load",
    "parse",
]
