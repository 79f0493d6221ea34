"""Shows what the emulated board does, and checks each claim about it: a wrong one ends the show."""

from collections.abc import Iterable

from dpe_coap.errors import LocalError
from dpe_tools import terminal
from dpe_tools.board_stage import Passed


class Screen:
    """Prints to a terminal or to a file. ``said`` has what the board has printed, ``claims`` counts the checks."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.claims = 0
        self._out = terminal.console()

    def scene(self, title: str) -> None:
        """Begin a scene."""
        self.say(f"\n{title}", "bold underline")

    def say(self, text: str, style: str = "") -> None:
        """Print a line."""
        self._out.print(text, style=style)

    def says(self, line: str) -> None:
        """Print a line of the board's console."""
        self.said.append(line)
        self.say(f"  {line}", "cyan")

    def messages(self, passed: Iterable[Passed]) -> None:
        """Print a line for each datagram."""
        for one in passed:
            arrow = "board -> server" if one.from_board else "board <- server"
            name = f"{one.name:<9} {len(one.datagram):3d} bytes  {one.coap.title}"
            self.say(f"  {arrow}  {name}")

    def check(self, claim: str, holds: bool) -> None:
        """Note a claim that holds. LocalError if it does not."""
        if not holds:
            raise LocalError(f"the board did not do as it says: {claim}", hint="this is a defect: report it")
        self.claims += 1
        self.say(f"checked: {claim}", "green")
