"""A state directory with some devices, and the application of `dpe web` on it, asked without a socket."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
from httpx2 import Response
from starlette.testclient import TestClient

from dpe_coap.client_ids import client_id_text
from dpe_coap.imei import Imei
from dpe_coap.messages import Version
from dpe_server.operation.access import Role
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Contact, Outcome, Session, Store
from dpe_server.store.opening import open_store
from dpe_server.web.app import build
from dpe_server.web.site import Site
from tests.server.web.sites import site_of

IMEIS = ["490154203237518", "350000000000006", "350000000000014"]
FIRST = 0x10000000000000
WIRE = {"battery": 0, "firmware": 1, "signal": 3}


def session(opened: StateDir, number: int, imei: str, **fields: Any) -> Session:
    """A session that began a minute ago."""
    at_rest = opened.at_rest
    parsed = Imei.parse(imei)
    device = at_rest.device_id(parsed)
    client_id = FIRST + number
    made: dict[str, Any] = {
        "client_id": client_id,
        "device": device,
        "sealed_imei": at_rest.seal_imei(parsed, device),
        "version": Version(1, 0),
        "firmware": "fw-1",
        "suite": 1,
        "rule": "DPE 1.x",
        "ordinal": number + 1,
        "established_at": int(time.time()) - 60,
        "lifetime": 86_400,
        "expires_at": int(time.time()) + 86_400,
        "th3": os.urandom(32),
        "success_hash": os.urandom(32),
        "confirm": b"",
        "sealed_keys": at_rest.seal_keys(os.urandom(24), client_id),
        "epoch": 1,
    }
    return Session(**made | fields)


def report(store: Store, of: Session, number: int, **values: Any) -> None:
    """Have a device report."""
    items = {cbor2.dumps(WIRE[name]): cbor2.dumps(value) for name, value in values.items()}
    contact = Contact(of.client_id, of.ordinal, number, os.urandom(16), items, 86_400)
    assert store.commit([contact]) == [Outcome.COMMITTED]


@dataclass(frozen=True)
class Held:
    """The application and what stands behind it."""

    opened: StateDir
    site: Site
    client: TestClient
    reader: str
    operator: str
    hidden: list[str]
    """What no answer may have in it."""
    sessions: list[Session]

    def ask(self, method: str, path: str, *, access: str | None = "", status: int = 200, **options: Any) -> Response:
        """Ask as an operator, or with another access token, or None."""
        headers: dict[str, str] = dict(options.pop("headers", {}))
        if access is not None:
            headers["Authorization"] = f"Bearer {access or self.operator}"
        answer = self.client.request(method, f"/api/v1{path}", headers=headers, **options)
        assert answer.status_code == status, answer.text
        return answer

    def get(self, path: str, **options: Any) -> Any:
        """Return what is told as JSON."""
        return self.ask("GET", path, **options).json()

    def name(self, number: int) -> str:
        """The Client ID of a session."""
        return client_id_text(self.sessions[number].client_id)


def secrets_of(opened: StateDir, sessions: list[Session], *access: str) -> list[str]:
    """Return IMEIs, keys, access tokens, the hashes of all these, and the way to the state directory."""
    keys = [*opened.keys.master.values(), *opened.keys.handle.values(), opened.keys.at_rest]
    found = [*(imei[:14] for imei in IMEIS), *access, str(opened.path)]
    found += [key.hex() for key in keys] + [one.digest.hex() for one in opened.access.all()]
    for one in sessions:
        found += [one.device.hex(), one.sealed_imei.hex(), one.sealed_keys.hex()]
    return found


@contextmanager
def made(folder: Path) -> Iterator[Held]:
    """Make three devices in their sessions, of which two have reported."""
    opened = StateDir.create(folder / "state", "dpe", "coap://127.0.0.1:5683")
    config = opened.path / "config.toml"
    config.write_text(config.read_text().replace("audit_least_free = 5", "audit_least_free = 0"), encoding="utf-8")
    opened = StateDir.open(opened.path)
    sessions = [session(opened, number, imei) for number, imei in enumerate(IMEIS)]
    with closing(open_store(opened.store_url)) as store:
        assert set(store.commit(sessions)) == {Outcome.COMMITTED}
        report(store, sessions[0], 1, battery=86, firmware="4.2")
        report(store, sessions[1], 1, battery=20)
    now = int(time.time())
    _, reader = opened.access.create("billing", Role.READER, now, None)
    _, operator = opened.access.create("ops", Role.OPERATOR, now, None)
    site = site_of(opened)
    # So that a defect is answered, as it is over a socket, and not raised into the test.
    client = TestClient(build(site), base_url="http://127.0.0.1", raise_server_exceptions=False)
    yield Held(opened, site, client, reader, operator, secrets_of(opened, sessions, reader, operator), sessions)
    site.stores.close()


def without(told: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """What is told, without what a test does not know."""
    return {name: value for name, value in told.items() if name not in names}
