"""Any bytes give a policy, or one error with a hint, which says of each fault where it is and what was expected; an
accepted policy decides every kind of request, and explains it as it decides it."""

from pathlib import Path
from typing import Any

from dpe_coap.messages import Version
from dpe_server import policy
from dpe_server.policy import DEFAULT_POLICY, PolicyError, Traits, describe
from tests.server.registration.double import POLICY

LONGEST = 800
WORDS = tuple(
    word.encode()
    for word in (
        "[[rule]]\n", "[rule.reporting.battery]\n", 'name = "a"\n', 'version = "1.*"\n', 'version = "1.0-1.3"\n',
        'firmware = "4.*"\n', 'tac = ["3520"]\n', 'action = "accept"\n', 'action = "refuse"\n',
        'range = ["10000000000000", "1fffffffffffff"]\n', 'client_id = "stable"\n', "lifetime = 60\n",
        'select = "1.0"\n', 'properties = ["battery"]\n', "every = 60\n", "on_change = true\n", "minimum_gap = 5\n",
        'highest = "1.0"\n', 'action = "require-x25519"\n', 'action = "redirect"\n', 'server = "coap://h"\n',
        'action = "version-not-supported"\n', "allow_clear_imei = true\n", "[!a-z]", "[[]", "*?*", '"""', "'''",
        "{a = 1}", "1979-05-27T07:32:00Z", "0x1f", "inf", "nan", "\\u0000", "\\U0010ffff", "\u00e9", "#", "=", ".", "]",
    )
)  # fmt: skip
LONGEST_FAULT = 600
SOURCE = "policy.toml"

_TRAITS = [
    Traits(version, firmware, tac, x25519)
    for version, firmware in ((Version(1, 0), None), (Version(2, 5), "4.2"), (Version(255, 255), "\u00e9[!x]\n*"))
    for tac, x25519 in (("35209900", False), ("00000000", True))
]


def seeds() -> list[bytes]:
    """The policies of the tests and the documents, whole and in pieces."""
    texts = [DEFAULT_POLICY, POLICY, *("[[rule]]" + rule for rule in POLICY.split("[[rule]]")[1:])]
    for action in ('action = "refuse"', 'action = "accept"\nrange = ["10000000000000", "1fffffffffffff"]\nlifetime=9'):
        for more in ('firmware = "4.[0-9]*"', 'tac = ["3520", "36"]', 'version = "1.0-1.3"', 'name = "n"'):
            texts.append(f"[[rule]]\n{action}\n{more}\n")
    texts.append("allow_clear_imei = true\nrule = [{action = 'refuse'}]\n")
    return [text.encode() for text in texts]


class _File:
    """A policy file whose bytes are given."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __str__(self) -> str:
        return SOURCE

    def read_bytes(self) -> bytes:
        return self._data


def check(data: bytes) -> None:
    """Load the file; ask the policy, or look at the error."""
    file: Any = _File(data)
    assert not isinstance(file, Path)
    try:
        found = policy.load(file)
    except PolicyError as error:
        _check_error(error, data.count(b"\n") + 1)
        return
    assert found.rules
    for traits in _TRAITS:
        decision = found.decide(traits)
        *others, last = found.explain(traits)
        assert last.matched
        assert last.rule == decision.rule
        assert last.why.endswith(describe(decision))
        assert not any(step.matched for step in others)


def _check_error(error: PolicyError, lines: int) -> None:
    assert error.hint
    assert len(error.report) == len(error.faults) > 0
    assert str(error).startswith(error.report[0])
    for fault, text in zip(error.faults, error.report, strict=True):
        assert fault.line is None or 1 <= fault.line <= lines
        assert text.startswith(SOURCE if fault.line is None else f"{SOURCE}:{fault.line}:")
        assert fault.message
        assert text.isprintable(), ascii(text)
        assert len(text) <= LONGEST_FAULT + len(fault.key or "")
