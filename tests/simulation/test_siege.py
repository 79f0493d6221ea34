"""What those can do who only send: recordings, forged answers, copies, and the holder of a key.

Each attempt to register is counted, and each exchange of a session.
"""

from collections import Counter
from dataclasses import replace

import pytest

from dpe_tools.simulation import mishaps
from dpe_tools.simulation.simulation import Simulation
from dpe_tools.simulation.trouble import ERASED, NONE, OLDER, SAME, Siege

SEEDS = 12
EARLIER = 6
"""So often a board registers before the siege, and is recorded."""


def besieged(kind: str, *, recordings: int = 8, reacts: bool = True, injects: bool = False) -> list[Counter[str]]:
    """Lay siege to one board, twice, in each of some seeds."""
    counts = []
    for seed in range(SEEDS):
        siege = Siege(kind, recordings, reacts=reacts, injects=injects, times=2)
        simulation = Simulation(seed, trouble=replace(NONE, restarts=EARLIER, siege=siege))
        simulation.run()
        assert simulation.counts["attempts under siege"] > 0
        counts.append(simulation.counts)
    return counts


def lost(counts: list[Counter[str]]) -> list[int]:
    """How many attempts each seed has lost."""
    return [one["attempts lost"] for one in counts]


@pytest.mark.parametrize("recordings", [4, 8])
@pytest.mark.parametrize("reacts", [False, True])
def test_recordings_of_older_handles_cost_no_attempt(recordings: int, reacts: bool) -> None:
    assert lost(besieged(OLDER, recordings=recordings, reacts=reacts)) == [0] * SEEDS


def test_recordings_of_the_very_same_handle_win_one_round_within_the_round_trip() -> None:
    won = lost(besieged(SAME))
    assert max(won) == 2, "one in each of two sieges"
    assert sum(one > 0 for one in won) >= 3
    assert lost(besieged(SAME, reacts=False)) == [0] * SEEDS


def test_an_erased_board_loses_a_round_each_time_to_who_reacts_within_the_round_trip_and_only_to_these() -> None:
    won = lost(besieged(ERASED))
    assert max(won) == 2, "one for each time"
    assert sum(one > 0 for one in won) > SEEDS / 2
    assert lost(besieged(ERASED, reacts=False)) == [0] * SEEDS


def test_forged_answers_that_come_first_cost_no_attempt() -> None:
    counts = besieged(OLDER, recordings=0, injects=True)
    assert lost(counts) == [0] * SEEDS
    assert sum(one["client BACKOFF"] for one in counts) > SEEDS / 2, "hints have set the back-off"


def test_the_holder_of_a_key_meets_the_bound_of_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mishaps, "DRAWN", (lambda _: None,))
    for seed in range(4):
        simulation = Simulation(seed, trouble=replace(NONE, hoards=2))
        simulation.run()
        assert simulation.counts["limited"] > 0
        assert simulation.counts["client REGISTERED"] > 0


def reporting(*, workers: int = 1, injects: bool = False, copies: int = 0, first: bool = False) -> list[Counter[str]]:
    """Lay siege to one board that reports, in each of some seeds."""
    counts = []
    for seed in range(SEEDS):
        siege = Siege(OLDER, 0, reacts=False, injects=injects, times=1, reports=3, copies=copies, first=first)
        simulation = Simulation(seed, trouble=replace(NONE, reports=2, workers=workers, siege=siege))
        simulation.run()
        assert simulation.counts["exchanges under siege"] > 0
        counts.append(simulation.counts)
    return counts


def answers_lost(counts: list[Counter[str]]) -> int:
    return sum(one["answers lost"] for one in counts)


def test_forged_answers_that_come_first_cost_no_report() -> None:
    counts = reporting(injects=True)
    assert answers_lost(counts) == 0
    assert sum(one["client BACKOFF"] for one in counts) > SEEDS, "hints have set the back-off"


def test_a_few_copies_cost_nothing_where_one_worker_answers() -> None:
    """It remembers its answer for four repeats."""
    assert answers_lost(reporting(copies=2, first=True)) == 0


@pytest.mark.parametrize(("copies", "workers"), [(12, 1), (2, 2)])
def test_copies_that_come_first_cost_answers_but_no_report(copies: int, workers: int) -> None:
    """More than one worker repeats, or at another worker. That each is accepted at once, the run has seen."""
    assert answers_lost(reporting(copies=copies, first=True, workers=workers)) > 0
