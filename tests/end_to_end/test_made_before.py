"""State directories and devices' storage that earlier versions made go on working (tests/fixtures)."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.client_ids import client_id_bytes
from dpe_device.registration import REGISTERED, Registration
from dpe_device.store import FileStore, load_credential
from dpe_device.udp import register
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import NOBODY, Session, StoreError
from dpe_server.store.opening import examine, make_store
from dpe_server.store.questions import Questions, Restriction
from dpe_server.store.sqlite import schema
from tests.end_to_end.running import running_on

NEWEST = 4


@dataclass
class Earlier:
    """A copy of what an earlier version made."""

    folder: Path
    schema: int

    @property
    def state(self) -> StateDir:
        return StateDir.open(self.folder / "state")

    @property
    def database(self) -> Path:
        return self.folder / "state" / "dpe.sqlite"

    def credential(self, name: str) -> Any:
        return load_credential(str(self.folder / f"{name}.json"))

    def storage(self, name: str) -> FileStore:
        return FileStore(str(self.folder / f"{name}.json.state"))

    def boot(self, name: str) -> Registration:
        """Let a device boot; it does not reach its server."""
        return Registration(self.credential(name), self.storage(name), lambda size: bytes(size))

    def sessions(self) -> dict[int, Session]:
        with closing(make_store(self.state.store_url)) as store:
            return {session.client_id: session for session in store.live(1)}


@pytest.fixture(params=[1, 2, 3])
def earlier(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Earlier:
    folder = tmp_path / "copy"
    shutil.copytree(root / "tests" / "fixtures" / f"schema-{request.param}", folder)
    (folder / "state").chmod(0o700)
    for file in (folder / "state").iterdir():  # version control keeps no such modes
        file.chmod(0o600)
    return Earlier(folder, request.param)


def test_sessions_are_kept_with_their_keys_and_are_their_devices(earlier: Earlier) -> None:
    sessions = earlier.sessions()
    assert len(sessions) == 2
    at_rest = earlier.state.at_rest
    for name in ("one", "two"):
        device = earlier.boot(name)
        assert device.state == REGISTERED
        assert device.client_id is not None
        session = sessions.pop(int.from_bytes(device.client_id, "big"))
        assert device.oscore is not None
        assert at_rest.open_keys(session.sealed_keys, session.client_id) == b"".join(device.oscore)
        assert at_rest.device_id(at_rest.open_imei(session.sealed_imei, session.device)) == session.device
        assert (session.rule, session.suite, session.expires_at) == ("DPE 1.x", 1, None)


def test_a_device_registers_again_and_the_other_keeps_its_session(earlier: Earlier) -> None:
    before = earlier.sessions()
    with running_on(earlier.state) as running:
        credential = {**earlier.credential("one"), "server": running.uri}
        storage = earlier.storage("one")
        device = register(credential, storage, deadline_ms=20_000)
    assert device.state == REGISTERED
    after = earlier.sessions()
    assert device.client_id in {client_id_bytes(client_id) for client_id in after.keys() - before.keys()}
    (kept,) = before.keys() & after.keys()
    assert after[kept] == before[kept]
    assert len(after) == 2
    (ended,) = before.keys() - after.keys()
    assert earlier.boot("two").client_id == client_id_bytes(kept)
    assert max(after.values(), key=lambda session: session.ordinal).ordinal > before[ended].ordinal


def test_the_schema_is_migrated_once(earlier: Earlier) -> None:
    url = earlier.state.store_url
    assert examine(url)[:2] == (earlier.schema, NEWEST)
    make_store(url).close()
    assert examine(url, thorough=True) == (NEWEST, NEWEST, [])
    migrated = earlier.database.read_bytes()
    with closing(make_store(url)) as store:
        assert store.look(Questions(restrictions={NOBODY})).restrictions == {NOBODY: Restriction()}
    assert earlier.database.read_bytes() == migrated, "opening it again writes nothing"


def test_an_older_program_refuses_what_was_migrated(earlier: Earlier) -> None:
    make_store(earlier.state.store_url).close()
    before = earlier.database.read_bytes()
    refused = pytest.raises(StoreError, match="schema version 4; this program knows up to 1")
    with closing(sqlite3.connect(earlier.database)) as connection, refused:
        schema.migrate(connection, schema.STEPS[:1])
    assert earlier.database.read_bytes() == before
