"""The work behind a refusal is the same for every reason: counted, not timed."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_coap.client_ids import client_id_bytes
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.session import contexts
from dpe_server.store.contract import End
from dpe_server.store.sqlite.store import SqliteStore
from tests.assurance.timing.work import count
from tests.server.session.double import Device, Server

SPREAD = 40
"""Bytecodes, of some eight hundred: finding nothing, or something that does not fit, takes some more or less."""


class OnDisk(Server):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.store = SqliteStore(path)  # type: ignore[assignment]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OnDisk]:
    server = OnDisk(tmp_path / "dpe.sqlite")
    yield server
    server.store.close()


def requests(server: Server) -> dict[str, bytes]:
    """A request for every reason; each session but the last two has been heard before."""
    made: dict[str, bytes] = {}
    devices = {
        name: Device(server, client_id, ordinal=number, lifetime=None if name != "over" else 60)
        for number, (name, client_id) in enumerate(
            {"tag": 1 << 40, "number": 2 << 40, "over": 3 << 40, "ended": 4 << 40, "last": 1 << 50}.items(), start=1
        )
    }
    for name in ("tag", "number"):
        assert server.send(devices[name].report({0: 1}))[0].protected
    good = devices["tag"].report({0: 2})
    made["wrong keys"] = good[:-1] + bytes([good[-1] ^ 1])
    made["unknown"] = good[:2] + client_id_bytes((1 << 40) + 1) + good[9:]
    made["used"] = devices["number"].report({0: 2}, number=1)
    made["ended"] = devices["ended"].report({0: 2})
    server.store.commit([End(devices["ended"].device, 1)])
    over = devices["over"].report({0: 2})
    made["over"] = over
    made["wrong keys, not heard before"] = over[:-1] + bytes([over[-1] ^ 1])
    return made


@pytest.mark.parametrize("kept", [contexts.TOTAL, 2, 1])
def test_every_refusal_is_as_much_work(server: OnDisk, kept: int) -> None:
    """However full the caches are: with room, without, and with the keys of one session pushed out."""
    server.sessions._contexts._total = server.sessions._answers._total = kept
    works: dict[str, Counter[str]] = {}
    server.wall += 1
    made = requests(server)
    server.wall += 3600
    for name, request in made.items():
        for _ in range(3):
            assert server.send(request) == [UNAUTHORIZED]
        works[name] = count(lambda request=request: server.send(request))  # type: ignore[misc]
    bytecodes = {name: work.pop("bytecodes") for name, work in works.items()}
    for work in works.values():
        assert sum(calls for name, calls in work.items() if name.endswith("AESGCM.decrypt")) == 1, "keys opened"
        assert work["oscore:decrypt"] == 1
        assert work["oscore:derive"] == 1
        assert work["Cursor.fetchall"] == 1
    expected = works["wrong keys"]
    for name, work in works.items():
        work["AESCCM.decrypt"] -= work.pop("oscore:fail", 0)  # in place of a decryption that has not failed
        unlike = {call: (work[call], expected[call]) for call in work | expected if work[call] != expected[call]}
        assert unlike == {}, name
    assert max(bytecodes.values()) - min(bytecodes.values()) <= SPREAD, bytecodes
