"""What a registration costs a Cortex-M3: ceilings, a little above what was measured when they were set.

With X25519 that is two operations of 35 million instructions each, the rest, and as much again as all the rest for the
garbage of long numbers, which must be collected some hundred times in a heap of this size.
"""

from collections.abc import Callable

import pytest

from dpe_tools.board import Cost, measure
from dpe_tools.board_stage import BoardStage
from tests.board.conftest import IMEI

pytestmark = [pytest.mark.board, pytest.mark.timeout(480)]


@pytest.mark.parametrize(
    ("suite", "ceiling"),
    [
        (1, Cost(instructions=1_500_000, network=1_500_000, heap=4_096)),
        (2, Cost(instructions=130_000_000, network=1_500_000, heap=5_000)),
    ],
    ids=["suite 1", "X25519"],
)
def test_a_registration_costs_no_more(new_stage: Callable[..., BoardStage], suite: int, ceiling: Cost) -> None:
    stage = new_stage(count_instructions=True)
    stage.provision(IMEI)
    stage.registered()
    cost = measure(stage, suite)
    assert 0 < cost.instructions <= ceiling.instructions
    assert 0 < cost.network <= ceiling.network
    assert 0 < cost.heap <= ceiling.heap
