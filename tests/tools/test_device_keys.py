"""`dpe device keys`: the keys that the device itself has, in the files of other clients, and nowhere else."""

import json
import os
import stat
from pathlib import Path

import pytest

from dpe_coap.client_ids import client_id_text
from dpe_device.registration import Registration
from dpe_tools import credentials
from dpe_tools.client import Client
from dpe_tools.commands.device import KEYS_WARNING
from dpe_tools.stage import Memory
from tests.tools.conftest import Invoke, Running
from tests.tools.test_restore import audited

WARNED = f"dpe: warning: {KEYS_WARNING}\n"


class Silent:
    def sent(self, datagram: bytes, place: str) -> None: ...
    def received(self, datagram: bytes, place: str) -> None: ...
    def told(self, news: str) -> None: ...


@pytest.fixture
def device(server: Running, credential: Path) -> Registration:
    """A device that has registered."""
    known = credentials.for_device(credentials.load(str(credential)))
    registration = Registration(known, Memory(), os.urandom)
    return Client(registration, Silent(), 20).run()


def context_of(device: Registration) -> tuple[str, str, str]:
    """Return the Client ID, the master secret and the master salt in hex, as the device has them."""
    assert device.client_id is not None
    assert device.oscore is not None
    secret, salt = device.oscore
    return device.client_id.hex(), secret.hex(), salt.hex()


def test_libcoap_gets_the_keys_of_the_device(dpe: Invoke, server: Running, device: Registration) -> None:
    client_id, secret, salt = context_of(device)
    done = dpe("device", "keys", server.state, client_id, "--format", "libcoap")
    assert done.stdout.splitlines() == [
        f'master_secret,hex,"{secret}"',
        f'master_salt,hex,"{salt}"',
        f'sender_id,hex,"{client_id}"',
        'recipient_id,hex,""',
        'aead_alg,text,"AES-CCM-16-64-128"',
        'hkdf_alg,text,"direct+HKDF-SHA-256"',
    ]
    assert done.stderr == WARNED


def test_wireshark_gets_the_keys_of_the_device(dpe: Invoke, server: Running, device: Registration) -> None:
    client_id, secret, salt = context_of(device)
    done = dpe("device", "keys", server.state, client_id, "--format", "wireshark")
    assert done.stdout == f'"{client_id}","","{secret}","{salt}","","AES-CCM-16-64-128 (CCM*)"\n'
    assert done.stderr == WARNED


def test_aiocoap_gets_the_keys_of_the_device_in_a_private_file(
    dpe: Invoke, server: Running, device: Registration, tmp_path: Path
) -> None:
    client_id, secret, salt = context_of(device)
    settings = tmp_path / "settings.json"
    done = dpe("device", "keys", server.state, client_id, "--out", settings)
    assert done.stdout == f"keys in {settings}, which only you can read\n"
    assert done.stderr == WARNED
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert json.loads(settings.read_text()) == {
        "algorithm": "AES-CCM-16-64-128",
        "kdf-hashfun": "sha256",
        "sender-id_hex": client_id,
        "recipient-id_hex": "",
        "secret_hex": secret,
        "salt_hex": salt,
    }


def test_the_audit_log_says_whose_keys_were_shown_and_no_log_has_one(
    dpe: Invoke, server: Running, device: Registration
) -> None:
    client_id, secret, salt = context_of(device)
    before = audited(server.state, "session-keys-shown")
    shown = dpe("device", "keys", server.state, client_id, "--format", "aiocoap").stdout
    assert json.loads(shown)["secret_hex"] == secret
    (line,) = audited(server.state, "session-keys-shown")[len(before) :]
    assert set(line) == {"event", "device", "format"}
    assert len(str(line["device"])) == 16
    assert line["format"] == "aiocoap"
    for log in (server.state / "audit.jsonl", server.state.parent / "log"):
        text = log.read_text(encoding="utf-8")
        assert secret not in text
        assert salt not in text


def test_a_file_that_is_there_is_kept_and_nothing_is_told(
    dpe: Invoke, server: Running, device: Registration, tmp_path: Path
) -> None:
    client_id, _, _ = context_of(device)
    (tmp_path / "kept").write_text("mine")
    before = audited(server.state, "session-keys-shown")
    refused = dpe("device", "keys", server.state, client_id, "--out", tmp_path / "kept", status=1)
    assert f"{tmp_path / 'kept'} is there already" in refused.stderr
    assert refused.stdout == ""
    assert (tmp_path / "kept").read_text() == "mine"
    assert audited(server.state, "session-keys-shown") == before


def test_a_client_id_without_a_session_is_an_error(dpe: Invoke, server: Running) -> None:
    unknown = client_id_text(0xFF_FFFF_FFFF_FFFF)
    done = dpe("device", "keys", server.state, unknown, status=1)
    assert f"no session holds the Client ID {unknown}" in done.stderr
    assert done.stdout == ""
    assert "14 hex digits" in dpe("device", "keys", server.state, "12", status=2).stderr
    assert "'pgp' is not one of" in dpe("device", "keys", server.state, unknown, "--format", "pgp", status=2).stderr
