"""Short runs of every target, the kept inputs, and proof that each invariant can be broken."""

import asyncio
import platform
import re
import sys
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from dpe_coap import cbor, oscore, usual_reports
from dpe_device import messages as device_messages
from dpe_device import values
from dpe_device.coap import Endpoint
from dpe_device.oscore import Context
from dpe_device.reporter import Reporter
from dpe_server.coap import lane as server_lane
from dpe_server.coap import protected
from dpe_server.operation import credential
from dpe_server.policy import fields
from dpe_server.registration.authentication import Authenticator, Sender
from dpe_server.session import requests
from dpe_server.session.answers import Answers
from tests.assurance import fuzz
from tests.assurance.fuzz import corpus, seeded
from tests.assurance.fuzz.known import NOW, Known
from tests.assurance.fuzz.runs import Progress, Run, breaks, has_atheris, minimized
from tests.assurance.fuzz.targets import UNDER_TEST, lane, load
from tests.conftest import missing
from tests.differential.pair import Server
from tests.links import never_separate

# So many executions of each take some ten seconds of a processor.
SHORT = {
    "message_decoder": 120_000,
    "lane": 50_000,
    "protected": 12_000,
    "oscore_option": 100_000,
    "session_request": 60_000,
    "session_messages": 60_000,
    "policy_file": 30_000,
    "credential_file": 50_000,
    "device_coap": 50_000,
    "device_cbor": 120_000,
    "device_session": 30_000,
}
UNGUIDED = 1_500

each_target = pytest.mark.parametrize("name", UNDER_TEST)


def needs_atheris() -> None:
    """Skip where there is none; in continuous integration, only on machines that it has no package for."""
    if not has_atheris():
        if (sys.platform, platform.machine()) == ("linux", "x86_64"):
            missing("atheris is not installed")
        pytest.skip("atheris has no package for this machine")


def everything(name: str) -> list[bytes]:
    """The seeds, the kept inputs and some mutations."""
    target = load(name)
    kept = [*target.seeds(), *corpus.read(name)]
    return list(islice(seeded.inputs(target, kept, 1), len(kept) + UNGUIDED))


@each_target
def test_what_is_kept_and_what_is_made_of_it(name: str) -> None:
    target = load(name)
    assert target.invariant.endswith(".")
    for data in everything(name):
        target.check(data)


@each_target
@pytest.mark.timeout(900)
def test_a_short_run_that_is_guided(name: str) -> None:
    needs_atheris()
    result = Run(name, SHORT[name], 1, guided=True).result(Progress(quiet=True))
    assert not result.report, f"{result.report}\n{result.found and result.found.hex()}"
    assert result.executions == SHORT[name]
    assert result.edges
    assert result.features


@pytest.mark.timeout(300)
def test_inputs_that_cover_something_new_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs_atheris()
    before = corpus.read("device_cbor")
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    result = Run("device_cbor", 500, 1, guided=True, keep=True).result(Progress(quiet=True))
    assert not result.report, result.report
    kept = corpus.read("device_cbor")
    assert 20 < len(kept) <= len(before) + result.inputs + len(load("device_cbor").seeds())


@pytest.mark.parametrize(
    ("name", "each"),
    [
        ("message_decoder", 12),
        ("device_cbor", 12),
        ("lane", 20),
        ("session_messages", 12),
        ("session_request", 20),
        ("protected", 40),
    ],
)
def test_the_work_grows_with_the_input_and_no_faster(name: str, each: int) -> None:
    """Calls of functions are counted, not seconds: so many for an octet, and some for what is done once."""
    target = load(name)
    deep = b"\xa4\0\4\4\0\x0b" + (b"\xa1" + b"\x81" * 2 + b"\0") * 60
    wide = b"\xa4\0\4\4\0\x0b" + b"\x98\xe0" + b"\0" * 224 + b"\x17\x50" + bytes(16)
    flat = b"\xa4\0\4\4\0\x0b" + b"\xb8\x60" + bytes(range(24)) * 8
    options = b"\x40\x02\0\1" + b"\x0d\0" * 200
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    for data in (*corpus.read(name), *target.seeds(), deep, wide, flat, options):
        calls = 0
        sys.setprofile(count)
        try:
            target.check(data)
        finally:
            sys.setprofile(None)
        assert calls <= 600 + each * len(data), data.hex()


def test_the_same_seed_makes_the_same_inputs() -> None:
    target = load("lane")
    kept = target.seeds()
    one, again, other = (list(islice(seeded.inputs(target, kept, seed), 400)) for seed in (1, 1, 2))
    assert one == again
    assert one[: len(kept)] == other[: len(kept)] == kept
    assert one != other


def test_the_whole_server_is_alike_with_the_lane_and_without_it() -> None:
    """The lane's inputs once more, through aiocoap's message layer; each comes twice."""

    async def compare() -> int:
        known = [Known(), Known()]
        servers = [Server(k.registrar, k.store, lambda: NOW, lane=k is known[0]) for k in known]
        answered = 0
        for number, data in enumerate(everything("lane")):
            network = number.to_bytes(4, "big")
            for _ in range(2):
                for one_known in known:  # the lane decides a duplicate again, which draws once more
                    one_known.draw_anew(number)
                one, other = [await server.answer(data, network=network) for server in servers]
                assert one == other, data.hex()
                answered += len(one)
        for server in servers:
            await server.close()
        return answered

    with never_separate():
        assert asyncio.run(compare()) > len(lane.seeds())


# A fault for each target, planted in the product, which the target's check finds.


def broken(name: str) -> bytes:
    """An input that breaks the invariant; fails when there is none."""
    target = load(name)
    made = islice(seeded.inputs(target, target.seeds(), 1), 6_000)
    found = next((data for data in chain(made, corpus.read(name)) if breaks(target, data) is not None), None)
    assert found is not None, "the fault was not found"
    return found


def test_a_decoder_that_takes_long_heads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpe_coap.cbor._SMALLEST", dict.fromkeys(range(24, 28), 0))
    broken("message_decoder")


def test_a_decoder_that_refuses_what_is_valid_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpe_coap.cbor.fields", partial(cbor.fields, longest=80))
    monkeypatch.setattr("dpe_coap.messages._SHAPES", {})  # so that every message is read by these fields
    found = broken("message_decoder")
    assert len(found) > 80


def test_a_device_that_takes_text_that_is_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_messages, "_text", lambda data: data.decode("latin-1"))
    broken("device_cbor")


def test_a_lane_that_takes_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_lane.Entrance, "admits", lambda entrance, request: True)
    broken("lane")


def test_a_server_that_keeps_what_is_not_proved_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    prove = Authenticator.prove

    def lenient(self: Authenticator, request: Any, payload: bytes, th1: bytes) -> Sender:
        return prove(self, request, lane._known.signed(payload), th1)

    monkeypatch.setattr(Authenticator, "prove", lenient)
    found = broken("lane")
    monkeypatch.undo()
    lane._known.restore()
    assert breaks(load("lane"), found) is None


def test_a_server_that_talks_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpe_server.coap.discovery.link_format", lambda links, query: b"x" * 500)
    broken("lane")


def test_a_server_that_answers_whoever_has_no_keys_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    load("protected")  # what it decrypts with itself stays as it is
    decrypt = oscore.decrypt
    monkeypatch.setattr(oscore, "decrypt", lambda *given: decrypt(*given) or given[3][:-8])
    broken("protected")


def test_a_server_that_does_not_know_its_answers_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "again", lambda *_: None)
    broken("protected")


def test_a_lane_that_takes_what_the_router_refuses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpe_server.coap.lane.plain", lambda datagram, start: datagram[start + 1 :])
    broken("protected")


def test_an_option_with_bits_that_mean_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oscore, "_RESERVED", 0)
    broken("oscore_option")


def test_a_lane_that_takes_a_zero_before_the_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(datagram: bytes, start: int) -> bytes | None:
        return datagram[start + 1 :] if datagram[start : start + 2] in protected.PLAIN else None

    monkeypatch.setattr("tests.assurance.fuzz.targets.oscore_option.plain", lenient)
    broken("oscore_option")


def test_a_reader_that_takes_a_query_inside_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_KNOWN", (*requests._KNOWN, 15))
    broken("session_request")


def test_a_way_for_usual_reports_that_begins_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_USUAL", requests._USUAL[:6])
    broken("session_request")


def test_a_pattern_that_takes_nan_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = b"(" + usual_reports._PROPERTY + b")(" + usual_reports._VALUE + rb"|\xf9[\x00-\xff]{2})"
    monkeypatch.setattr(usual_reports, "_entries", re.compile(entry).findall)
    broken("session_messages")


def test_a_reader_that_refuses_a_valid_report_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpe_coap.session_messages.MAX_INT64", (1 << 32) - 1)
    broken("session_messages")


def test_a_policy_reader_that_fails_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "lifetime", lambda value: 60 // value)
    broken("policy_file")


def test_a_policy_that_explains_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpe_server.policy.rule_index.RuleIndex.first", lambda *_: None)
    broken("policy_file")


def test_an_error_that_shows_a_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def talkative(size: int) -> Any:
        return lambda value: None if isinstance(value, bytes) and len(value) == size else f"found {value}"

    monkeypatch.setitem(credential._CHECKS, "device_key", talkative(32))
    broken("credential_file")


def test_a_credential_that_the_device_does_not_take_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(credential._CHECKS, "handle", lambda value: None)
    broken("credential_file")


def test_a_device_that_believes_without_a_security_token_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_messages, "verify", lambda *_: None)
    broken("device_coap")


def test_a_device_that_answers_anybody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Endpoint.receive

    def answering(self: Endpoint, datagram: bytes) -> Any:
        return b"\x60\0" + datagram[2:4], receive(self, datagram)[1]

    monkeypatch.setattr(Endpoint, "receive", answering)
    broken("device_coap")


def test_a_device_that_believes_what_nobody_protected_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "_tag", lambda self, encrypt, text: bytes(8))
    broken("device_session")


def test_a_device_that_takes_policies_that_are_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: Reporter, answer: bytes) -> Any:
        told = values.decode(answer)
        self._etag, self._policies = told[0], told[3]
        return told.get(2)

    monkeypatch.setattr(Reporter, "take", take)
    broken("device_session")


# The command.


def test_the_command_runs_and_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["device_cbor", "--executions", "300", "--unguided"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["target", "executions", "edges", "features", "new", "inputs", "broken"]
    assert line.split() == ["device_cbor", "300", "-", "-", "0", "no"]


def test_the_command_repeats_what_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fuzz.main(["message_decoder", "--input", "a0"]) == 0
    assert "the invariant holds" in capsys.readouterr().out
    monkeypatch.setattr("dpe_coap.cbor._SMALLEST", dict.fromkeys(range(24, 28), 0))
    found = minimized("message_decoder", broken("message_decoder"))
    with pytest.raises(AssertionError):
        fuzz.main(["message_decoder", "--input", found.hex()])


def test_a_failed_run_is_told_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process knows of no monkeypatch: an input that a planted fault breaks is told by the parent."""
    monkeypatch.setattr("dpe_coap.cbor._SMALLEST", dict.fromkeys(range(24, 28), 0))
    found = broken("message_decoder")
    told = fuzz.told(fuzz.Result("message_decoder", 7, None, None, 0, found, "AssertionError"))
    assert "Any bytes give a message" in told
    assert "repeat: ./tools/assure fuzz message_decoder --input " in told
    assert len(told.rsplit(" ", 1)[1]) <= 2 * len(found)


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nothing"], ["--seed", "0"], ["--input", "00"], ["lane", "--input", "xy"]):
        with pytest.raises(SystemExit) as caught:
            fuzz.main(arguments)
        assert caught.value.code == 2
    assert "no such target: nothing; there are message_decoder" in capsys.readouterr().err


def test_the_corpus_is_small_and_in_order() -> None:
    for name in UNDER_TEST:
        kept = corpus.read(name)
        assert kept == sorted(set(kept), key=lambda data: (len(data), data))
        assert all(len(data) <= load(name).longest for data in kept)
