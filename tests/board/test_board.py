"""The DPE Client on an emulated Cortex-M3 board, with the real server: over reboots, and wherever its power is cut."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from dpe_tools import emulator
from dpe_tools.board import reset_at_random
from dpe_tools.board_stage import BoardStage
from dpe_tools.faults import Faults
from tests.board.conftest import IMEI

# The first test that needs the firmware builds it.
pytestmark = [pytest.mark.board, pytest.mark.timeout(480)]

MESSAGES = ["REQUEST", "RESPONSE", "SUCCESS", "CONFIRM"]


def names(stage: BoardStage) -> list[str]:
    return [passed.name for passed in stage.passed]


def sizes(stage: BoardStage) -> list[int]:
    return [len(passed.datagram) for passed in stage.passed]


def make_room_for_x25519(stage: BoardStage) -> None:
    stage.board.power_off()
    stage.board.heap = emulator.HEAP_X25519
    stage.board.power_on()
    stage.registered()


def write(stage: BoardStage, offset: int, data: bytes) -> None:
    with stage.board.memory.open("r+b") as memory:
        memory.seek(offset)
        memory.write(data)


def seed(stage: BoardStage) -> bytes:
    with stage.board.memory.open("rb") as memory:
        memory.seek(emulator.SEED_OFFSET)
        return memory.read(32)


def test_a_registration_runs_whole_in_a_heap_of_8_kb(new_stage: Callable[..., BoardStage]) -> None:
    stage = new_stage()
    stage.provision(IMEI)
    assert stage.board.heap == 8192
    heap = stage.board.wait_for("heap: ").split()
    assert heap[1:] == ["bytes,", heap[2], "of", "them", "free"]
    assert int(heap[2]) < int(heap[0]) < 8192  # the heap's own tables are not in it
    for n in range(50):
        client_id = stage.registered()
        if n % 15 == 14:  # a server registers one device 20 times a minute
            stage.restart_server()
        stage.board.type("register")
    assert names(stage)[:200] == MESSAGES * 50
    stage.registered()
    stage.board.reset()
    stage.registered()
    assert stage.sessions() != [client_id]


def test_a_new_board_registers(stage: BoardStage) -> None:
    assert names(stage) == MESSAGES
    assert sizes(stage) == [85, 83, 56, 40]
    stage.board.type("")
    assert [stage.registered()] == stage.sessions()


def test_a_board_registers_with_x25519(stage: BoardStage) -> None:
    make_room_for_x25519(stage)
    before = stage.sessions()
    stage.passed.clear()
    stage.board.type("register 2")
    client_id = stage.registered()
    assert names(stage) == MESSAGES
    assert sizes(stage) == [120, 118, 56, 40]
    assert stage.sessions() == [client_id]
    assert before != [client_id]


def test_the_registration_survives_a_reset_and_a_power_cut(stage: BoardStage) -> None:
    [client_id] = stage.sessions()
    stage.passed.clear()
    stage.board.reset()
    assert stage.board.wait_for("started, ") == "REGISTERED"
    assert stage.registered() == client_id
    stage.board.power_off()
    stage.board.power_on()
    assert stage.board.wait_for("started, ") == "REGISTERED"
    assert stage.registered() == client_id
    assert stage.passed == []


@pytest.mark.parametrize("suite", [1, 2])
def test_power_cut_between_success_and_confirm(stage: BoardStage, suite: int) -> None:
    # The server has committed: the board repeats SUCCESS and gets the same CONFIRM.
    if suite == 2:
        make_room_for_x25519(stage)
    stage.passed.clear()
    stage.cut_power_at("CONFIRM")
    stage.board.type(f"register {suite}")
    stage.wait_for_cut()
    committed = stage.sessions()
    stage.board.power_on()
    assert stage.board.wait_for("started, ") == "CONFIRMING"
    assert [stage.registered()] == stage.sessions() == committed
    assert names(stage) == [*MESSAGES, "SUCCESS", "CONFIRM"]
    success, confirm, again, same = [passed.coap for passed in stage.passed[2:]]
    assert success.payload == again.payload
    assert success.message_id != again.message_id
    assert confirm.payload == same.payload


def test_reset_between_success_and_confirm(stage: BoardStage) -> None:
    # As above, with a power cut of no length: the reset button. The server's answer finds a board that starts.
    stage.passed.clear()
    stage.cut_power_at("CONFIRM")
    stage.board.type("register")
    stage.wait_for_cut()
    stage.board.power_on()
    stage.board.reset()
    assert [stage.registered()] == stage.sessions()


def test_power_cut_when_success_is_on_its_way(stage: BoardStage) -> None:
    # SUCCESS reaches the server all the same; the board cannot know.
    stage.cut_power_at("SUCCESS")
    stage.board.type("register")
    stage.wait_for_cut()
    stage.board.power_on()
    assert stage.board.wait_for("started, ") == "CONFIRMING"
    assert [stage.registered()] == stage.sessions()


@pytest.mark.parametrize("message", ["REQUEST", "RESPONSE"])
def test_power_cut_before_there_is_anything_to_keep(stage: BoardStage, message: str) -> None:
    # The board still has the registration from before, and so has the server.
    before = stage.sessions()
    stage.cut_power_at(message)
    stage.board.type("register")
    stage.wait_for_cut()
    stage.board.power_on()
    assert stage.board.wait_for("started, ") == "REGISTERED"
    assert [stage.registered()] == stage.sessions() == before


def test_a_new_board_whose_power_is_cut_starts_over(new_stage: Callable[..., BoardStage]) -> None:
    stage = new_stage()
    stage.cut_power_at("RESPONSE")
    stage.provision(IMEI)
    stage.wait_for_cut()
    assert stage.sessions() == []
    stage.board.power_on()
    assert stage.board.wait_for("started, ") == "IDLE"
    assert [stage.registered()] == stage.sessions()
    assert names(stage) == ["REQUEST", "RESPONSE", *MESSAGES]
    assert stage.passed[0].coap.payload != stage.passed[2].coap.payload


def test_resets_at_random_points(stage: BoardStage) -> None:
    # Each time the board and the server agree in the end, on one session.
    assert reset_at_random(stage, 200, seed=467) > 0


def test_a_bad_link(new_stage: Callable[..., BoardStage]) -> None:
    stage = new_stage(faults=Faults(duplication=1.0, reordering=0.5, hold=0.02))
    stage.provision(IMEI)
    for _ in range(10):
        assert [stage.registered()] == stage.sessions()
        stage.board.type("register")
    assert [stage.registered()] == stage.sessions()


@pytest.mark.parametrize("slot", [1, 2])
def test_a_damaged_record_counts_as_none(stage: BoardStage, slot: int) -> None:
    # What was saved last, when it was confirmed, is in the first slot.
    stage.board.power_off()
    write(stage, 512 * slot + 100, b"damage")
    stage.board.power_on()
    assert stage.board.wait_for("started, ") == ("IDLE" if slot == 1 else "REGISTERED")
    assert [stage.registered()] == stage.sessions()


@pytest.mark.parametrize("damage", [b"\xff\xff", b"\0\0", b"\0\1"], ids=["too long", "empty", "cut short"])
def test_a_damaged_credential_is_asked_for_again(stage: BoardStage, damage: bytes) -> None:
    stage.board.power_off()
    write(stage, 512 * 3, damage)
    stage.board.power_on()
    stage.board.wait_for("no credential")


def test_no_start_draws_what_another_drew(new_stage: Callable[..., BoardStage]) -> None:
    # The clock, which counts instructions, is the same at each start.
    stage = new_stage(count_instructions=True)
    seeds = {seed(stage)}
    stage.provision(IMEI)
    stage.registered()
    for _ in range(5):
        stage.board.power_off()
        stage.board.power_on()
        stage.registered()
        stage.board.type("register")
        stage.registered()
        seeds.add(seed(stage))
    assert len(seeds) == 6
    requests = [passed for passed in stage.passed if passed.name == "REQUEST"]
    assert len(requests) == 6
    assert len({passed.coap.payload[-32:-16] for passed in requests}) == 6
    assert len({passed.datagram[2:6] for passed in requests}) == 6  # message ID and CoAP token


def test_a_board_without_a_seed_does_nothing(new_stage: Callable[..., BoardStage]) -> None:
    stage = new_stage()
    write(stage, emulator.SEED_OFFSET, bytes(32))
    stage.provision(IMEI)
    with pytest.raises(LocalError, match="no seed"):
        stage.registered()
    assert stage.passed == []


@pytest.mark.parametrize(
    "line", ["", "provision", "provision 00", "provision a1 a2", "provision zz", "register", "\N{SNOWMAN}"]
)
def test_what_is_no_credential_is_asked_for_again(new_stage: Callable[..., BoardStage], line: str) -> None:
    stage = new_stage()
    stage.board.power_on()
    stage.board.wait_for("no credential")
    stage.board.type(line)
    stage.board.wait_for("no credential")
    assert stage.passed == []


def test_a_board_without_firmware_is_an_error(tmp_path: Path, firmware: Path) -> None:
    with (
        BoardStage(tmp_path, tmp_path / "none.elf") as stage,
        pytest.raises(LocalError, match=r"stopped.* last words: .*none\.elf"),
    ):
        stage.board.power_on()


def test_a_board_that_says_nothing_is_an_error(stage: BoardStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "SAYS_SECONDS", 0)
    with pytest.raises(LocalError, match="did not say 'anything' in 0 s"):
        stage.board.wait_for("anything")
