"""Tells what happens on a stage, scene by scene, and checks each claim: a wrong one ends it all."""

from dpe_coap import messages
from dpe_coap.errors import LocalError
from dpe_tools import annotate, terminal
from dpe_tools.stage import Seen


class Narrator:
    """Prints to a terminal or to a file."""

    def __init__(self) -> None:
        self._out = terminal.console()
        self._checks: list[str] = []
        self.claims = 0
        """How many claims were checked."""

    def scene(self, title: str) -> None:
        """Begin a scene."""
        self._out.print(f"\n{title}", style="bold underline")

    def say(self, text: str, style: str = "", end: str = "\n") -> None:
        """Print a line, or a part of one."""
        self._out.print(text, style=style, end=end)

    def check(self, claim: str, holds: bool) -> None:
        """Note a claim that holds. LocalError if it does not."""
        if not holds:
            raise LocalError(f"the demo did not go as it says: {claim}", hint="this is a defect of dpe-coap: report it")
        self._checks.append(claim)
        self.claims += 1

    def tell_checks(self) -> None:
        """List what has been checked since the last list."""
        self.say("checked:", "green")
        for claim in self._checks:
            self.say(f"  {claim}", "green")
        self._checks.clear()

    def message(self, seen: Seen) -> None:
        """Print a message of a registration with its fields, under the names of the OMA document."""
        message = messages.decode(seen.coap.payload)
        title = annotate.TITLES[annotate.message_type(message)]
        sizes = f"{len(seen.coap.payload)} bytes, {len(seen.datagram)} with CoAP"
        self._arrow(seen, f"{title:<22}")
        self.say(f"{sizes:<23} {seen.coap.title}", "dim")
        for name, meaning in annotate.summary(message):
            self.say(f"      {name:<15} {meaning}")

    def line(self, seen: Seen, name: str = "") -> None:
        """Print one line for a datagram, and what became of it."""
        self.say(f"  {seen.at:6.3f} s ", "dim", end="")
        name = name or annotate.name_of(seen.coap.payload) or seen.coap.title
        self._arrow(seen, f"{name:<22}", indent="")
        self.say(f"{len(seen.datagram):3d} bytes", end="")
        self.say("  lost" if seen.lost else "", "bold red", end="")
        self.say("  the same bytes again" if seen.repeated else "", "yellow")

    def _arrow(self, seen: Seen, name: str, indent: str = "  ") -> None:
        arrow = "device -> server" if seen.from_client else "device <- server"
        self.say(f"{indent}{arrow}  ", "cyan", end="")
        self.say(name, "bold", end=" ")
