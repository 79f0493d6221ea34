"""`tools/board`: shows how an emulated board registers, and checks every claim that it makes."""

import random
import shutil
import tempfile
import time
from pathlib import Path

import click

from dpe_coap.errors import LocalError
from dpe_tools import terminal
from dpe_tools.board_measuring import least_heap, measure
from dpe_tools.board_stage import BoardStage
from dpe_tools.cli import boundary
from dpe_tools.emulator import HEAP, HEAP_X25519

IMEI = "00101700000001"
"""A TAC of the reporting body for tests (00). No device on the market has this IMEI."""
MESSAGES = ["REQUEST", "RESPONSE", "SUCCESS", "CONFIRM"]
LONGEST_PAUSE = 0.03
"""Seconds between the command to register and the reset, at most. A registration takes about as long."""


class Show:
    """The scenes, in order. Each claim is checked; a wrong one ends the show."""

    def __init__(self, directory: Path, firmware: Path) -> None:
        self._out = terminal.console()
        self._said: list[str] = []
        self._claims = 0
        self._stage = BoardStage(directory, firmware, self._says)

    def run(self) -> None:
        """Play all scenes."""
        start = time.monotonic()
        self._out.print("The DPE Client on an emulated board: Arm Cortex-M3 (MPS2-AN385)", style="bold")
        self._print(f"MicroPython's heap there has {HEAP} bytes, {HEAP_X25519} for X25519.")
        with self._stage:
            self._new_board()
            self._reboots()
            self._x25519()
            self._cut_before_confirm()
        took = time.monotonic() - start
        self._out.print(f"\nEverything shown was checked: {self._claims} checks, {took:.1f} s.", style="bold green")

    def _new_board(self) -> None:
        self._scene("1. A new board gets its credential over its console, and registers over Ethernet")
        made = self._stage.provision(IMEI)
        client_id = self._stage.registered()
        self._messages()
        self._check("the four messages passed", [passed.name for passed in self._stage.passed] == MESSAGES)
        self._check("the server's database has the session with that Client ID", self._stage.sessions() == [client_id])
        shown = "\n".join(self._said)
        secret = made.device_key.hex() in shown or made.handle.hex() in shown
        self._check("the board has shown neither its key nor its handle", not secret)
        self._client_id = client_id

    def _reboots(self) -> None:
        self._scene("2. Its reset button is pressed, and then its power is cut")
        self._stage.passed.clear()
        self._stage.board.reset()
        self._check("after the reset it is registered as before", self._stage.registered() == self._client_id)
        self._stage.board.power_off()
        self._stage.board.power_on()
        self._check("after the power cut, too", self._stage.registered() == self._client_id)
        self._check("it has sent nothing for that", self._stage.passed == [])

    def _x25519(self) -> None:
        self._scene("3. With more heap it registers anew, with X25519")
        self._stage.board.power_off()
        self._stage.board.heap = HEAP_X25519
        self._stage.board.power_on()
        self._stage.registered()
        self._stage.board.type("register 2")
        client_id = self._stage.registered()
        self._messages()
        self._check("the four messages passed", [passed.name for passed in self._stage.passed] == MESSAGES)
        self._check("the Client ID is another", client_id != self._client_id)
        self._check("the server has this session in place of the first", self._stage.sessions() == [client_id])

    def _cut_before_confirm(self) -> None:
        self._scene("4. Its power is cut when the server has committed the session, and CONFIRM is on its way")
        self._stage.board.power_off()
        self._stage.board.heap = HEAP
        self._stage.board.power_on()
        self._stage.registered()
        self._stage.passed.clear()
        self._stage.cut_power_at("CONFIRM")
        self._stage.board.type("register")
        self._stage.wait_for_cut()
        [client_id] = self._stage.sessions()
        self._print(f"the server has the session {client_id}; the board does not know")
        self._stage.board.power_on()
        self._check("it comes back where it was", self._stage.board.wait_for("started, ") == "CONFIRMING")
        self._check("it is registered with that Client ID", self._stage.registered() == client_id)
        self._messages()
        success, confirm, again, same = self._stage.passed[2:]
        self._check("it has sent the same SUCCESS once more", success.coap.payload == again.coap.payload)
        self._check("under a new message ID", success.coap.message_id != again.coap.message_id)
        self._check("the server has answered with the same CONFIRM", confirm.coap.payload == same.coap.payload)
        self._check("the server has one session", self._stage.sessions() == [client_id])

    def _says(self, line: str) -> None:
        self._said.append(line)
        self._out.print(f"  {line}", style="cyan")

    def _messages(self) -> None:
        for passed in self._stage.passed:
            arrow = "board -> server" if passed.from_board else "board <- server"
            self._print(f"  {arrow}  {passed.name:<9} {len(passed.datagram):3d} bytes  {passed.coap.title}")

    def _scene(self, title: str) -> None:
        self._out.print(f"\n{title}", style="bold underline")

    def _print(self, text: str) -> None:
        self._out.print(text)

    def _check(self, claim: str, holds: bool) -> None:
        if not holds:
            raise LocalError(f"the board did not do as it says: {claim}", hint="this is a defect: report it")
        self._claims += 1
        self._out.print(f"checked: {claim}", style="green")


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


@click.command()
@click.argument("firmware", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--measure", "measuring", is_flag=True, help="Count the instructions of a registration, and its heap.")
@click.option("--resets", default=0, metavar="N", help="Reset the board N times while it registers, at random points.")
@click.option("--seed", default=1, show_default=True, metavar="N", help="Which random points.")
def main(firmware: Path, measuring: bool, resets: int, seed: int) -> None:
    """Register an emulated board with a throw-away server, and cut its power meanwhile."""
    directory = Path(tempfile.mkdtemp(prefix="dpe-board-"))
    try:
        with boundary():
            if measuring or resets:
                with BoardStage(directory, firmware, count_instructions=measuring) as stage:
                    stage.provision(IMEI)
                    stage.registered()
                    if measuring:
                        for suite in (1, 2):
                            cost = measure(stage, suite)
                            click.echo(
                                f"suite {suite}: {cost.instructions:,} instructions, and {cost.network:,} for the"
                                f" network, {cost.heap} bytes of heap"
                            )
                    if resets:
                        middle = reset_at_random(stage, resets, seed)
                        click.echo(f"{resets} resets, {middle} of them with an open session: registered after each")
                    if measuring:
                        for suite in (1, 2):
                            click.echo(f"suite {suite}: the whole board in a heap of {least_heap(stage, suite)} bytes")
            else:
                Show(directory, firmware).run()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
