"""The device reports over a real socket, blocking and in a coroutine, on both interpreters, with the AES of each."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_coap import session_messages
from dpe_device import aio
from dpe_device.aes import AES
from dpe_device.device import Device
from tests.conftest import ROOT
from tests.device.cpython.session_server import SessionServer
from tests.device.scripted import CREDENTIAL, Memory


@pytest.fixture
def server() -> Iterator[tuple[SessionServer, int]]:
    """A server on the loopback interface, and its port."""
    server = SessionServer()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]

        def serve() -> None:
            while datagram := listening.recvfrom(2048):
                if not datagram[0]:
                    return
                reply = server.take(datagram[0])
                if reply is not None:
                    listening.sendto(reply, datagram[1])

        thread = threading.Thread(target=serve)
        thread.start()
        yield server, port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"", ("127.0.0.1", port))
        thread.join()


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
@pytest.mark.parametrize("interpreter", ["cpython", "micropython"])
def test_a_device_reports_and_deregisters(
    server: tuple[SessionServer, int], interpreter: str, how: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    there, port = server
    there.policies({0: {}, "vendor/temp": {}})
    credential = dict(CREDENTIAL, server=f"coap://127.0.0.1:{port}")
    shown = {key: value.hex() if isinstance(value, bytes) else value for key, value in credential.items()}
    (tmp_path / "credential.json").write_text(json.dumps(shown))
    command = [sys.executable if interpreter == "cpython" else request.getfixturevalue("micropython")]
    program = Path(__file__).with_name("reporting_device.py")
    arguments = [str(program), str(tmp_path / "credential.json"), str(tmp_path / "state"), how]
    path = str(ROOT / "device")
    environment = {**os.environ, "PYTHONPATH": path, "MICROPYPATH": f"{path}:.frozen"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=50, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["{} READY"] * 4 + ["True IDLE"]
    assert there.session is not None
    assert there.session.over
    assert [number for _, number, _ in there.accepted] == [1, 257, 513]
    reported = [items and session_messages.decoded(items) for _, _, items in there.accepted]
    assert reported == [{0: 87, 1: "1.4.2", "vendor/temp": 21.5}, {0: 86, 1: "1.4.2"}, None]
    assert there.refused == 0


def test_a_coroutine_without_the_memory_to_receive_so_much_receives_less(
    server: tuple[SessionServer, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, port = server
    receive = aio._receive
    asked = []

    async def scarce(sock: object, longest: int, wait: float) -> tuple[bytes, object] | None:
        asked.append(longest)
        if longest > 300:
            raise MemoryError
        return await receive(sock, longest, wait)

    monkeypatch.setattr(aio, "_receive", scarce)
    device = Device(dict(CREDENTIAL, server=f"coap://127.0.0.1:{port}"), Memory(), AES)
    assert asyncio.run(aio.report(device, {0: 87})) == {}
    assert asked[:2] == [1088, 544]
    assert set(asked[2:]) == {272}
    assert [items and session_messages.decoded(items) for _, _, items in there.accepted] == [{0: 87}]
