"""The DPE session of an emulated Cortex-M3 board with the real server: reports, policies, power cuts, little memory."""

import random
import time
from collections.abc import Callable

import pytest

from dpe_server.session.shares import BURST
from dpe_tools.board_session import (
    COURSE_HEAP,
    COURSE_LOSS,
    COURSE_TOTAL_HEAP,
    EMPTY_ANSWER,
    MUCH_POLICY,
    POLICY,
    QUIET_POLICY,
    course,
    properties,
    reported,
)
from dpe_tools.board_stage import PROTECTED, PROTECTED_ANSWER, BoardStage
from dpe_tools.emulator import HEAP_SESSION
from dpe_tools.faults import Faults
from tests.board.conftest import IMEI

# The first test that needs the firmware builds it.
pytestmark = [pytest.mark.board, pytest.mark.timeout(480)]

RESETS = 40


def start(stage: BoardStage, heap: int = HEAP_SESSION) -> BoardStage:
    """Return a stage whose board is registered, with so much heap."""
    stage.board.heap = heap
    stage.provision(IMEI)
    stage.registered()
    stage.passed.clear()
    return stage


@pytest.fixture
def stage(new_stage: Callable[..., BoardStage]) -> BoardStage:
    """A stage whose board is registered, with the heap of a session."""
    return start(new_stage(policy=POLICY))


def sizes(stage: BoardStage) -> list[int]:
    return [len(passed.datagram) for passed in stage.passed]


def test_reports_under_oscore_and_hears_what_to_report(stage: BoardStage) -> None:
    assert reported(stage, 1) == "READY"
    assert stage.properties() == properties(1)
    assert [passed.name for passed in stage.passed] == [PROTECTED, PROTECTED_ANSWER]
    assert sizes(stage)[1] > EMPTY_ANSWER
    assert b"2.1.1" not in stage.passed[0].datagram
    assert reported(stage, 2) == "READY"
    assert stage.properties() == properties(2)
    assert sizes(stage)[3] == EMPTY_ANSWER
    assert [passed.number for passed in stage.passed[::2]] == [257, 258]


def test_a_policy_change_comes_with_the_next_answer(stage: BoardStage) -> None:
    reported(stage, 1)
    stage.change_policy(QUIET_POLICY)
    reported(stage, 2)
    assert sizes(stage)[3] > EMPTY_ANSWER
    reported(stage, 3)
    assert stage.properties() == properties(3) | {0: properties(2)[0], 9: properties(2)[9]}


def test_a_power_cut_between_number_block_and_report(stage: BoardStage) -> None:
    reported(stage, 1)
    stage.board.power_off()
    stage.board.power_on()
    stage.registered()
    stage.board.type("report 2 paused")
    stage.board.wait_for("saved, and waiting")
    stage.board.power_off()
    assert [passed.number for passed in stage.passed[::2]] == [257]
    stage.board.power_on()
    stage.registered()
    assert reported(stage, 3) == "READY"
    assert stage.properties() == properties(3)
    assert [passed.number for passed in stage.passed[::2]] == [257, 769]


def test_a_power_cut_when_the_report_is_on_its_way(stage: BoardStage) -> None:
    # The server gets it, and the board cannot know.
    reported(stage, 1)
    stage.cut_power_at(PROTECTED)
    stage.board.type("report 2")
    stage.wait_for_cut()
    stage.board.power_on()
    stage.registered()
    assert reported(stage, 3) == "READY"
    assert stage.properties() == properties(3)
    numbers = [passed.number for passed in stage.passed if passed.name == PROTECTED]
    assert numbers == [257, 258, 513]


def test_deregisters_and_registers_again_for_a_report(stage: BoardStage) -> None:
    reported(stage, 1)
    stage.board.type("deregister")
    assert stage.board.wait_for("deregister: ") == "IDLE, confirmed"
    assert stage.sessions() == []
    stage.board.type("deregister")
    assert stage.board.wait_for("deregister: ") == "IDLE, not confirmed"
    assert reported(stage, 2) == "READY"
    assert stage.properties() == properties(2)


def test_a_power_cut_while_it_deregisters(stage: BoardStage) -> None:
    # The server has ended the session, and the board goes on with that: it does not register again by itself.
    reported(stage, 1)
    stage.cut_power_at(PROTECTED_ANSWER)
    stage.board.type("deregister")
    stage.wait_for_cut()
    assert stage.sessions() == []
    stage.board.power_on()
    assert stage.board.wait_for("started, ") == "REGISTERED"
    stage.board.type("deregister")
    assert stage.board.wait_for("deregister: ") == "IDLE, not confirmed"
    assert stage.sessions() == []


def test_resets_at_random_points_of_reports(stage: BoardStage) -> None:
    # No number comes twice with other bytes, and in the end the server has what the board says.
    draw = random.Random(467)  # it must repeat
    for number in range(RESETS):
        if number % BURST == 0:
            stage.restart_server()  # it takes no more at once from a session; this forgets what it took
        stage.board.type(f"report {number}")
        time.sleep(draw.uniform(0, 0.02))  # nothing waits for this: it draws the point
        if draw.random() < 0.5:
            stage.board.reset()
        else:
            stage.board.power_off()
            stage.board.power_on()
        stage.board.wait_for("started, ")
    stage.restart_server()
    assert reported(stage, RESETS) == "READY"
    assert stage.properties() == properties(RESETS)
    sent = {(passed.number, passed.coap.payload) for passed in stage.passed if passed.name == PROTECTED}
    assert len({number for number, _ in sent}) == len(sent) > 1


def test_an_answer_longer_than_the_board_takes_is_dropped_and_told(new_stage: Callable[..., BoardStage]) -> None:
    stage = start(new_stage(policy=MUCH_POLICY))
    assert reported(stage, 1).endswith(", dropped {None: 0}")
    assert max(sizes(stage)) > 320
    assert stage.properties() == properties(1)  # the server has it
    stage.change_policy(POLICY)
    stage.board.reset()  # otherwise the same answer would come for as long as the board sends its request again
    stage.registered()
    assert reported(stage, 2) == "READY"
    assert stage.properties() == properties(2)


def test_a_course_in_5000_bytes_of_heap_with_losses(new_stage: Callable[..., BoardStage]) -> None:
    """The short form of `tools/board --course 300`: every registration and every report succeeds."""
    stage = start(new_stage(policy=POLICY, faults=Faults(loss=COURSE_LOSS)), COURSE_TOTAL_HEAP)
    assert COURSE_HEAP == 5000
    assert course(stage, 15) == 50
