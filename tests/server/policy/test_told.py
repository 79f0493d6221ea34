"""What a device is told: by its rule, by nothing, or by an operator for this one device."""

from hashlib import sha256
from pathlib import Path

import cbor2
import pytest

from dpe_coap.errors import LocalError, MalformedMessage
from dpe_coap.session_messages import decode_answer, decode_policies
from dpe_server.policy import (
    DEFAULT_POLICY,
    NOTHING,
    PolicyError,
    Told,
    Vocabulary,
    load_override,
    parse,
    read_override,
    told_of,
)

POLICY = """\
[property.door]
wire = 40
type = "boolean"
[[rule]]
name = "reporting"
tac = ["1"]
action = "accept"
range = ["00000000000000", "0fffffffffffff"]
lifetime = 86400
[rule.report]
firmware = {}
door = { roaming = false, edge = true }
battery = { st = 10, pmin = 60, pmax = 3600 }
[[rule]]
name = "silent"
tac = ["2"]
action = "accept"
range = ["00000000000000", "0fffffffffffff"]
[[rule]]
name = "refused"
action = "refuse"
"""


def test_what_a_rule_tells_byte_by_byte() -> None:
    # {3: {0: {0: 60, 1: 3600, 4: 10}, 1: {}, 40: {6: true, 16: false}}}, behind {2: 86400}
    without_etag = "02 1a00015180 03 a3 00a300183c01190e10040a 01a0 1828a206f510f4"
    etag = sha256(bytes.fromhex("a2" + without_etag)).digest()[:4]
    answer = bytes.fromhex("a30044" + etag.hex() + without_etag)
    assert parse(POLICY).told("reporting") == Told(answer, etag, 86_400)
    assert decode_answer(answer)[0] == etag


def test_a_rule_without_reports_tells_of_none() -> None:
    told = parse(POLICY).told("silent")
    assert told == told_of(NOTHING, None)
    assert cbor2.loads(told.answer) == {0: told.etag, 3: {}}
    assert told.etag == sha256(bytes.fromhex("a103a0")).digest()[:4]


@pytest.mark.parametrize("name", ["refused", "default", "", "gone", "rule 1"])
def test_only_a_rule_that_accepts_tells(name: str) -> None:
    assert parse(POLICY).told(name) is None


def test_the_policy_of_a_new_server_has_values_arrive() -> None:
    told = parse(DEFAULT_POLICY).told("DPE 1.x")
    assert told is not None
    assert told.lifetime == 604_800
    assert cbor2.loads(told.answer)[3] == {0: {0: 60, 1: 3600, 4: 5}, 1: {}, 3: {0: 3600, 1: 3600}, 5: {}}


def test_each_rule_is_encoded_once() -> None:
    policy = parse(POLICY)
    assert policy.told("reporting") is policy.told("reporting") is parse(POLICY).told("reporting")


def test_the_etag_changes_with_what_is_told() -> None:
    same = parse(POLICY.replace("wire = 40", "wire = 0x28")).told("reporting")
    assert same == parse(POLICY).told("reporting")
    for old, new in (("wire = 40", "wire = 41"), ("st = 10", "st = 10.0"), ("86400", "86401"), ("firmware = {}", "")):
        changed = parse(POLICY.replace(old, new)).told("reporting")
        assert changed is not None
        assert same is not None
        assert changed.etag != same.etag


def test_a_lifetime_that_no_device_accepts() -> None:
    assert told_of(NOTHING, 1) == told_of(NOTHING, 59) == told_of(NOTHING, 60)
    assert cbor2.loads(told_of(NOTHING, 59).answer)[2] == told_of(NOTHING, 59).lifetime == 60
    assert told_of(NOTHING, (1 << 32) - 1).lifetime == (1 << 32) - 1
    with pytest.raises(LocalError, match="60 to 4294967295"):
        told_of(NOTHING, 1 << 32)


@pytest.mark.parametrize("policies", [b"", b"\x80", b"\xa0\xa0", b"\xa1\x00", b"\xa1\x00\x01"])
def test_what_is_no_policies_tells_nothing(policies: bytes) -> None:
    with pytest.raises(MalformedMessage):
        told_of(policies, None)


VOCABULARY = parse(POLICY).vocabulary


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("[report]", "a0"),
        ("report = {}\n", "a0"),
        ("[report]\ndoor = {}\nbattery = { pmax = 60 }\n", "a2 00a101183c 1828a0"),
        ("[report.battery]\nst = 0.5\n", "a1 00a104f93800"),
    ],
)
def test_what_an_operator_sets_for_one_device(text: str, encoded: str) -> None:
    policies = read_override(text, VOCABULARY)
    assert policies == bytes.fromhex(encoded)
    told = told_of(policies, 3600)
    assert decode_answer(told.answer)[1].policies == decode_policies(policies)
    assert (told.lifetime, decode_answer(told.answer)[0]) == (3600, told.etag)


OVERRIDE_FAULTS = {
    "empty": ("", None, "report", "is missing: expected a table [report], which may be empty"),
    "a policy": ('[[rule]]\naction = "refuse"\n[report]\n', 1, "rule", "unknown key; known are report"),
    "no table": ("report = 1\n", 1, "report", "expected a table of properties"),
    "no TOML": ("[report\n", 1, None, "not TOML"),
    "unknown property": ("[report]\nbatery = {}\n", 2, "report.batery", 'did you mean "battery"?'),
    "condition": ("[report]\ndoor = { st = 1 }\n", 2, "report.door.st", "which is boolean: only on numbers"),
    "old condition": ("[report]\nbattery = { every = 1 }\n", 2, "report.battery.every", "is no longer known"),
}


@pytest.mark.parametrize("case", OVERRIDE_FAULTS)
def test_faults_of_what_an_operator_sets(case: str) -> None:
    text, line, key, words = OVERRIDE_FAULTS[case]
    with pytest.raises(PolicyError) as caught:
        read_override(text, VOCABULARY, "one.toml")
    [fault] = caught.value.faults
    assert fault[:2] == (line, key)
    assert words in fault[2]
    assert str(caught.value).startswith("one.toml")


def test_it_knows_the_properties_of_its_policy_only() -> None:
    with pytest.raises(PolicyError, match="unknown property"):
        read_override("[report]\ndoor = {}\n", Vocabulary())


def test_it_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        load_override(path, VOCABULARY)
    path.write_bytes(b"\xef\xbb\xbf[report]\ndoor = {}\n")
    assert load_override(path, VOCABULARY) == bytes.fromhex("a11828a0")
    path.write_text("[report]\ndor = {}\n")
    with pytest.raises(PolicyError, match=r"one\.toml:2: report\.dor: "):
        load_override(path, VOCABULARY)
