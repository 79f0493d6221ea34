"""Other people's CoAP clients complete a registration with the bytes that `dpe message` writes."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.conftest import IMEI, dpe

Post = Callable[[str, Path, Path], None]
"""Posts the content of the first file to a URI and writes the response's payload into the second."""


@pytest.fixture
def libcoap(require_tool: Callable[[str], str]) -> Post:
    """libcoap's client, which Debian names after the TLS library it was built with."""
    names = ("coap-client-notls", "coap-client-openssl", "coap-client-gnutls")
    program = next(filter(None, map(shutil.which, names)), None) or require_tool("coap-client")

    def post(uri: str, payload: Path, answer: Path) -> None:
        _run([program, "-m", "post", "-t", "60", "-B", "20", "-f", str(payload), "-o", str(answer), uri], None)

    return post


@pytest.fixture
def aiocoap(require_tool: Callable[[str], str]) -> Post:
    """aiocoap's client, which writes the payload to standard output."""
    program = require_tool("aiocoap-client")

    def post(uri: str, payload: Path, answer: Path) -> None:
        format_ = ["--content-format", "application/cbor"]
        _run([program, "-q", "-m", "POST", *format_, "--payload", f"@{payload}", uri], answer)

    return post


def _run(command: list[str], output: Path | None) -> None:
    done = subprocess.run(command, capture_output=True, timeout=30, check=False, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr
    if output is not None:
        output.write_bytes(done.stdout)


@pytest.fixture(params=["libcoap", "aiocoap"])
def post(request: pytest.FixtureRequest) -> Post:
    found: Post = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("suite", [1, 2])
def test_registration(server: tuple[Path, str], post: Post, suite: int, tmp_path: Path) -> None:
    state, uri = server
    credential = tmp_path / "device.json"
    credential.write_text(dpe("provision", state, IMEI, "--json"), encoding="utf-8")
    request, response, success, confirm = (tmp_path / name for name in ("request", "response", "success", "confirm"))
    ephemeral: list[str | Path] = ["--ephemeral", tmp_path / "ephemeral"] if suite == 2 else []

    dpe("message", "request", credential, "--out", request, *(["--x25519"] if suite == 2 else []), *ephemeral)
    post(f"{uri}/dpe/register", request, response)
    dpe("message", "success", credential, "--request", request, "--response", response, *ephemeral, "--out", success)
    post(f"{uri}/dpe/register", success, confirm)

    sizes = [path.stat().st_size for path in (request, response, success, confirm)]
    assert sizes == ([61, 72, 32, 29] if suite == 1 else [96, 107, 32, 29])  # CONFIRM with a lifetime
    earlier: list[str | Path] = ["--request", request, "--response", response, "--success", success]
    shown = dpe("inspect", confirm, "--credential", credential, *earlier, *ephemeral)
    assert "security token: valid" in shown
    told = json.loads(dpe("inspect", response, "--credential", credential, *earlier, *ephemeral, "--json"))
    client_id = next(field["value"] for field in told["fields"] if field["name"] == "Client_ID")
    sessions = json.loads(dpe("sessions", state, "--json"))
    assert [session["client_id"] for session in sessions] == [client_id]


def test_decline_leaves_the_session_that_was(server: tuple[Path, str], post: Post, tmp_path: Path) -> None:
    state, uri = server
    before = json.loads(dpe("sessions", state, "--json"))
    credential = tmp_path / "device.json"
    credential.write_text(dpe("provision", state, IMEI, "--json"), encoding="utf-8")
    request, response, success, confirm = (tmp_path / name for name in ("request", "response", "success", "confirm"))

    dpe("message", "request", credential, "--out", request)
    post(f"{uri}/dpe/register", request, response)
    known: list[str | Path] = ["--request", request, "--response", response]
    dpe("message", "success", credential, *known, "--decline", "--out", success)
    post(f"{uri}/dpe/register", success, confirm)

    shown = dpe("inspect", confirm, "--credential", credential, *known, "--success", success)
    assert "Status: released" in shown
    assert "security token: valid" in shown
    assert [s["client_id"] for s in json.loads(dpe("sessions", state, "--json"))] == [s["client_id"] for s in before]
