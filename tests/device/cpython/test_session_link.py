"""A device and a server that verifies, over a link that loses, repeats, reorders and damages, and with power cuts."""

import heapq
import random
from typing import Any

import pytest

from dpe_coap import session_messages
from dpe_device.aes import AES
from dpe_device.reporter import Reporter
from dpe_device.session import Session
from tests.device.cpython.session_server import DELETE, POST, SessionServer
from tests.device.scripted import CREDENTIAL, PEER, Chance

LOSS, REPETITION, REORDERING, DAMAGE = 0.2, 0.3, 0.2, 0.01


class PowerCut(BaseException):
    """The board is off."""


class Cuttable:
    """A storage at which the power can be cut: before a write, or when it is whole."""

    def __init__(self) -> None:
        self.record: bytes | None = None
        self.cut: bool | None = None
        """Whether the next write is whole when the power is cut; None: it is not cut."""

    def load(self) -> bytes | None:
        return self.record

    def save(self, record: bytes) -> None:
        cut, self.cut = self.cut, None
        if cut is not False:
            self.record = record
        if cut is not None:
            raise PowerCut


class Link:
    """Carries datagrams both ways, badly, and remembers what a device has sent under a number."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.waiting: list[tuple[int, int, bool, bytes]] = []
        self.count = 0
        self.under: dict[bytes, bytes] = {}
        """The ciphertext under each OSCORE option and keys."""

    def put(self, now: int, up: bool, datagram: bytes) -> None:
        for _ in range(1 + (self.chance.random() < REPETITION)):
            if self.chance.random() < LOSS:
                continue
            sent = datagram
            if self.chance.random() < DAMAGE:
                at = self.chance.randrange(len(datagram))
                sent = datagram[:at] + bytes((datagram[at] ^ 1 << self.chance.randrange(8),)) + datagram[at + 1 :]
            delay = self.chance.randrange(10, 60)
            if self.chance.random() < REORDERING:
                delay = self.chance.randrange(60, 6000)
            self.count += 1
            heapq.heappush(self.waiting, (now + delay, self.count, up, sent))


class World:
    """One device, its application, the link and the server, on one clock."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.link = Link(self.chance)
        self.server = SessionServer()
        self.storage = Cuttable()
        self.entropy = Chance(seed)
        self.values: dict[Any, Any] = {}
        self.now = 0
        self.boots = 0
        self.ending = False
        self.sent: dict[tuple[Any, bytes], bytes] = {}
        self.boot()

    def boot(self) -> None:
        """Power on; the application hands its values over again."""
        while True:
            try:
                self.session = Session(dict(CREDENTIAL), self.storage, self.entropy)
                break
            except PowerCut:
                continue
        self.session.aes = AES
        self.session.reporter = self.reporter = Reporter()
        self.reporter.values = dict(self.values)
        self.started = self.now
        self.boots += 1

    def set(self, **values: Any) -> None:
        """Change values, of properties 0 and so on by a, b..."""
        for name, value in values.items():
            self.values[ord(name) - 97] = self.reporter.values[ord(name) - 97] = value

    def step(self) -> None:
        """Let the next thing happen: a datagram arrives, or the device's time comes."""
        due = self.session.due
        at = self.now if due is None else max(self.now, due + self.started)
        received = sender = None
        if self.link.waiting and (due is None or self.link.waiting[0][0] <= at):
            at, _, up, datagram = heapq.heappop(self.link.waiting)
            self.now = max(self.now, at)
            if up:
                reply = self.server.take(datagram)
                if reply is not None:
                    self.link.put(self.now, False, reply)
                return
            received, sender = datagram, PEER
        self.now = max(self.now, at)
        if self.session.state != "IDLE" and self.reporter.due(self.now - self.started) <= self.now - self.started:
            self.session.want(POST)
        if self.ending and self.session.state == "READY":
            self.session.want(DELETE)
        try:
            out, _, _ = self.session.step(self.now - self.started, received, sender)
        except PowerCut:
            self.boot()
            return
        if out is not None:
            self.session.peer = PEER
            self._saw(out)
            self.link.put(self.now, True, out)

    def _saw(self, out: bytes) -> None:
        if out[0] == 0x44 and out[8] >> 4 == 9:
            key = self.session.oscore, out[8 : out.index(b"\xff", 16)]
            assert self.sent.setdefault(key, out[8:]) == out[8:], "two plaintexts under one number"

    def until(self, wanted: Any) -> None:
        """Let things happen until something holds."""
        for _ in range(20_000):
            if wanted():
                return
            self.step()
        raise AssertionError(f"it does not come about: {self.session.state}")

    def reported(self) -> bool:
        """Whether the device knows that the server has all."""
        return self.session.state == "READY" and self.reporter.due(self.now - self.started) > self.now - self.started

    def record(self) -> dict[Any, Any]:
        """What the server has."""
        assert self.server.session is not None
        return session_messages.decoded(self.server.session.record)


def check(world: World) -> None:
    """What always holds of what the server has accepted."""
    numbers = [(session, number) for session, number, _ in world.server.accepted]
    assert numbers == sorted(set(numbers)), "a request was accepted twice"


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_reports_with_resets_and_power_cuts(seed: int) -> None:
    world = World(seed)
    world.server.policies({n: {} for n in range(6)}, 86400)
    troubles = sorted(world.chance.sample(range(1, 1000), 100))
    for number in range(1, 1001):
        world.set(a=number, b=f"1.{number}", c=number % 2 == 0, d=number / 8, e=None if number % 7 else "de", f=-number)
        if number in troubles:
            if number % 3:
                for _ in range(world.chance.randrange(12)):  # a reset at any moment of the report
                    world.step()
                world.boot()
            else:
                world.storage.cut = world.chance.random() < 0.5
                world.boot()  # so that there is a write
        if number % 100 == 50:
            world.server.policies({n: {} for n in range(6)}, 86400 + number)
        world.until(world.reported)
        assert world.record() == world.values
    check(world)
    assert world.boots > 100
    seen = {session_messages.decoded(items)[0] for _, _, items in world.server.accepted if items and b"\0" in items}
    assert seen == set(range(1, 1001))
    assert world.reporter.dropped == {}


@pytest.mark.parametrize("seed", range(5))
def test_deregistering_over_resets_ends_in_idle_and_the_next_session_begins_at_1(seed: int) -> None:
    world = World(seed)
    for number in range(20):
        world.set(a=number)
        world.until(world.reported)
        world.ending = True
        for _ in range(world.chance.randrange(8)):
            world.step()
        if world.chance.random() < 0.5:
            world.storage.cut = world.chance.random() < 0.5
            world.boot()
        world.until(lambda: world.session.state == "IDLE" and world.session.due is None)
        assert (world.storage.record or b"")[4:9] == bytes(5)
        world.ending = False
        world.boot()
    check(world)
    assert world.server.sessions >= 20
    firsts = {session: number for session, number, _ in reversed(world.server.accepted)}
    assert max(firsts.values()) < 20  # the first requests may be lost


def test_a_server_that_has_lost_the_session_gets_another() -> None:
    world = World(7)
    for number in range(20):
        world.set(a=number, b="x")
        world.until(world.reported)
        world.server.session = None
    world.set(a=20)
    world.until(world.reported)
    assert world.record() == {0: 20} or world.record() == {0: 20, 1: "x"}
    assert world.server.sessions == 21
    check(world)
