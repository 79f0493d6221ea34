"""The simulated database of several nodes: what hangs, what comes late, what is lost, and who is told."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from dpe_coap.messages import Version
from dpe_server.store.contract import CommitUnknown, Contact, Outcome, Session, StoreError
from dpe_server.store.questions import Questions
from dpe_tools.faults import Faults
from dpe_tools.simulation.cluster import DELAYED, FRESH, LATE, LOST, UNHEARD, Cluster, NodesStore
from dpe_tools.simulation.session_events import Accepted
from dpe_tools.simulation.simulation import Simulation
from dpe_tools.simulation.trouble import CLUSTERS, NONE, Trouble
from dpe_tools.simulation.world import World


def session(number: int = 1, ordinal: int = 1) -> Session:
    return Session(
        client_id=number, device=bytes([number]) * 16, sealed_imei=b"", version=Version(1, 0), firmware=None, suite=1,
        rule="all", ordinal=ordinal, established_at=1, lifetime=None, expires_at=None, th3=bytes(32),
        success_hash=bytes([ordinal]) * 32, confirm=b"", sealed_keys=b"",
    )  # fmt: skip


@pytest.fixture
def world() -> World:
    return World(1, Faults())


@pytest.fixture
def cluster(world: World) -> Cluster:
    return Cluster(world, replace(NONE, cluster=True), random.Random(1))


@pytest.fixture
def told() -> list[Sequence[Accepted]]:
    """What commits have accepted, one for each."""
    return []


@pytest.fixture
def node(cluster: Cluster, told: list[Sequence[Accepted]]) -> NodesStore:
    return NodesStore(cluster, lambda: "", told.append, lambda _: None)


def shown(node: NodesStore, number: int = 1) -> bool:
    return number in node.look(Questions(holders={number})).holders


def silent_for(world: World, cluster: Cluster, milliseconds: int) -> None:
    cluster._silent_since = world.now
    world.run(world.now + milliseconds)


def test_what_hangs_is_shown_to_nobody_and_takes_effect_when_the_standby_is_back(
    world: World, cluster: Cluster, node: NodesStore, told: list[Sequence[Accepted]]
) -> None:
    node.look(Questions(holders={1}))
    silent_for(world, cluster, 10)
    with pytest.raises(CommitUnknown):
        node.commit([session()])
    assert cluster.rows() == ()
    assert told == []
    cluster.come_back()
    assert told == [[]]
    assert [row.client_id for row in cluster.rows()] == [1]
    assert shown(node)
    assert node.commit([session()]) == [Outcome.COMMITTED]


def test_what_hangs_is_lost_when_the_standby_becomes_the_primary(
    world: World, cluster: Cluster, node: NodesStore
) -> None:
    assert node.commit([session(1)]) == [Outcome.COMMITTED]
    silent_for(world, cluster, 10)
    with pytest.raises(CommitUnknown):
        node.commit([session(2, 2)])
    cluster.fail_over()
    assert (shown(node, 1), shown(node, 2)) == (True, False)


def test_a_primary_that_starts_anew_shows_what_the_standby_has_not_and_no_node_reads_it(
    world: World, cluster: Cluster, node: NodesStore
) -> None:
    node.look(Questions(holders={1}))
    silent_for(world, cluster, 10)
    with pytest.raises(CommitUnknown):
        node.commit([session()])
    cluster.begin_anew()
    assert [row.client_id for row in cluster.shown(cluster.epoch).sessions] == [1]
    assert cluster.rows() == ()
    with pytest.raises(StoreError):
        shown(node)
    with pytest.raises(StoreError) as caught:
        node.commit([session(2, 2)])
    assert not isinstance(caught.value, CommitUnknown), "it was not given"
    cluster.come_back()
    assert shown(node)


def test_a_node_reads_for_a_moment_only_after_the_last_acknowledged_write(
    world: World, cluster: Cluster, node: NodesStore
) -> None:
    assert not shown(node)
    silent_for(world, cluster, FRESH - 1)
    assert not shown(node)
    world.run(world.now + 1)
    with pytest.raises(StoreError):
        shown(node)


@pytest.mark.parametrize("fate", [LOST, UNHEARD, DELAYED])
def test_a_commit_of_which_the_node_does_not_learn(
    world: World, cluster: Cluster, node: NodesStore, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    fates = [fate, ""]
    monkeypatch.setattr(cluster, "fate", lambda: fates.pop(0))
    with pytest.raises(CommitUnknown):
        node.commit([session()])
    assert len(cluster.rows()) == (fate == UNHEARD)
    world.run(LATE + 1)
    assert len(cluster.rows()) == (fate != LOST)
    assert node.commit([session()]) == [Outcome.COMMITTED]
    assert len(cluster.rows()) == 1


def test_a_late_commit_is_judged_by_what_is_there_by_then(
    cluster: Cluster, node: NodesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fates = [DELAYED, ""]
    monkeypatch.setattr(cluster, "fate", lambda: fates.pop(0))
    with pytest.raises(CommitUnknown):
        node.commit([session(1, 1)])
    newer = session(1, 2)
    assert node.commit([newer]) == [Outcome.COMMITTED]
    cluster.settle()
    assert cluster.rows() == (newer,)


def test_what_is_given_again_is_accepted_once(
    cluster: Cluster, node: NodesStore, told: list[Sequence[Accepted]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fates = ["", UNHEARD, "", ""]
    monkeypatch.setattr(cluster, "fate", lambda: fates.pop(0))
    node.commit([session()])
    report = Contact(1, 1, 5, b"a" * 16, {}, None)
    with pytest.raises(CommitUnknown):
        node.commit([report])
    assert node.commit([report]) == [Outcome.COMMITTED]
    assert node.commit([report._replace(attempt=b"b" * 16)]) == [Outcome.NOT_ACCEPTED]
    assert told == [[], [report], [], []]


def test_numbers_rise_over_all_nodes(cluster: Cluster) -> None:
    nodes = [NodesStore(cluster, lambda: "", lambda _: None, lambda _: None) for _ in range(2)]
    numbers = [node.look(Questions(number=True)).number for _ in range(3) for node in nodes]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    "harm", [Cluster.turn_silent, lambda cluster: (cluster.turn_silent(), cluster.begin_anew())], ids=["silent", "anew"]
)
@pytest.mark.parametrize("reports", [0, 2])
def test_what_a_cluster_meets_does_no_lasting_harm(
    harm: Callable[[Cluster], object], reports: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Cluster] = []
    make = Cluster.__init__

    def note(self: Cluster, world: World, trouble: Trouble, chance: random.Random) -> None:
        make(self, world, trouble, chance)
        made.append(self)
        world.after(2_000, lambda: harm(self))

    monkeypatch.setattr(Cluster, "__init__", note)
    trouble = replace(NONE, cluster=True, boards=2, workers=2, reports=reports, unknown=0.3, roams=0.3, restarts=3)
    for seed in range(5):
        simulation = Simulation(seed, trouble=trouble)
        simulation.run()
        assert simulation.counts["registrations"] >= 2
    assert len(made) >= 5
    assert not any(one.silent for one in made)


def test_one_seed_of_ten_is_a_cluster_and_nothing_else_is_drawn_otherwise() -> None:
    drawn = [Trouble.draw(seed) for seed in range(500)]
    assert 0.5 * CLUSTERS < sum(one.cluster for one in drawn) / len(drawn) < 2 * CLUSTERS
    assert not any(one.sqlite for one in drawn if one.cluster)
    assert all(one.unknown == one.silences == 0 for one in drawn if not one.cluster)
