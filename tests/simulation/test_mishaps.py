"""Each mishap alone, and the end of all trouble."""

from dataclasses import replace

import pytest

from dpe_tools.simulation import mishaps
from dpe_tools.simulation.mishaps import COUNTED, DRAWN, OF_SESSIONS, Mishap
from dpe_tools.simulation.scene import Scene
from dpe_tools.simulation.simulation import Simulation
from dpe_tools.simulation.trouble import NONE, Trouble

TROUBLE = replace(NONE, mishaps=3, boards=2, workers=2)


ALL = dict.fromkeys((*DRAWN, *(mishap for _, mishap in COUNTED)))
CASES = [(mishap, 0) for mishap in ALL] + [(mishap, 2) for mishap in dict.fromkeys((*ALL, *OF_SESSIONS))]
"""Each mishap, and how often what a board reports changes beside it."""


@pytest.mark.parametrize("sqlite", [False, True])
@pytest.mark.parametrize(("mishap", "reports"), CASES)
def test_a_mishap_alone_does_no_lasting_harm(
    mishap: Mishap, reports: int, sqlite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = 0

    def counted(scene: Scene) -> None:
        nonlocal happened
        happened += 1
        mishap(scene)

    monkeypatch.setattr(mishaps, "DRAWN", (counted,))
    monkeypatch.setattr(mishaps, "OF_SESSIONS", ())
    for seed in range(5):
        simulation = Simulation(seed, trouble=replace(TROUBLE, reports=reports, sqlite=sqlite))
        simulation.run()
        assert simulation.counts["registrations"] >= 2
    assert happened == 15


@pytest.mark.parametrize("seed", range(20))
def test_the_end_of_the_trouble_leaves_no_probability(seed: int) -> None:
    trouble = Trouble.draw(seed)
    trouble.end()
    of_none = {name: value for name, value in vars(NONE).items() if isinstance(value, float)}
    assert {name: getattr(trouble, name) for name in of_none} == of_none
    assert set(of_none) > {"forges", "exhaustion", "power_cuts", "flash_fails", "crashes", "roams", "withheld"}
    assert not any(of_none.values())
    assert trouble.commits == NONE.commits
