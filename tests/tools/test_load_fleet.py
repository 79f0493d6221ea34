"""A fleet of simulated devices in virtual time, against a real registrar and a real store."""

import itertools
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.client_ids import client_id_bytes
from dpe_coap.numbers import Status
from dpe_device.registration import BACKOFF, CONFIRMING, REFUSED, REQUESTING
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.config import Config
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Revoke
from dpe_server.store.questions import Facts
from dpe_server.store.sqlite.store import SqliteStore
from dpe_tools.load.devices import REDIRECTED
from dpe_tools.load.fleet import GIVEN_UP, NOT_BEGUN, Fleet
from dpe_tools.load.histogram import Histogram
from dpe_tools.load.ledger import Ledger, compare
from dpe_tools.load.plan import Plan, imei
from tests.tools.load_world import HEADER, URI, S, World, fleet_of, once

REFUSE = """
[[rule]]
action = "refuse"
"""
REDIRECT = """
[[rule]]
name = "elsewhere"
action = "redirect"
server = "coap://192.0.2.2"
"""


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.create(tmp_path / "state", "example", URI)


@pytest.fixture
def world(state: StateDir) -> Iterator[World]:
    made = World(state)
    yield made
    made.store.close()


def test_every_device_registers_and_the_store_agrees(state: StateDir, world: World) -> None:
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), once(200))
    assert (tally.begun, tally.registered, tally.failed) == (200, 200, Counter())
    assert (tally.sent, tally.received, tally.retransmissions) == (400, 400, 0)
    assert [histogram.count for histogram in (tally.response, tally.confirm, tally.registration)] == [200] * 3
    assert (tally.response.most, tally.confirm.most, tally.registration.most) == (2000, 2000, 4000)
    assert world.most_leased == 10
    agreement = compare(ledger, state)
    assert agreement.holds
    assert agreement.devices == world.store.stats(0).live == 200


def test_suite_2(state: StateDir, world: World) -> None:
    assert world.run(fleet_of(state, world), once(5, suite=2)).registered == 5
    assert {session.suite for session in world.store.live(0)} == {2}


def test_devices_take_turns(state: StateDir, world: World) -> None:
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), Plan(range(7), 100, at_once=3))
    assert tally.registered == 100
    turns = Counter(number for number, *_ in ledger)
    assert set(turns.values()) == {14, 15}
    assert compare(ledger, state).devices == 7
    assert compare(ledger, state).holds
    assert world.store.stats(0).live == 7


def test_arrivals_are_those_of_the_rate_and_the_seed(state: StateDir, world: World) -> None:
    def gaps(seed: str) -> list[int]:
        world.requests.clear()
        start = world.now
        tally = world.run(fleet_of(state, world), Plan(range(500), None, rate=50, duration=8, seed=seed))
        assert tally.registered == tally.begun == len(world.requests)
        times = [at - start for at in world.requests]
        assert max(times) <= 8 * S
        return [after - before for before, after in itertools.pairwise(times)]

    found = gaps("a")
    assert len(found) == pytest.approx(400, rel=0.15)
    mean = sum(found) / len(found)
    assert sum((gap - mean) ** 2 for gap in found) / len(found) == pytest.approx(mean**2, rel=0.3)  # exponential
    assert gaps("a") == found
    assert gaps("b") != found


def test_a_storm_comes_at_once_and_devices_have_kept_their_state(state: StateDir, world: World) -> None:
    ledger = Ledger()
    fleet = fleet_of(state, world, ledger)
    world.run(fleet, once(300))
    world.requests.clear()
    before = {session.device: session.client_id for session in world.store.live(0)}
    world.now += S
    start = world.now
    tally = world.run(fleet, Plan(range(300), 300))
    assert tally.registered == 300
    assert set(world.requests) == {start}
    assert world.most_leased == 300
    after = {session.device: session.client_id for session in world.store.live(0)}
    assert after.keys() == before.keys()
    assert compare(ledger, state).holds


def test_with_few_endpoints_registrations_wait_for_one(state: StateDir) -> None:
    world = World(state, endpoints=4)
    tally = world.run(fleet_of(state, world), Plan(range(40), 40))
    world.store.close()
    assert tally.registered == 40
    assert world.most_leased == 4
    assert tally.registration.most == pytest.approx(40_000, rel=0.01)  # ten rounds of 4 ms


def test_what_is_lost_is_sent_again_and_counted(state: StateDir, world: World) -> None:
    seen: set[bytes] = set()

    def loses_the_first(datagram: bytes) -> bool:
        known = datagram in seen
        seen.add(datagram)
        return not known

    world.loses = loses_the_first
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), once(100))
    assert (tally.registered, tally.sent, tally.retransmissions, tally.received) == (100, 400, 200, 200)
    for histogram in (tally.response, tally.confirm):
        assert 2_000_000 <= histogram.percentile(1) <= histogram.most <= 3_003_000  # ACK_TIMEOUT to half as much more
    assert compare(ledger, state).holds


def test_who_had_to_start_over_did_not_register_the_first_time(state: StateDir, world: World) -> None:
    doomed: set[bytes] = set()

    def loses_seven_requests(datagram: bytes) -> bool:
        mac = datagram[-16:]
        if len(doomed) < 7:
            doomed.add(mac)
        return mac in doomed

    world.loses = loses_seven_requests
    tally = world.run(fleet_of(state, world), Plan(range(10), 10, at_once=10, timeout=300))
    assert (tally.registered, tally.first_time, tally.requests) == (10, 3, 17)


def test_a_registration_that_takes_too_long_is_given_up(state: StateDir, world: World) -> None:
    world.loses = lambda datagram: datagram[HEADER + 2] == 3  # no SUCCESS arrives
    ledger = Ledger()
    fleet = fleet_of(state, world, ledger)
    tally = world.run(fleet, once(10, timeout=20))
    assert tally.failed == {CONFIRMING: 10}
    assert world.now == 20 * S
    assert world.leased == 0
    assert compare(ledger, state).devices == 0
    world.loses = lambda datagram: True
    tally = world.run(fleet, Plan(range(10, 20), 5, at_once=5, timeout=95))
    assert tally.failed.total() == 5
    assert tally.failed.keys() <= {REQUESTING, BACKOFF}


def test_an_arrival_that_cannot_begin_in_time_fails(state: StateDir) -> None:
    world = World(state, endpoints=1)
    world.loses = lambda datagram: True
    tally = world.run(fleet_of(state, world), Plan(range(3), 3, timeout=10))
    world.store.close()
    assert tally.failed == {REQUESTING: 1, NOT_BEGUN: 2}
    assert tally.begun == 3


def test_refusals_are_counted_by_status(state: StateDir) -> None:
    world = World(state, REFUSE)
    tally = world.run(fleet_of(state, world), once(4))
    world.store.close()
    assert tally.failed == {REFUSED: 4}
    assert tally.refusals == {Status.REFUSED: 4}
    assert tally.errors == {0x83: 4}


def test_a_redirect_is_not_followed(state: StateDir) -> None:
    world = World(state, REDIRECT)
    tally = world.run(fleet_of(state, world), once(4))
    world.store.close()
    assert tally.failed == {REDIRECTED: 4}
    assert tally.refusals == {Status.REDIRECT: 4}


def test_a_foreign_key_gets_nowhere(state: StateDir, world: World) -> None:
    key = secrets.token_bytes(32)
    foreign = KeyRing({1: key}, state.keys.handle, key)

    def made(number: int) -> dict[str, Any]:
        return asdict(credential(foreign, Config("example", URI), imei(number)))

    tally = world.run(Fleet(made, lambda: world.now), once(3, timeout=30))
    assert tally.failed.total() == 3
    assert tally.errors.keys() == {0x81}
    assert tally.refusals == {}


def test_stopped_in_the_middle(state: StateDir, world: World) -> None:
    fleet = fleet_of(state, world)
    tally = world.run(fleet, Plan(range(1000), 1000, rate=100), until=2 * S)
    assert tally.under_way.total() == world.leased
    under_way = world.leased
    fleet.stop()
    assert fleet.step() is None
    assert world.leased == 0
    assert fleet.look().failed[GIVEN_UP] == under_way
    assert tally.begun == tally.registered + under_way


def test_a_part_of_a_plan_is_a_part_of_everything() -> None:
    plan = Plan(range(10), 25, at_once=5, rate=9)
    parts = [plan.share(index, 3) for index in range(3)]
    assert sorted(number for part in parts for number in part.devices) == list(range(10))
    assert sum(part.registrations or 0 for part in parts) == 25
    assert sum(part.at_once or 0 for part in parts) == 5
    assert sum(part.rate or 0 for part in parts) == pytest.approx(9)
    assert len({part.seed for part in parts}) == 3
    assert replace(plan, at_once=None, registrations=None).share(0, 3).registrations is None


class TestLedger:
    """A store that was tampered with does not pass."""

    @pytest.fixture
    def ledger(self, state: StateDir, world: World) -> Ledger:
        ledger = Ledger()
        world.run(fleet_of(state, world, ledger), once(20))
        assert compare(ledger, state).holds
        return ledger

    def sessions(self, world: World) -> list[Any]:
        return list(world.store.live(0))

    def test_missing(self, state: StateDir, world: World, ledger: Ledger) -> None:
        world.store.commit([Revoke(self.sessions(world)[0].device, 1)])
        agreement = compare(ledger, state)
        assert (agreement.missing, agreement.holds) == (1, False)

    def test_another_client_id(self, state: StateDir, world: World, ledger: Ledger) -> None:
        old = self.sessions(world)[0]
        world.store.commit([replace(old, client_id=0, ordinal=old.ordinal + 10**9, success_hash=bytes(32))])
        assert compare(ledger, state).other_client_id == 1

    def test_other_keys(self, state: StateDir, world: World, ledger: Ledger) -> None:
        entries = list(ledger)
        forged = Ledger()
        for number, _, client_id, *_ in entries:
            forged.registered(number, client_id, (bytes(16), bytes(8)))
        assert compare(forged, state).other_keys == 20

    def test_two_sessions(self, state: StateDir, world: World, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        (number, *_), *_ = ledger
        device = state.at_rest.device_id(imei(number))
        earlier = 49
        whole = Ledger()
        whole.registered(number, client_id_bytes(earlier), (bytes(16), bytes(8)))
        whole.merge(ledger)
        assert compare(whole, state).holds
        monkeypatch.setattr(SqliteStore, "look", lambda *_: Facts(holders={earlier: device}))
        assert compare(whole, state).two_sessions == 1

    def test_what_is_committed_meanwhile_is_no_second_session(
        self, state: StateDir, world: World, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As after Ctrl-C: the devices have given up, and the server has not."""
        look, (old, *_) = SqliteStore.look, self.sessions(world)
        new = replace(old, client_id=0, ordinal=old.ordinal + 10**9, success_hash=bytes(32))
        monkeypatch.setattr(SqliteStore, "look", lambda *asked: (look(*asked), world.store.commit([new]))[0])
        for number in range(20):
            ledger.failed(number)
        assert compare(ledger, state).holds
        assert self.sessions(world)[0] == new

    def test_what_failed_last_is_not_known(self, state: StateDir, world: World, ledger: Ledger) -> None:
        world.store.commit([Revoke(self.sessions(world)[0].device, 1)])
        for number in range(20):
            ledger.failed(number)
        agreement = compare(ledger, state)
        assert (agreement.devices, agreement.holds) == (0, True)


def test_percentiles_are_right_within_a_bucket() -> None:
    chance = random.Random(2)
    values = [int(chance.lognormvariate(8, 2)) for _ in range(5000)]
    whole, first, second = Histogram(), Histogram(), Histogram()
    for index, value in enumerate(values):
        whole.add(value)
        (first if index % 3 else second).add(value)
    first.merge(second)
    assert first == whole
    values.sort()
    for percent in (0.1, 50, 90, 99, 99.9, 100):
        exact = values[max(0, -int(-len(values) * percent // 100) - 1)]
        assert exact <= whole.percentile(percent) <= exact * 1.008 + 1
    assert whole.percentile(100) == whole.most == values[-1]
    assert sum(count for _, count in whole) == whole.count == 5000
    assert Histogram().percentile(50) == 0
