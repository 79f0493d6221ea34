"""What a registration costs a Cortex-M3: ceilings, a little above what was measured when they were set.

With X25519 that is two operations of 35 million instructions each, the rest, and some 50 million for the garbage of
long numbers, which must be collected some hundred times in a heap of this size.
"""

from collections.abc import Callable

import pytest

from dpe_tools.board_measuring import Cost, measure, try_to_register
from dpe_tools.board_stage import BoardStage
from dpe_tools.emulator import MAX_HEAP
from tests.board.conftest import IMEI

pytestmark = [pytest.mark.board, pytest.mark.timeout(480)]


@pytest.mark.parametrize(
    ("suite", "ceiling"),
    [
        (1, Cost(instructions=1_400_000, network=1_000_000, heap=3_300)),
        (2, Cost(instructions=125_000_000, network=1_000_000, heap=4_500)),
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


def test_x25519_costs_no_more(new_stage: Callable[..., BoardStage]) -> None:
    """With so much heap that there are no collections."""
    stage = new_stage(count_instructions=True)
    stage.board.heap = MAX_HEAP
    stage.provision(IMEI)
    stage.registered()
    without, twice = (try_to_register(stage, suite, MAX_HEAP) for suite in (1, 2))
    assert without is not None
    assert twice is not None
    assert 0 < without.instructions <= 1_000_000
    assert 0 < twice.instructions - without.instructions <= 2 * 35_000_000
