"""`tools/board`: shows how an emulated board registers, and checks every claim that it makes."""

import random
import shutil
import tempfile
import time
from pathlib import Path

import click

from dpe_coap.errors import LocalError
from dpe_tools.board_measuring import AES, WHOLE, least_heap, measure, measure_reports
from dpe_tools.board_screen import Screen
from dpe_tools.board_session import COURSE_HEAP, COURSE_LOSS, COURSE_TOTAL_HEAP, POLICY, SessionScenes, course
from dpe_tools.board_stage import BoardStage
from dpe_tools.cli import boundary
from dpe_tools.emulator import HEAP, HEAP_SESSION, HEAP_X25519
from dpe_tools.faults import Faults

IMEI = "00101700000001"
"""A TAC of the reporting body for tests (00). No device on the market has this IMEI."""
MESSAGES = ["REQUEST", "RESPONSE", "SUCCESS", "CONFIRM"]
LONGEST_PAUSE = 0.03
"""Seconds between the command to register and the reset, at most. A registration takes about as long."""


class Show:
    """The scenes of the registration, in order; board_session.py has those of the session."""

    def __init__(self, directory: Path, firmware: Path) -> None:
        self._screen = Screen()
        self._stage = BoardStage(directory, firmware, self._screen.says, policy=POLICY)

    def run(self) -> None:
        """Play all scenes."""
        start = time.monotonic()
        self._screen.say("The DPE Client on an emulated board: Arm Cortex-M3 (MPS2-AN385)", "bold")
        self._screen.say(
            f"MicroPython's heap there has {HEAP} bytes, {HEAP_X25519} for X25519, {HEAP_SESSION} for the session."
        )
        with self._stage:
            self._new_board()
            self._reboots()
            self._x25519()
            self._cut_before_confirm()
            SessionScenes(self._stage, self._screen).play(5)
        took = time.monotonic() - start
        self._screen.say(f"\nEverything shown was checked: {self._screen.claims} checks, {took:.1f} s.", "bold green")

    def _new_board(self) -> None:
        self._screen.scene("1. A new board gets its credential over its console, and registers over Ethernet")
        made = self._stage.provision(IMEI)
        client_id = self._stage.registered()
        self._screen.messages(self._stage.passed)
        self._screen.check("the four messages passed", [passed.name for passed in self._stage.passed] == MESSAGES)
        self._screen.check(
            "the server's database has the session with that Client ID", self._stage.sessions() == [client_id]
        )
        shown = "\n".join(self._screen.said)
        secret = made.device_key.hex() in shown or made.handle.hex() in shown
        self._screen.check("the board has shown neither its key nor its handle", not secret)
        self._client_id = client_id

    def _reboots(self) -> None:
        self._screen.scene("2. Its reset button is pressed, and then its power is cut")
        self._stage.passed.clear()
        self._stage.board.reset()
        self._screen.check("after the reset it is registered as before", self._stage.registered() == self._client_id)
        self._stage.board.power_off()
        self._stage.board.power_on()
        self._screen.check("after the power cut, too", self._stage.registered() == self._client_id)
        self._screen.check("it has sent nothing for that", self._stage.passed == [])

    def _x25519(self) -> None:
        self._screen.scene("3. With more heap it registers anew, with X25519")
        self._stage.board.power_off()
        self._stage.board.heap = HEAP_X25519
        self._stage.board.power_on()
        self._stage.registered()
        self._stage.board.type("register 2")
        client_id = self._stage.registered()
        self._screen.messages(self._stage.passed)
        self._screen.check("the four messages passed", [passed.name for passed in self._stage.passed] == MESSAGES)
        self._screen.check("the Client ID is another", client_id != self._client_id)
        self._screen.check("the server has this session in place of the first", self._stage.sessions() == [client_id])

    def _cut_before_confirm(self) -> None:
        self._screen.scene("4. Its power is cut when the server has committed the session, and CONFIRM is on its way")
        self._stage.board.power_off()
        self._stage.board.heap = HEAP
        self._stage.board.power_on()
        self._stage.registered()
        self._stage.passed.clear()
        self._stage.cut_power_at("CONFIRM")
        self._stage.board.type("register")
        self._stage.wait_for_cut()
        [client_id] = self._stage.sessions()
        self._screen.say(f"the server has the session {client_id}; the board does not know")
        self._stage.board.power_on()
        self._screen.check("it comes back where it was", self._stage.board.wait_for("started, ") == "CONFIRMING")
        self._screen.check("it is registered with that Client ID", self._stage.registered() == client_id)
        self._screen.messages(self._stage.passed)
        success, confirm, again, same = self._stage.passed[2:]
        self._screen.check("it has sent the same SUCCESS once more", success.coap.payload == again.coap.payload)
        self._screen.check("under a new message ID", success.coap.message_id != again.coap.message_id)
        self._screen.check("the server has answered with the same CONFIRM", confirm.coap.payload == same.coap.payload)
        self._screen.check("the server has one session", self._stage.sessions() == [client_id])


def reset_at_random(stage: BoardStage, times: int, seed: int) -> int:
    """Let a provisioned board register so often, each time with a reset or a power cut at a random point.

    Returns how often that hit the middle of a registration, so that the board came back unregistered or with another
    Client ID. Raises LocalError if the board ends unregistered, or the server has any session but the board's.
    """
    draw = random.Random(seed)  # noqa: S311  # it must repeat
    in_the_middle = 0
    stage.board.type("register")  # a measurement has left the server with another session
    stage.registered()
    for number in range(times):
        stage.board.type("register")
        time.sleep(draw.uniform(0, LONGEST_PAUSE))
        if draw.random() < 0.5:
            stage.board.reset()
        else:
            stage.board.power_off()
            stage.board.power_on()
        in_the_middle += stage.board.wait_for("started, ") != "REGISTERED"
        client_id = stage.registered()
        if stage.sessions() != [client_id]:
            raise LocalError(f"reset {number} of seed {seed}: board and server do not agree on the session")
    return in_the_middle


def _measure(stage: BoardStage) -> None:
    for suite in (1, 2):
        cost = measure(stage, suite)
        click.echo(
            f"suite {suite}: {cost.instructions:,} instructions, and {cost.network:,} for the network,"
            f" {cost.heap} bytes of heap"
        )
    for aes in AES:
        report = measure_reports(stage, aes)
        click.echo(
            f"AES in {aes}: {report.first:,} instructions for the first report, {report.later:,} for a later one"
        )
    for what, commands in WHOLE.items():
        click.echo(f"{what}: the whole board in a heap of {least_heap(stage, commands)} bytes")


def _run_course(directory: Path, firmware: Path, registrations: int, seed: int) -> None:
    with BoardStage(directory, firmware, faults=Faults(loss=COURSE_LOSS), policy=POLICY, seed=seed) as stage:
        stage.board.heap = COURSE_TOTAL_HEAP
        stage.provision(IMEI)
        stage.registered()
        reports = course(stage, registrations)
    click.echo(
        f"{registrations} of {registrations} registrations and {reports:,} of {reports:,} reports of six properties,"
        f" in {COURSE_HEAP:,} bytes of heap, with {COURSE_LOSS:.0%} of the datagrams lost"
    )


@click.command()
@click.argument("firmware", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--measure", "measuring", is_flag=True, help="Count the instructions of registrations and reports.")
@click.option("--resets", default=0, metavar="N", help="Reset the board N times while it registers, at random points.")
@click.option("--course", "courses", default=0, metavar="N", help="Register N times in little memory, on a bad link.")
@click.option("--seed", default=1, show_default=True, metavar="N", help="Which random points, and which losses.")
def main(firmware: Path, measuring: bool, resets: int, courses: int, seed: int) -> None:
    """Register an emulated board with a throw-away server, have it report, and cut its power meanwhile."""
    directory = Path(tempfile.mkdtemp(prefix="dpe-board-"))
    try:
        with boundary():
            if measuring or resets:
                with BoardStage(directory, firmware, count_instructions=measuring, policy=POLICY) as stage:
                    stage.provision(IMEI)
                    stage.registered()
                    if resets:
                        middle = reset_at_random(stage, resets, seed)
                        click.echo(f"{resets} resets, {middle} of them with an open session: registered after each")
                    if measuring:
                        _measure(stage)
            elif courses:
                _run_course(directory, firmware, courses, seed)
            else:
                Show(directory, firmware).run()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
