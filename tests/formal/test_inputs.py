"""The inputs for ProVerif are those that the recorded results are of, and have the fields that messages have."""

from dataclasses import fields
from pathlib import Path

import pytest

from dpe_coap.messages import Confirm, Request, Response, Success
from tests.formal import symbolic
from tests.formal.symbolic import Variant, digest, process, replaced, shapes, with_parts

VARIANTS = symbolic.variants()

# What the names in a message stand for.
MEANING = {
    "M1": "type", "M2": "type", "M3": "type", "M4": "type",
    "h0": "identity", "hd": "identity", "nc": "nonce", "ns": "nonce",
    "gx": "x25519_key", "gy": "x25519_key", "e(G, x)": "x25519_key",
    "id": "client_id", "OK": "status", "REFUSE": "status", "st": "status",
    "sealed": "sealed_handle", "senc(hn, ks)": "sealed_handle",
    "v": "version firmware", "w": "version", "what": "version server_uri retry_after", "lifetime": "lifetime",
}  # fmt: skip

MESSAGES = {"b1": Request, "b2": Response, "b3": Success, "b4": Confirm}
ONLY_WITH_OK = {"client_id", "sealed_handle"}
ONLY_WITH_A_REFUSAL = {"server_uri", "retry_after"}

CONTENTS = {"version", "firmware", "server_uri", "retry_after", "lifetime"}
LEFT_OUT = {
    "registration-plain": CONTENTS | {"x25519_key"},
    "registration-x25519": CONTENTS,
    "every-field": {"x25519_key"},
}
"""The fields that a variant leaves out of every message; like all others, they are under its MAC."""

NOT_RUN = {"every-field", "session", "mutant-one-key-for-both-sides", "mutant-number-beside-the-additional-data"}

BOTH = {"b1", "b2", "b3", "b4"}
PROCESSES = {"Client": BOTH, "Server": BOTH, "ClientRefused": {"b1", "b2"}, "ServerRefuse": {"b1", "b2"}}


def of_the_code(message: str, refusing: bool) -> set[str]:
    """Return the fields of a message in dpe_coap; a security token is a nonce, where it has one, and the MAC."""
    names = {field.name for field in fields(MESSAGES[message])} | {"type"}
    names -= ONLY_WITH_OK if refusing and message == "b2" else ONLY_WITH_A_REFUSAL
    return (names - {"security_token", "mac"}) | ({"nonce"} if "security_token" in names else set())


def differences(text: str, name: str, left_out: set[str]) -> dict[str, set[str]]:
    """Return, by message, the fields that a process has too many or too few; empty: it agrees."""
    found = {}
    seen = shapes(process(text, name))
    assert seen.keys() == PROCESSES[name]
    for message, forms in seen.items():
        for form in forms:
            names = set(" ".join(MEANING[part] for part in form).split())
            differing = names ^ (of_the_code(message, "Refuse" in name) - left_out)
            if differing:
                found[message] = differing
    return found


CASES = [
    (variant, name)
    for variant in LEFT_OUT
    for name in PROCESSES
    if not (variant == "registration-x25519" and "Refuse" in name)  # it has none
]


@pytest.mark.parametrize(("variant", "name"), CASES)
def test_the_fields_are_the_codes(variant: str, name: str) -> None:
    assert differences(VARIANTS[variant].text, name, LEFT_OUT[variant]) == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "message", "field"),
    [
        ("Client", "(M1, h0, nc)", "(M1, h0)", "b1", "nonce"),
        ("Server", "(=M1, hd: bitstring, nc: nonce)", "(=M1, nc: nonce)", "b1", "identity"),
        ("Client", "=OK, ns: nonce, sealed: bitstring)", "=OK, ns: nonce)", "b2", "sealed_handle"),
        ("ServerRefuse", "(M2, REFUSE, ns)", "(M2, REFUSE, ns, id)", "b2", "client_id"),
        ("Client", "(M3, id, st)", "(M3, st)", "b3", "client_id"),
        ("Server", "(=M3, =id, st: bitstring)", "(=M3, =id)", "b3", "status"),
        ("Client", "if b4 = (M4, st) then", "if b4 = (M4, st, id) then", "b4", "client_id"),
    ],
)
def test_a_field_that_differs_is_found(name: str, old: str, new: str, message: str, field: str) -> None:
    text = replaced(VARIANTS["registration-plain"].text, [[old, new]])
    assert differences(text, name, LEFT_OUT["registration-plain"]) == {message: {field}}


def test_a_new_field_of_the_code_is_missed_by_no_model() -> None:
    text = VARIANTS["registration-plain"].text
    left_out = LEFT_OUT["registration-plain"] - {"lifetime"}  # as if it had just come
    assert differences(text, "Server", left_out) == {"b4": {"lifetime"}}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_a_result_is_of_this_input(variant: Variant) -> None:
    assert (variant.result == "not run yet") == (variant.name in NOT_RUN)
    assert variant.digest == ("" if variant.name in NOT_RUN else digest(variant.text))


def test_a_digest_sees_all_but_comments_and_space() -> None:
    assert digest("let a = (* x *) b in\n") == digest("let a=b in")
    assert digest("let a = b in") != digest("let a = c in")
    assert digest("let a = b in") != digest("let ab in")


def test_parts_and_replacements() -> None:
    text = "a\n(* if one *)\nb\n(* end *)\nc\n"
    assert with_parts(text, ["one"]) == "a\nb\nc\n"
    assert with_parts(text, []) == "a\nc\n"
    assert not any("(* if" in variant.text or "(* end" in variant.text for variant in VARIANTS.values())
    with pytest.raises(ValueError, match="not there"):
        replaced(text, [["z", "e"]])


def test_the_inputs_are_written(tmp_path: Path) -> None:
    assert symbolic.write(tmp_path / "inputs") == len(VARIANTS)
    assert {file.stem for file in (tmp_path / "inputs").iterdir()} == set(VARIANTS)
