"""The sessions of simulated devices in virtual time, against a real server's handlers and a real store."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest

from dpe_coap.binding import Code
from dpe_device.registration import BACKOFF, REFUSED
from dpe_device.session import REPORTING
from dpe_server import policy
from dpe_server.operation.state_dir import StateDir
from dpe_server.session.requests import RefusedInside
from dpe_server.store.contract import Contact, End, Session
from dpe_server.store.record import entries
from dpe_tools.load.fleet import GIVEN_UP
from dpe_tools.load.ledger import Ledger, compare
from dpe_tools.load.plan import FIRST_PROPERTY, Plan, Talk
from tests.tools.load_world import OPTIONS, URI, S, World, fleet_of, once

POLICY = """
[[rule]]
name = "everyone"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
"""
REFUSE = """
[[rule]]
action = "refuse"
"""
PROTECTED = 9


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.create(tmp_path / "state", "example", URI)


@pytest.fixture
def world(state: StateDir) -> Iterator[World]:
    made = World(state, POLICY)
    yield made
    made.store.close()


def talk(devices: int, reports: int | None, **more: Any) -> Plan:
    """A plan in which each device registers, and reports every 10 s."""
    of_plan = {name: more.pop(name) for name in ("duration", "timeout") if name in more}
    plan = once(devices, talk=Talk(reports, **{"every": 10.0, **more}), **of_plan)
    return replace(plan, registrations=devices)


def is_protected(datagram: bytes) -> bool:
    return datagram[OPTIONS] >> 4 == PROTECTED


def records(world: World) -> list[dict[Any, Any]]:
    return [
        {cbor2.loads(entry.property): cbor2.loads(entry.value) for entry in entries(session.record)}
        for session in world.store.live(0)
    ]


def holds(ledger: Ledger, state: StateDir, **expected: int) -> bool:
    """Say whether the store agrees with the devices, of which there are so many of each kind."""
    found = compare(ledger, state)
    assert {name: getattr(found, name) for name in expected} == expected
    return found.holds


def test_each_device_reports_as_often_as_it_is_told(state: StateDir, world: World) -> None:
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), talk(8, 5, properties=3))
    assert (tally.registered, tally.reports, tally.reported) == (8, 40, 40)
    assert (tally.sent, tally.received, tally.retransmissions) == (56, 56, 0)
    assert (tally.registration.most, tally.report.count, tally.report.most) == (4000, 40, 2000)
    assert len(world.reports) == 40
    assert 5 * 5 * S <= world.now <= 5 * 15 * S
    assert world.now == max(world.reports) + 2_000_000, "with the last answer, all is over"
    assert records(world) == [dict.fromkeys(range(FIRST_PROPERTY, FIRST_PROPERTY + 3), 5)] * 8
    assert world.leased == 0
    assert holds(ledger, state, devices=8)


def test_a_device_refreshes_its_session_by_itself(state: StateDir, world: World) -> None:
    """After a day at the latest, as its state machine says; the report that is due then comes all the same."""
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), talk(1, 3, every=200_000.0), until=10**7 * S)
    assert tally.reports == tally.reported == len(world.reports) > 3
    assert 3 * 100_000 * S <= world.now <= 3 * 300_000 * S
    assert holds(ledger, state, devices=1)


def test_reports_end_with_the_load(state: StateDir, world: World) -> None:
    plan = replace(talk(4, None, end=1.0), registrations=None, duration=60.0)
    tally = world.run(fleet_of(state, world), plan)
    assert tally.reports == tally.reported == len(world.reports) - 4
    assert 4 * 3 <= tally.reports <= 4 * 12
    assert max(world.reports) == 60 * S
    assert tally.ended == 4


def test_devices_deregister(state: StateDir, world: World) -> None:
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), talk(20, 1, end=0.5))
    assert 0 < tally.ended < 20
    assert (tally.reported, tally.unconfirmed) == (20, 0)
    assert world.store.stats(0).live == 20 - tally.ended
    assert holds(ledger, state, devices=20 - tally.ended, ended=tally.ended)


def test_an_end_whose_answer_is_lost_is_not_known(state: StateDir, world: World) -> None:
    """The server does not know the session when it is asked again."""
    ledger = Ledger()
    over: set[bytes] = set()

    def after_the_report(datagram: bytes) -> bool:
        if is_protected(datagram):
            over.add(datagram)
        return len(over) > 1

    world.loses_answer = after_the_report
    tally = world.run(fleet_of(state, world, ledger), talk(1, 1, end=1.0, timeout=1000.0))
    assert (tally.reported, tally.ended, tally.unconfirmed) == (1, 0, 1)
    assert world.store.stats(0).live == 0
    assert holds(ledger, state, devices=0, ended=0)


def test_an_end_that_nobody_answers_is_given_up(state: StateDir, world: World) -> None:
    ledger = Ledger()
    world.loses = lambda datagram: is_protected(datagram) and len(world.reports) > 2
    tally = world.run(fleet_of(state, world, ledger), talk(1, 2, end=1.0, timeout=20.0))
    assert (tally.reported, tally.ended, tally.unconfirmed, tally.unreported) == (2, 0, 1, Counter())
    assert holds(ledger, state, devices=0, ended=0)


def test_asleep_a_device_needs_no_endpoint(state: StateDir) -> None:
    world = World(state, POLICY, endpoints=2)
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), talk(6, 3, sleep=1.0))
    world.store.close()
    assert (tally.registered, tally.reported, tally.slept) == (6, 18, 18)
    assert (world.most_leased, world.leased) == (2, 0)
    assert holds(ledger, state, devices=6)


def test_awake_it_keeps_its_endpoint(state: StateDir) -> None:
    world = World(state, POLICY, endpoints=2)
    tally = world.run(fleet_of(state, world), talk(6, 3))
    world.store.close()
    assert (tally.registered, tally.reported, tally.slept, world.most_leased) == (6, 18, 0, 2)
    assert world.now > 3 * 3 * 5 * S, "three times two devices"


def test_a_device_that_loses_power_goes_on_under_higher_numbers(state: StateDir, world: World) -> None:
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), talk(5, 8, reboot=1.0))
    assert tally.rebooted == 40 - (tally.reported - (tally.rebooted - tally.cut_off))
    assert 0 < tally.cut_off < tally.rebooted
    assert tally.reported + tally.cut_off == tally.reports == 40
    assert tally.anew == 0
    assert records(world) == [{FIRST_PROPERTY: 8}] * 5, "what was cut off has come to the server all the same"
    assert {session.mark for session in world.store.live(0)} <= set(range(2 * 256, 9 * 256))
    assert holds(ledger, state, devices=5)


def test_what_is_lost_is_sent_again(state: StateDir, world: World) -> None:
    seen: set[bytes] = set()

    def the_first(datagram: bytes) -> bool:
        known = datagram in seen
        seen.add(datagram)
        return is_protected(datagram) and not known

    world.loses_answer = the_first
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), talk(5, 3))
    assert (tally.reported, tally.retransmissions) == (15, 15)
    assert tally.report.percentile(1) >= 2_000_000
    assert holds(ledger, state, devices=5)


def test_a_device_whose_session_the_server_has_lost_registers_anew(state: StateDir, world: World) -> None:
    ledger = Ledger()

    def end_once(datagram: bytes) -> bool:
        if is_protected(datagram) and len(world.reports) == 2:
            (session,) = world.store.live(0)
            world.store.commit([End(session.device, session.ordinal)])
        return False

    world.loses = end_once
    tally = world.run(fleet_of(state, world, ledger), talk(1, 3, timeout=1000.0))
    assert (tally.registered, tally.anew, tally.reports, tally.reported) == (1, 1, 3, 3)
    assert tally.errors == {Code.UNAUTHORIZED: 3}
    assert [told for _, told, *_ in ledger] == [1, 1, 1]
    assert holds(ledger, state, devices=1)


def test_a_device_that_may_not_register_anew_is_given_up(state: StateDir, world: World) -> None:
    def end_once(datagram: bytes) -> bool:
        if is_protected(datagram) and len(world.reports) == 2:
            (session,) = world.store.live(0)
            world.store.commit([End(session.device, session.ordinal)])
            world.registrar.reload(keys=state.keys, policy=policy.parse(REFUSE))
        return False

    ledger = Ledger()
    world.loses = end_once
    tally = world.run(fleet_of(state, world, ledger), talk(1, 3, timeout=1000.0))
    assert (tally.reported, tally.unreported) == (1, {REFUSED: 1})
    assert holds(ledger, state, devices=0)


def test_a_report_that_nobody_answers_is_given_up(state: StateDir, world: World) -> None:
    ledger = Ledger()
    world.loses_answer = is_protected
    tally = world.run(fleet_of(state, world, ledger), talk(3, 2, timeout=20.0))
    assert (tally.registered, tally.reports, tally.reported) == (3, 3, 0)
    assert tally.unreported.keys() <= {REPORTING, BACKOFF}
    assert tally.unreported.total() == 3
    assert world.leased == 0
    assert holds(ledger, state, devices=3), "the server may have them"


def test_a_protected_error_is_a_problem(state: StateDir, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_plaintext: bytes) -> None:
        raise RefusedInside(Code.BAD_REQUEST, "malformed CoAP message inside")

    monkeypatch.setattr("dpe_server.session.requests.read", refuse)
    ledger = Ledger()
    tally = world.run(fleet_of(state, world, ledger), talk(3, 2))
    assert (tally.reports, tally.reported, tally.problems) == (6, 0, {Code.BAD_REQUEST: 6})
    assert records(world) == [{}] * 3
    assert holds(ledger, state, devices=3)


def test_stopped_in_the_middle(state: StateDir, world: World) -> None:
    ledger = Ledger()
    fleet = fleet_of(state, world, ledger)
    world.loses_answer = lambda datagram: is_protected(datagram) and len(world.reports) > 3
    tally = world.run(fleet, talk(4, 5, end=1.0), until=17 * S)
    assert tally.under_way.total() == 4
    fleet.stop()
    assert fleet.step() is None
    assert (fleet.look().unreported, world.leased) == ({GIVEN_UP: tally.reports - 3}, 0)
    assert tally.unreported
    assert holds(ledger, state, devices=4)


class TestLedger:
    """A store that has something else does not pass."""

    @pytest.fixture
    def ledger(self, state: StateDir, world: World) -> Ledger:
        ledger = Ledger()
        world.run(fleet_of(state, world, ledger), talk(3, 2, properties=2))
        assert compare(ledger, state).holds
        return ledger

    @pytest.fixture
    def change(self, world: World) -> Callable[[dict[int, int | None]], None]:
        def changed(values: dict[int, int | None]) -> None:
            session: Session = next(iter(world.store.live(0)))
            items = {cbor2.dumps(name): cbor2.dumps(value) for name, value in values.items()}
            world.store.commit(
                [Contact(session.client_id, session.ordinal, (session.mark or 0) + 1, bytes(16), items, None)]
            )

        return changed

    @pytest.mark.parametrize(
        "values",
        [
            {FIRST_PROPERTY: 1},
            {FIRST_PROPERTY: 1, FIRST_PROPERTY + 1: 1},
            {FIRST_PROPERTY: 3, FIRST_PROPERTY + 1: 3},
            {FIRST_PROPERTY: None},
            {FIRST_PROPERTY: None, FIRST_PROPERTY + 1: None},
            {FIRST_PROPERTY + 2: 2},
        ],
        ids=["one is old", "all are old", "never sent", "one is gone", "all are gone", "one more"],
    )
    def test_other_record(
        self, state: StateDir, ledger: Ledger, change: Callable[[Any], None], values: dict[int, int | None]
    ) -> None:
        change(values)
        agreement = compare(ledger, state)
        assert (agreement.other_record, agreement.holds) == (1, False)

    def test_who_has_not_reported_has_no_record(
        self, state: StateDir, world: World, change: Callable[[Any], None]
    ) -> None:
        ledger = Ledger()
        world.run(fleet_of(state, world, ledger), once(2))
        assert holds(ledger, state, devices=2)
        change({FIRST_PROPERTY: 0})
        assert compare(ledger, state).other_record == 1

    def test_not_ended(self, state: StateDir, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        ledger, kept = Ledger(), {}
        session_of = world.store.session_of

        def keep(datagram: bytes) -> bool:
            for session in world.store.live(0):
                kept[session.device] = session
            return False

        world.loses = keep
        world.run(fleet_of(state, world, ledger), talk(2, 1, end=1.0))
        assert holds(ledger, state, devices=0, ended=2)
        assert all(session_of(device) is None for device in kept)
        monkeypatch.setattr(type(world.store), "session_of", lambda _store, device: kept[device])
        agreement = compare(ledger, state)
        assert (agreement.not_ended, agreement.two_sessions, agreement.holds) == (2, 0, False)
