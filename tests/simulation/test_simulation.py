"""Some hundred seeds of the simulation. A seed that fails says how to run it again, with a trace."""

from pathlib import Path

import pytest

from tests.simulation.__main__ import replay
from tests.simulation.simulation import Simulation

SEEDS = 400
GROUPS = 8


@pytest.mark.parametrize("group", range(GROUPS))
def test_seeds(tmp_path: Path, group: int) -> None:
    for seed in range(group, SEEDS, GROUPS):
        directory = tmp_path / str(seed)
        directory.mkdir()
        try:
            Simulation(seed, directory).run()
        except Exception as error:
            error.add_note(f"seed {seed}; again, with a trace: {replay(seed)}")
            raise


def test_a_seed_repeats_itself(tmp_path: Path) -> None:
    runs: list[list[str]] = [[], []]
    for number, lines in enumerate(runs):
        directory = tmp_path / str(number)
        directory.mkdir()
        Simulation(7, directory, lines.append).run()
    assert len(runs[0]) > 50
    assert runs[0] == runs[1]
