"""The server's policy: ordered rules that decide each REQUEST, from a TOML file (docs/how-to/policy.md).

No store and no clock is known here: a policy sees only the traits of a REQUEST, and says what a device is told.
"""

from dpe_server.policy.file import DEFAULT_POLICY, load, load_override, parse
from dpe_server.policy.override import read_override, read_override_table
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
from dpe_server.policy.told import NOTHING, Told, told_of
from dpe_server.policy.vocabulary import Vocabulary

__all__ = [
    "DEFAULT_POLICY",
    "NOTHING",
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
    "Told",
    "Traits",
    "VersionNotSupported",
    "Vocabulary",
    "describe",
    "load",
    "load_override",
    "parse",
    "read_override",
    "read_override_table",
    "told_of",
]
