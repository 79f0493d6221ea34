"""The device client and the server's registrar over a network and with power that a seed lets fail.

A fault schedule loses, doubles, delays, reorders and corrupts datagrams both ways, answers piggybacked or separately,
reboots the device at any step, restarts the server, and lets either's storage fail. The clock jumps, nothing sleeps.
"""

import heapq
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.imei import Imei
from dpe_device import x25519
from dpe_device.registration import REGISTERED, Registration
from dpe_server.at_rest import AtRest
from tests.coap import ACK, CON, CONTENT_FORMAT, MAX_AGE, Message
from tests.device.scripted import Memory
from tests.server.registrar.double import REALM, Server

IMEI = Imei.parse("35209900176148")
PEER = ("server", 5683)


class World:
    """One device, one server, and what happens between them."""

    def __init__(self, server: Server, seed: int, **options: Any) -> None:
        self.chance = random.Random(seed)
        self.server = server
        key = server.keys.device_key(1, IMEI)
        self.credential = {
            "server": "coap://server",
            "realm": REALM,
            "handle": server.keys.seal_handle(1, IMEI, self.chance.randbytes),
            "device_key": key,
            "epoch": 1,
        }
        self.flash = Memory()
        self.options = options
        self.now = 0
        self.count = itertools.count()
        self.to_device: list[tuple[int, int, bytes]] = []
        self.to_server: list[tuple[int, int, bytes]] = []
        self.mid = 0
        self.boot()

    def boot(self) -> None:
        self.registration = Registration(self.credential, self.flash, self.chance.randbytes, **self.options)
        self.registration.peer = PEER
        self.wake: int | None = self.now

    def happens(self, probability: float) -> bool:
        return self.chance.random() < probability

    def carry(self, queue: list[tuple[int, int, bytes]], datagram: bytes) -> None:
        """Send a datagram on its way, or several, or none."""
        for _ in range(1 + self.happens(0.3)):
            if self.happens(0.2):
                continue
            sent = bytearray(datagram)
            if self.happens(0.03):
                sent[self.chance.randrange(len(sent))] ^= 1 << self.chance.randrange(8)
            delay = self.chance.choice([10, 50, 200, 4000])
            heapq.heappush(queue, (self.now + delay, next(self.count), bytes(sent)))

    def serve(self, datagram: bytes) -> None:
        """What the server does with a datagram."""
        try:
            request = Message.parse(datagram)
        except (AssertionError, ValueError, IndexError):
            return
        if request.type != CON or request.code != 2:
            return
        self.server.store.broken = self.happens(0.1)
        self.server.now, self.server.wall = self.now / 1000, 1_800_000_000 + self.now / 1000
        reply = self.server.send(request.payload)
        options = []
        if reply.content_format is not None:
            options.append((CONTENT_FORMAT, bytes([reply.content_format % 256])))
        if reply.max_age is not None:
            options.append((MAX_AGE, bytes([reply.max_age])))
        kind, mid = ACK, request.message_id
        if self.happens(0.3):
            self.carry(self.to_device, bytes(Message(ACK, 0, request.message_id)))
            self.mid += 1
            kind, mid = CON, self.mid
        self.carry(
            self.to_device, bytes(Message(kind, reply.code, mid, request.coap_token, tuple(options), reply.payload))
        )

    def run(self, steps: int = 4000) -> Iterator[str]:
        """Let things happen; the state after each."""
        for _ in range(steps):
            if self.happens(0.02):
                self.boot()
            if self.happens(0.01):
                self.server.restart()
            self.flash.broken = self.happens(0.05)
            times = [queue[0][0] for queue in (self.to_device, self.to_server) if queue]
            if self.wake is not None:
                times.append(self.wake)
            if not times:
                return
            self.now = max(self.now, min(times))
            datagram = None
            if self.to_server and self.to_server[0][0] <= self.now:
                self.serve(heapq.heappop(self.to_server)[2])
                continue
            if self.to_device and self.to_device[0][0] <= self.now:
                datagram = heapq.heappop(self.to_device)[2]
            out, self.wake, state = self.registration.step(self.now, datagram, PEER)
            if out is not None:
                self.carry(self.to_server, out)
            if state == "IDLE" and self.wake is None:  # it declined, as it could not save
                self.registration.start()
                self.wake = self.now
            yield state

    def agrees(self) -> bool:
        """Whether the server has exactly this registration, with the same keys."""
        (row,) = self.server.rows()
        assert self.registration.oscore is not None
        keys = AtRest(self.server.keys.at_rest).open_keys(row.sealed_keys, row.client_id)
        return row.client_id == self.registration.client_id and keys == b"".join(self.registration.oscore)


@pytest.mark.parametrize("seed", range(40))
def test_every_fault_schedule_ends_registered_and_agreed(tmp_path: Path, seed: int) -> None:
    server = Server(tmp_path / "dpe.sqlite")
    options: dict[str, Any] = {"x25519": x25519, "suite": 2} if seed % 8 == 0 else {}
    world = World(server, seed, **options)
    times_registered = 0
    try:
        for state in world.run():
            assert len(server.rows()) <= 1
            if state == REGISTERED:
                assert world.agrees()
                world.boot()
                if world.registration.state == REGISTERED:
                    assert world.agrees()
                times_registered += 1
                if times_registered == 3:
                    return
                world.registration.start()
                world.wake = world.now
    finally:
        server.store.close()
    pytest.fail(f"registered {times_registered} times of 3")
