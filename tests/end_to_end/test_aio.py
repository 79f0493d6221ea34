"""The DPE Client as a coroutine, against the real server, on both interpreters."""

import asyncio
import dataclasses
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.client_ids import client_id_bytes
from dpe_coap.imei import Imei
from dpe_device import aio, udp, x25519
from dpe_device.registration import BACKOFF, IDLE, REFUSED, REGISTERED, REQUESTING, Registration
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import open_store
from tests.end_to_end.running import Running
from tests.end_to_end.test_client import Flash

SCRIPT = Path(__file__).with_name("aio_device.py")


def device(state: StateDir, uri: str, number: int = 0) -> Any:
    """A credential of a device that the server knows."""
    made = credential(state.keys, state.config, Imei.parse(f"35209900{176148 + number:06d}"))
    return dataclasses.asdict(dataclasses.replace(made, server=uri))


def client_ids(state: StateDir) -> set[bytes]:
    store = open_store(state.store_url)
    try:
        return {client_id_bytes(row.client_id) for row in store.live(0)}
    finally:
        store.close()


@pytest.mark.parametrize("interpreter", ["cpython", "micropython"])
def test_cancelled_at_every_await(
    state: StateDir, running: Running, request: pytest.FixtureRequest, root: Path, tmp_path: Path, interpreter: str
) -> None:
    """Whenever it was cancelled, what is left is a state to go on from, and the next registration succeeds."""
    file = tmp_path / "device.cbor"
    made = credential(state.keys, state.config, Imei.parse("35209900176148"))
    file.write_bytes(dataclasses.replace(made, server=running.uri).to_cbor())
    program = [sys.executable, "-W", "error"] if interpreter == "cpython" else [request.getfixturevalue("micropython")]
    device = str(root / "device")
    done = subprocess.run(
        [*program, SCRIPT, file, tmp_path / "flash"],
        env={**os.environ, "PYTHONPATH": device, "MICROPYPATH": f".frozen:{device}"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    cancelled, *registered = done.stdout.split()
    assert int(cancelled) >= 2, "one at least in each exchange"
    assert len(set(registered)) == len(registered) == int(cancelled) + 1
    assert client_ids(state) == {bytes.fromhex(registered[-1])}


def test_many_devices_at_once(state: StateDir, running: Running) -> None:
    async def register() -> list[Registration]:
        devices = [device(state, running.uri, number) for number in range(20)]
        return await asyncio.gather(
            *(aio.register(made, Flash(), x25519=x25519, suite=1 + number % 2) for number, made in enumerate(devices))
        )

    done = asyncio.run(register())
    assert {registration.state for registration in done} == {REGISTERED}
    assert {registration.client_id for registration in done} == client_ids(state)
    assert len(client_ids(state)) == 20


def test_refused_and_declined(state: StateDir, running: Running) -> None:
    refused = asyncio.run(aio.register(device(state, running.uri), Flash(), firmware="banned 1"))
    assert refused.state == REFUSED
    declined = asyncio.run(aio.register(device(state, running.uri), Flash(), accept=lambda _client_id, _version: 16))
    assert declined.state == IDLE
    assert client_ids(state) == set()


def test_others_run_while_nobody_answers(state: StateDir) -> None:
    """A server that takes all and says nothing, and no server at all: others run, and the deadline ends it."""
    seen: list[str] = []

    async def both(uri: str) -> Registration:
        task = asyncio.create_task(
            aio.register(device(state, uri), Flash(), deadline_ms=300, trace=lambda way, _datagram: seen.append(way))
        )
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0.01)
        assert turns > 1, "a call that blocks ends within the first"
        return await task

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert asyncio.run(both(f"coap://127.0.0.1:{silent.getsockname()[1]}")).state == REQUESTING
    assert asyncio.run(both("not a URI")).state == REQUESTING
    assert seen == ["sent"]  # to the first; where there is no address, nothing is sent


def names(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Let every name have these addresses."""
    found = [
        (socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind, 0, "", address)
        for address in addresses
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    ]

    def getaddrinfo(_host: str, _port: int, *_: object, **options: int) -> list[Any]:
        return [one for one in found if options.get("type", one[1]) == one[1]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_server_that_listens_at_the_second_address_of_its_name(
    state: StateDir, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with AAAA and A, and a server on IPv4: whether IPv6 leads nowhere, or is not there at all."""
    address = "127.0.0.1", int(running.uri.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        for elsewhere in (silent.getsockname(), ("2001:db8::1", address[1])):
            names(monkeypatch, elsewhere, address)
            made = device(state, f"coap://server.example:{address[1]}")
            blocking = udp.register(made, Flash(), ack_timeout=5, backoff=10)
            assert blocking.state == REGISTERED
            waiting = asyncio.run(aio.register(made, Flash(), ack_timeout=5, backoff=10))
            assert waiting.state == REGISTERED
            assert client_ids(state) == {waiting.client_id}


def test_a_name_service_that_does_not_answer_delays_no_deadline(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[Any]:
        answered.wait()
        return []

    async def register() -> Registration:
        try:
            made = device(state, "coap://server.example")
            return await aio.register(made, Flash(), deadline_ms=50, trace=lambda *_: answered.set())
        finally:
            assert not answered.is_set()  # it was over before the name service, and nothing was sent
            answered.set()  # its thread may end

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert asyncio.run(register()).state == REQUESTING


def test_a_server_that_comes_up_later(state: StateDir, running: Running) -> None:
    """An answer to a retransmission counts; the first datagrams went to nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        first.bind(("127.0.0.1", 0))
        closed = first.getsockname()[1]
    flash, made = Flash(), device(state, f"coap://127.0.0.1:{closed}")
    failed = asyncio.run(aio.register(made, flash, deadline_ms=200, ack_timeout=10, backoff=20))
    assert failed.state in (REQUESTING, BACKOFF)
    registered = asyncio.run(aio.register({**made, "server": running.uri}, flash))
    assert registered.state == REGISTERED
    assert client_ids(state) == {registered.client_id}
