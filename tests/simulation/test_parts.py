"""What the simulation stands on: the event loop on a virtual clock, the store with its points, the tokens."""

import asyncio
import copy
import gc
import warnings
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.keys import agree
from dpe_coap.messages import Version
from dpe_server.keys.ring import KeyRing
from dpe_server.store.contract import (
    Change,
    Contact,
    Deregister,
    Outcome,
    ReplacedError,
    Revoke,
    Session,
    SetMinimumEpoch,
    StoreError,
)
from dpe_tools.faults import Faults
from dpe_tools.simulation.database import UNSURE, Database, FailingStore
from dpe_tools.simulation.host import Host
from dpe_tools.simulation.invariants import tokens
from dpe_tools.simulation.loop import Killed, Loop
from dpe_tools.simulation.memory_store import Disk, MemoryStore
from dpe_tools.simulation.session_events import Accepted
from dpe_tools.simulation.trouble import NONE, RULES
from dpe_tools.simulation.world import Violation, World


@pytest.fixture
def world() -> World:
    return World(1, Faults())


class Machine:
    """A loop, and what it is asked and tells."""

    def __init__(self, world: World) -> None:
        self.points: list[str] = []
        self.dies_after: int | None = None
        self.defects: list[str] = []
        self.loop = Loop(world, self.point, lambda: world.now / 1000, lambda: (2, 3), self.defects.append)  # type: ignore[abstract]

    def point(self, what: str) -> None:
        self.points.append(what)
        if self.dies_after is not None and len(self.points) > self.dies_after:
            self.loop.kill()
            raise Killed

    def start(self, coroutine: Any) -> None:
        self.loop.enter(lambda: self.loop.create_task(coroutine))


@pytest.fixture
def machine(world: World) -> Iterator[Machine]:
    machine = Machine(world)
    yield machine
    machine.loop.bury()


def test_a_coroutine_runs_in_virtual_time(world: World, machine: Machine) -> None:
    told: list[tuple[int, str]] = []

    async def run() -> None:
        await asyncio.sleep(3600)
        told.append((world.now, "slept"))
        answer = await asyncio.get_running_loop().run_in_executor(None, lambda: f"done at {world.now}")
        told.append((world.now, answer))

    machine.start(run())
    world.run(10_000_000)
    assert told == [(3_600_000, "slept"), (3_600_005, "done at 3600002")]
    assert machine.defects == []


def test_the_one_thread_does_one_thing_at_a_time(world: World, machine: Machine) -> None:
    begun: list[int] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, lambda: begun.append(world.now)) for _ in range(3)))

    machine.start(run())
    world.run(1000)
    assert begun == [2, 7, 12]


def test_a_process_ends_at_each_of_its_steps(world: World) -> None:
    """And not one line of it runs after that, not even of a ``finally``'s await."""

    async def run(done: list[int]) -> None:
        for number in range(5):
            await asyncio.sleep(1)
            done.append(number)

    whole = Machine(world)
    whole.start(run([]))
    world.run(world.now + 100_000)
    assert len(whole.points) > 6
    reached = set()
    for steps in range(len(whole.points)):
        machine, done = Machine(world), list[int]()
        machine.dies_after = steps
        machine.start(run(done))
        world.run(world.now + 100_000)
        reached.add(len(done))
        assert len(machine.points) == steps + 1
        machine.loop.bury()
        assert machine.defects == []
    assert reached >= {0, 1, 2, 3, 4}


def test_what_was_never_begun_is_buried_without_a_word(world: World) -> None:
    async def inner() -> None:
        pytest.fail("it runs")

    async def outer(awaited: Coroutine[Any, Any, None]) -> None:
        await awaited

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        machine = Machine(World(1, Faults()))
        machine.start(outer(inner()))
        machine.loop.bury()
        del machine
        gc.collect()
    assert said == []


def test_what_fails_in_a_callback_is_told(world: World, machine: Machine) -> None:
    machine.loop.call_soon(lambda: 1 / 0)
    world.run(1)
    assert [defect.rpartition(": ")[2] for defect in machine.defects] == ["ZeroDivisionError"]


def test_a_violation_cannot_be_caught_on_its_way(world: World) -> None:
    def step() -> None:
        try:
            world.fail("a promise", "broken")
        except BaseException:  # as a careless part of the server would
            pytest.fail("it was raised where it can be caught")

    world.after(5, step)
    with pytest.raises(Violation, match="a promise: broken"):
        world.run(10)


def session(number: int, device: int) -> Session:
    return Session(
        client_id=number,
        device=bytes([device]) * 16,
        sealed_imei=b"",
        version=Version(1, 0),
        firmware=None,
        suite=1,
        rule="all",
        ordinal=number,
        established_at=0,
        lifetime=None,
        expires_at=None,
        th3=bytes(32),
        success_hash=bytes([number]) * 32,
        confirm=b"",
        sealed_keys=b"",
    )


def test_a_commit_that_is_cut_short_leaves_the_disk_as_it_was() -> None:
    batch: list[Change] = [session(3, 1), session(4, 2), SetMinimumEpoch(1), Revoke(bytes([2]) * 16, 1), session(5, 3)]

    def cut(after: int | None) -> tuple[Disk, int]:
        passed = 0

        def point(_: str) -> None:
            nonlocal passed
            passed += 1
            if after is not None and passed > after:
                raise Killed

        disk = Disk()
        MemoryStore(disk).commit([session(1, 1), session(2, 2)])
        before = copy.deepcopy(disk)
        try:
            MemoryStore(disk, point).commit(batch)
        except Killed:
            assert disk == before
        return disk, passed

    whole, points = cut(None)
    assert {kept.ordinal for kept in whole.sessions} == {3, 5}
    assert whole.minimum_epoch == 1
    assert points == 6, "before the commit, and before each write"
    for after in range(points):
        cut(after)


def test_a_sqlite_file_of_a_machine_has_the_time_of_the_machine(tmp_path: Path) -> None:
    now = 99.9
    database = Database(tmp_path / "store")
    store = database.open(lambda _: None, lambda: now)
    store.commit([replace(session(1, 1), lifetime=60, expires_at=100)])

    def contact(number: int) -> Outcome:
        (outcome,) = store.commit([Contact(1, 1, number, bytes(16), {b"\0": b"\1"}, 60)])
        return outcome

    assert contact(1) is Outcome.COMMITTED
    kept = store.session(1)
    assert kept is not None
    assert (kept.seen_at, kept.expires_at) == (99, 159)
    now = 159.0
    assert contact(2) is Outcome.NOT_ACCEPTED
    store.close()
    database.close()


def test_a_disk_that_is_not_sure_has_written() -> None:
    disk, told = Disk(), list[Sequence[Accepted]]()
    store = FailingStore(MemoryStore(disk, clock=lambda: 5.0), lambda: UNSURE, told.append)
    contact = Contact(1, 1, 7, bytes(16), {}, None)
    with pytest.raises(StoreError):
        store.commit([session(1, 1)])
    with pytest.raises(StoreError):
        store.commit([contact, Deregister(1, 2, 8)])
    assert [kept.mark for kept in disk.sessions] == [7]
    assert told == [[], [contact]]


@pytest.mark.parametrize("is_file", [False, True])
def test_a_copy_that_was_put_back_is_known_by_its_beats(is_file: bool, tmp_path: Path) -> None:
    database = Database(tmp_path / "store" if is_file else None)
    first = database.beat(None, bytes(8))
    store = database.open(lambda _: None, lambda: 5.0)
    store.commit([session(1, 1)])
    copy = database.copy()
    second = database.beat(first, b"2" * 8)
    store.commit([session(2, 2)])
    store.close()
    database.put_back(copy)
    assert [row.client_id for row in database.rows()] == [1]
    with pytest.raises(ReplacedError):
        database.beat(second, b"3" * 8)
    third = database.recover([b"\2" * 16], 5, second.number, b"3" * 8)
    assert third.number > second.number
    assert database.rows() == ()
    assert database.beat(third, b"4" * 8).number == third.number + 1
    database.close()


def test_the_tokens_are_those_of_the_vectors(vectors: dict[str, Any]) -> None:
    confirmed = 0
    for vector in vectors["valid"]:
        key, realm, request, response = bytes.fromhex(vector["k_dev"]), vector["realm"], *_messages(vector)[:2]
        dh = b""
        if vector["suite"] == 2:
            public = bytes.fromhex(vector["eph_s"])
            dh = public + agree(bytes.fromhex(vector["eph_c_private"]), public)
        assert tokens.request_is_valid(key, realm, request)
        assert not tokens.request_is_valid(key, realm + "x", request)
        assert tokens.response_is_valid(key, request, response, dh)
        assert not tokens.response_is_valid(key, request[:-1] + b"x", response, dh)
        if vector.get("success"):
            confirmed += 1
            _, _, success, confirm = _messages(vector)
            prk3 = bytes.fromhex(vector["prk3"])
            assert tokens.success_is_valid(prk3, success)
            th3 = tokens.th3(request, response, success)
            assert th3.hex() == vector["th3"]
            assert tokens.confirm_is_valid(prk3, th3, confirm)
            assert not tokens.confirm_is_valid(prk3, bytes(32), confirm)
    assert confirmed


def _messages(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(vector.get(name) or "") for name in ("request", "response", "success", "confirm")]


def test_a_host_whose_process_dies_serves_again(world: World) -> None:
    keys = KeyRing(master={1: bytes(32)}, handle={1: bytes(32)}, at_rest=bytes(32))
    host = Host(world, "a", ("a", 1), keys, "realm", RULES, replace(NONE, workers=2))
    world.endpoints[host.address] = host.receive
    answers: list[bytes] = []
    for port in range(8):  # of both workers
        world.endpoints["b", port] = lambda datagram, _: answers.append(datagram)
    ping = b"\x40\0\0\7"

    def all_answer() -> None:
        answers.clear()
        for port in range(8):
            world.send(("b", port), host.address, ping)
        world.run(world.now + 60_000)
        assert answers == [b"\x70\0\0\7"] * 8

    all_answer()
    for point in ("await", "send"):
        host.condition.crash_at = point
        world.send(("b", 1), host.address, ping)
        world.run(world.now + 60_000)
        assert host.condition.crash_at == ""
        all_answer()
    host.restart()
    world.run(world.now + 60_000)
    all_answer()
    host.close()
