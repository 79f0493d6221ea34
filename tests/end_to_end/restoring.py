"""A server whose database is put back: what its tests do and read."""

from contextlib import closing

import pytest

from dpe_coap.errors import DpeError
from dpe_server.operation.beats import BeatsError
from dpe_server.operation.journal import enact
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Measure, Revoke, StoreError
from dpe_server.store.opening import open_store
from tests.coap import Client
from tests.end_to_end.devices import Device, Offered
from tests.end_to_end.running import running_on


def offer(client: Client, device: Device) -> Offered | None:
    """Let a device ask to register; None if it is refused."""
    request = device.request()
    answer = client.post(request)
    return None if answer.dotted == "4.01" else device.read(request, answer.payload)


def register(uri: str, device: Device) -> bool:
    with Client(uri) as client:
        offered = offer(client, device)
        return offered is not None and client.post(offered.success()).dotted == "2.04"


def act(state: StateDir, *measures: Measure) -> None:
    with closing(open_store(state.store_url)) as store:
        enact(state.journal_path, store, measures)


def name_of(state: StateDir, device: Device) -> bytes:
    return state.at_rest.device_id(device.imei)


def revoked(state: StateDir) -> set[bytes]:
    with closing(open_store(state.store_url)) as store:
        return {measure.device for measure in store.measures() if isinstance(measure, Revoke)}


def live(state: StateDir) -> set[bytes]:
    with closing(open_store(state.store_url)) as store:
        return {session.device for session in store.live(0)}


def files(state: StateDir) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes()
        for file in state.path.iterdir()
        if file.name not in ("audit.jsonl", "serve.lock", "loaded-0.json", "dpe.sqlite-shm")
        and (file.name != "dpe.sqlite-wal" or file.stat().st_size)  # who only reads may leave an empty one
    }


def refused(state: StateDir) -> DpeError:
    """Start the server, which must refuse and change nothing; return what it says."""
    before = files(state)
    with pytest.raises((BeatsError, StoreError)) as caught, running_on(state):
        pass
    assert files(state) == before
    return caught.value
