"""A page of a state directory with some sessions, without a server and without a browser."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from starlette.testclient import TestClient

from dpe_coap.imei import Imei
from dpe_coap.messages import Version
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.store.record import EMPTY, merge
from dpe_server.web.app import build
from dpe_server.web.door import Role
from dpe_server.web.site import Site
from tests.server.web.sites import site_of

HOST = "http://127.0.0.1:8064"
IMEI = "49015420323751"
POLICY = """\
[[rule]]
name = "withdrawn"
tac = ["35209900"]
action = "refuse"

[[rule]]
name = "everyone"
action = "accept"
range = ["00000000000000", "ffffffffffffff"]
lifetime = 3600

[rule.report]
battery = { pmax = 3600 }
"""


@pytest.fixture
def opened(tmp_path: Path) -> StateDir:
    made = StateDir.create(tmp_path / "state", "a realm", "coap://127.0.0.1:5799")
    made.policy_path.write_text(POLICY, encoding="utf-8")
    return made


@pytest.fixture
def put(opened: StateDir) -> Callable[..., Session]:
    """Put a session into the store."""
    numbers = iter(range(1, 1_000))

    def put(client_id: int, **fields: Any) -> Session:
        number = next(numbers)
        imei = Imei(bytes.fromhex(fields.pop("imei", f"{35 * 10**12 + number}")))
        name = opened.at_rest.device_id(imei)
        now = int(time.time())
        reported = {bytes([0]): cbor2.dumps(86), bytes([2]): cbor2.dumps(True)}
        made = Session(
            client_id=client_id,
            device=name,
            sealed_imei=opened.at_rest.seal_imei(imei, name),
            version=Version(1, 0),
            firmware="4.2",
            suite=1,
            rule="everyone",
            ordinal=number,
            established_at=now - 60,
            lifetime=3600,
            expires_at=now + 3600,
            th3=bytes(32),
            success_hash=os.urandom(32),
            confirm=os.urandom(29),
            sealed_keys=b"sealed",
            record=merge(EMPTY, reported, now - 30) or EMPTY,
        )
        made = replace(made, **fields)
        with closing(opened.open_store()) as store:
            store.commit([made])
        return made

    return put


@pytest.fixture
def make_site(opened: StateDir) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(role: Role = Role.OPERATOR, **fields: Any) -> Site:
        site = site_of(opened, role, **fields)
        made.append(site)
        return site

    yield make
    for site in made:
        site.stores.close()


def client_of(site: Site) -> TestClient:
    """A browser that has not come in."""
    return TestClient(build(site), base_url=HOST, follow_redirects=False, raise_server_exceptions=False)


def come_in(site: Site, client: TestClient) -> str:
    """Come in, and return the form token."""
    answer = client.get("/login", params={"secret": site.door.new_link()})
    assert answer.status_code == 200
    (stay,) = site.door._stays.values()
    return stay.visitor.form_token


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture
def stranger(site: Site) -> TestClient:
    """A browser that has not come in."""
    return client_of(site)


@pytest.fixture
def client(site: Site) -> TestClient:
    """A browser of an operator."""
    made = client_of(site)
    made.headers["Origin"] = HOST
    made.form_token = come_in(site, made)  # type: ignore[attr-defined]
    return made


@pytest.fixture
def post(client: TestClient) -> Callable[..., Any]:
    """Send a form of a page."""

    def post(path: str, **fields: str) -> Any:
        return client.post(path, data={"form_token": client.form_token, **fields})  # type: ignore[attr-defined]

    return post
