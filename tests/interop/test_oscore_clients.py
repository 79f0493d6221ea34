"""Other people's OSCORE clients speak in a session, with the keys that `dpe device keys` shows."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cbor2
import pytest

from dpe_coap.session_messages import Answer, decode_answer, encode_report
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.store.opening import open_store
from dpe_server.store.record import entries
from tests.interop.conftest import IMEI, dpe

BATTERY, SIGNAL = 0, 9
UNAUTHORIZED = "4.01"


class Said(NamedTuple):
    """What a client tells of an answer."""

    payload: bytes
    refusal: str = ""
    """The error that it shows; ``UNAUTHORIZED`` for a 4.01 without protection."""


Ask = Callable[..., Said]
"""Ask the server, as ``ask(method, payload=b"")``."""


class Registered(NamedTuple):
    """A device with a session, and where its server is."""

    state: Path
    uri: str
    client_id: str

    def session(self) -> Session | None:
        """Return the session that the store has."""
        with closing(open_store(StateDir.open(self.state).store_url)) as store:
            return store.session(int(self.client_id, 16))

    def reported(self) -> dict[object, object]:
        """Return what the store has of what the device has reported."""
        session = self.session()
        assert session is not None
        return {cbor2.loads(entry.property): cbor2.loads(entry.value) for entry in entries(session.record)}


@pytest.fixture
def registered(server: tuple[Path, str], tmp_path: Path) -> Registered:
    state, uri = server
    credential = tmp_path / "device.json"
    made = json.loads(dpe("provision", state, IMEI, "--json"))
    credential.write_text(json.dumps({**made, "server": uri}), encoding="utf-8")
    told = json.loads(dpe("register", credential, "--json"))
    return Registered(state, f"{uri}/dpe", told["client_id"])


@pytest.fixture
def aiocoap(require_tool: Callable[[str], str], registered: Registered, tmp_path: Path) -> Ask:
    """aiocoap-client, which writes the payload to standard output."""
    program = require_tool("aiocoap-client")
    context, credentials = tmp_path / "context", tmp_path / "credentials.json"
    context.mkdir()
    dpe("device", "keys", registered.state, registered.client_id, "--out", context / "settings.json")
    known = {f"{registered.uri}*": {"oscore": {"basedir": str(context)}}}
    credentials.write_text(json.dumps(known), encoding="utf-8")

    def ask(method: str, payload: bytes = b"") -> Said:
        (tmp_path / "payload").write_bytes(payload)
        given = ["--content-format", "60", "--payload", f"@{tmp_path / 'payload'}"] if payload else []
        command = [program, "-q", "--credentials", str(credentials), "-m", method, *given, registered.uri]
        done = _run(command)
        if b"NotAProtectedMessage" in done.stderr:
            return Said(b"", UNAUTHORIZED)
        return Said(done.stdout, done.stderr.decode(errors="replace"))

    return ask


@pytest.fixture
def libcoap(require_tool: Callable[[str], str], registered: Registered, tmp_path: Path) -> Ask:
    """libcoap's client, which writes the payload into a file, and the code of a refusal to standard error."""
    program = require_tool("coap-client-openssl")
    context, sequence, answer = tmp_path / "context.conf", tmp_path / "sequence", tmp_path / "answer"
    dpe("device", "keys", registered.state, registered.client_id, "--format", "libcoap", "--out", context)

    def ask(method: str, payload: bytes = b"") -> Said:
        (tmp_path / "payload").write_bytes(payload)
        answer.unlink(missing_ok=True)
        given = ["-t", "60", "-f", str(tmp_path / "payload")] if payload else []
        command = [program, "-m", method.lower(), "-E", f"{context},{sequence}", "-B", "20", "-o", str(answer)]
        done = _run([*command, *given, registered.uri])
        assert done.returncode == 0, done.stderr
        return Said(answer.read_bytes() if answer.exists() else b"", done.stderr.decode(errors="replace").strip())

    return ask


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, timeout=30, check=False, env={**os.environ, "NO_COLOR": "1"})


@pytest.fixture(params=["aiocoap", "libcoap"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.getfixturevalue(request.param)
    return found


def test_reports_policies_and_the_end_of_a_session(registered: Registered, ask: Ask) -> None:
    first = ask("POST", encode_report({BATTERY: 87, SIGNAL: -71}))
    etag, answer = decode_answer(first.payload)
    assert isinstance(answer, Answer)
    assert registered.reported() == {BATTERY: 87, SIGNAL: -71}

    later = ask("POST", encode_report({BATTERY: 86, "door": True}, etag))
    assert later == Said(b"")
    assert registered.reported() == {BATTERY: 86, SIGNAL: -71, "door": True}

    asked = ask("GET")
    assert decode_answer(asked.payload) == (etag, answer)
    session = registered.session()
    assert session is not None
    assert session.mark is not None
    assert session.mark >= 2

    assert ask("DELETE") == Said(b"")
    assert registered.session() is None
    assert ask("GET") == Said(b"", UNAUTHORIZED)


def test_what_is_wrong_inside_is_told_under_protection(registered: Registered, ask: Ask) -> None:
    """A client shows the problem, which it can only read with the session's keys."""
    refusal = ask("POST", b"\xa1\x01\xa1\x00\x18\x05").refusal
    assert "4.00" in refusal
    assert "non-shortest head" in refusal
    session = registered.session()
    assert session is not None
    assert (session.mark, session.record) == (0, b"")


def test_keys_that_were_shown_before_do_not_reach_a_later_session(
    registered: Registered, ask: Ask, tmp_path: Path
) -> None:
    assert ask("GET").refusal == ""
    dpe("register", tmp_path / "device.json")
    assert ask("GET") == Said(b"", UNAUTHORIZED)


def test_a_client_goes_on_above_the_numbers_that_the_session_has_used(
    registered: Registered, libcoap: Ask, aiocoap: Ask, tmp_path: Path
) -> None:
    sequence = tmp_path / "context" / "sequence.json"
    for _ in range(3):
        assert aiocoap("GET").refusal == ""
    assert libcoap("GET").refusal == UNAUTHORIZED
    command = [sys.executable, "-m", "dpe_tools", "device", "keys", str(registered.state), registered.client_id]
    told = _run(command).stderr.decode()
    assert told.endswith("\nnote: this session has used the numbers up to 2: begin above\n")

    (tmp_path / "sequence").write_text("301")
    assert libcoap("GET").refusal == ""
    assert aiocoap("GET").refusal == UNAUTHORIZED
    sequence.write_text('{"next-to-send": 401, "received": "unknown"}')
    assert aiocoap("GET").refusal == ""
    session = registered.session()
    assert session is not None
    assert session.mark == 401
