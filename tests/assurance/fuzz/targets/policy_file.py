"""Any bytes give a policy, or one error with a hint, which says of each fault where it is and what was expected; an
accepted policy decides every kind of request, explains it as it decides it, and tells devices what they can read. The
same holds of the file with the policies of one device."""

from pathlib import Path
from typing import Any

from dpe_coap.messages import Version
from dpe_coap.session_messages import decode_answer
from dpe_server import policy
from dpe_server.policy import DEFAULT_POLICY, Accept, PolicyError, Told, Traits, Vocabulary, describe, told_of
from tests.server.registration.double import POLICY

LONGEST = 800
WORDS = tuple(
    word.encode()
    for word in (
        "[[rule]]\n", "[rule.report]\n", "[property.a]\n", "[rule.report.battery]\n", 'name = "a"\n',
        'version = "1.*"\n', 'version = "1.0-1.3"\n', 'firmware = "4.*"\n', 'tac = ["3520"]\n',
        'action = "accept"\n', 'action = "refuse"\n',
        'range = ["10000000000000", "1fffffffffffff"]\n', 'client_id = "stable"\n', "lifetime = 60\n",
        'select = "1.0"\n', "battery = {}\n", "a = { pmin = 60, pmax = 60 }\n", "gt = 5\n",
        "lt = 0.5\n", "st = 1\n", "band = true\n", "edge = false\n", "roaming = false\n", "wire = 20\n",
        'wire = "a"\n', 'type = "number"\n', 'unit = "%"\n', "minimum = -1\n", "maximum = 1.5\n", "longest = 8\n",
        'properties = ["battery"]\n', "reporting.battery.every = 60\n",
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
    for action in ('action = "refuse"', 'action = "accept"\nrange = ["10000000000000", "1fffffffffffff"]\nlifetime=99'):
        for more in ('firmware = "4.[0-9]*"', 'tac = ["3520", "36"]', 'version = "1.0-1.3"', 'name = "n"'):
            texts.append(f"[[rule]]\n{action}\n{more}\n")
    texts.append("[report]\nbattery = { pmin = 60, gt = 1.5 }\nfirmware = {}\n")
    texts.append('[property.a]\nwire = 20\ntype = "number"\nminimum = 0\n' + texts[0] + "a = { st = 1 }\n")
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
        policies = policy.load_override(file, Vocabulary())
    except PolicyError as error:
        _check_error(error, data.count(b"\n") + 1)
    else:
        _check_told(told_of(policies, None))
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
        assert all(line.isprintable() for line in last.reporting)
        told = found.told(decision.rule)
        assert (told is not None) == isinstance(decision, Accept)
        if told is not None:
            _check_told(told)


def _check_told(told: Told) -> None:
    etag, answer = decode_answer(told.answer)
    assert (etag, answer.lifetime) == (told.etag, told.lifetime)
    assert answer.encode() == told.answer


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
