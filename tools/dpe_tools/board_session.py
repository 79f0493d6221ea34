"""What `tools/board` shows after a registration, and the long course of registrations and reports on a bad link."""

from dpe_coap.errors import LocalError
from dpe_coap.session_messages import Property, Value
from dpe_tools.board_screen import Screen
from dpe_tools.board_stage import PROTECTED, PROTECTED_ANSWER, BoardStage
from dpe_tools.emulator import HEAP_SESSION

POLICY = """\
[[rule]]
name = "DPE 1.x"
version = "1.*"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 86400

[rule.report]
battery = { st = 5 }
firmware = {}
roaming = {}
free_memory = { st = 1000, pmax = 86400 }
language = {}
signal = { gt = -80 }
"""
QUIET_POLICY = POLICY.replace("st = 5", "lt = 20").replace("gt = -80", "gt = -80, pmin = 3600")
"""Battery only below 20 %, and signal once an hour."""
EMPTY_ANSWER = 19
"""Bytes above UDP of the answer to a device that knows its policies."""
MUCH_POLICY = (
    "".join(f'[property.much{n}]\nwire = "vendor/measurement/much{n:02}"\ntype = "number"\n' for n in range(20))
    + POLICY
    + "".join(f"much{n} = {{ st = 1, pmin = 3600 }}\n" for n in range(20))
)
"""Told with more bytes than the board takes at a time."""
COURSE_HEAP = 5000
"""Bytes of the heap that are free for a course, once everything is imported."""
COURSE_TOTAL_HEAP = 16384
"""Bytes of the heap itself, in which everything is imported, and then all but those 5,000 is taken."""
COURSE_LOSS = 0.2
"""Of the datagrams, in each direction."""
REPORTS = 1000
"""Reports of a course with REGISTRATIONS registrations; those of a shorter one in proportion."""
REGISTRATIONS = 300
IN_A_MINUTE = 15
"""After so many registrations the server starts anew: it registers one device 20 times a minute."""


def properties(number: int) -> dict[Property, Value]:
    """Return what the board reports under a number (device/boards/mps2_an385/reports.py)."""
    odd = number & 1
    return {
        0: 90 - 10 * (number & 7),
        1: f"2.1.{number}",
        2: bool(odd),
        3: 2000 * (number & 15),
        4: "en" if odd else "de",
        9: -60 - 40 * odd,
    }


def reported(stage: BoardStage, number: int) -> str:
    """Have the board report, and return what it says of that."""
    stage.board.type(f"report {number}")
    return stage.board.wait_for("report: ")


class SessionScenes:
    """Plays with a board that is registered."""

    def __init__(self, stage: BoardStage, screen: Screen) -> None:
        self._stage = stage
        self._screen = screen

    def play(self, number: int) -> None:
        """Play all scenes; the first has this number."""
        self._reports(number)
        self._policy_change(number + 1)
        self._cut_before_report(number + 2)
        self._deregisters(number + 3)

    def _reports(self, number: int) -> None:
        self._screen.scene(f"{number}. With the heap of a session, it reports six properties under OSCORE")
        self._stage.board.power_off()
        self._stage.board.heap = HEAP_SESSION
        self._stage.board.power_on()
        self._stage.registered()
        self._report(1)
        said = [one.datagram for one in self._stage.passed]
        self._screen.check("no value is in clear", not any(b"2.1.1" in one for one in said))
        [client_id] = self._stage.sessions()
        self._screen.check("the Client ID is", bytes.fromhex(client_id) in said[0])
        self._screen.check("the answer has told it what to report", len(said[1]) > EMPTY_ANSWER)
        self._report(2)
        self._screen.check("the next answer has not: it knows that", self._answer_size() == EMPTY_ANSWER)

    def _policy_change(self, number: int) -> None:
        self._screen.scene(f"{number}. The operator wants less: battery below 20 %, and signal once an hour")
        size = len(self._stage.passed[0].datagram)
        self._stage.change_policy(QUIET_POLICY)
        self._report(3)
        self._screen.check("the answer has told it so", self._answer_size() > EMPTY_ANSWER)
        self._report(4, but=frozenset({0, 9}))
        self._screen.check("the next report is shorter: without both", len(self._stage.passed[0].datagram) < size)

    def _cut_before_report(self, number: int) -> None:
        self._screen.scene(f"{number}. Its power is cut when it has saved a block of numbers, and has not reported yet")
        used = self._stage.passed[0].number
        before = self._stage.properties()
        self._stage.board.power_off()
        self._stage.board.power_on()
        self._stage.registered()
        self._stage.passed.clear()
        self._stage.board.type("report 5 paused")
        self._stage.board.wait_for("saved, and waiting")
        self._stage.board.power_off()
        self._screen.check("nothing was sent", self._stage.passed == [])
        self._screen.check("the server has what was reported before", self._stage.properties() == before)
        self._stage.board.power_on()
        self._stage.registered()
        self._report(6)
        taken = self._stage.passed[0].number
        self._screen.check(
            f"it goes on with number {taken} after {used}: the block that it had saved is passed over",
            taken == (used + 255) // 256 * 256 + 257,
        )

    def _deregisters(self, number: int) -> None:
        self._screen.scene(f"{number}. It deregisters")
        self._stage.passed.clear()
        self._stage.board.type("deregister")
        said = self._stage.board.wait_for("deregister: ")
        self._screen.messages(self._stage.passed)
        self._screen.check("the server has confirmed that", said == "IDLE, confirmed")
        self._screen.check("it has neither the session nor the values any more", self._stage.sessions() == [])

    def _answer_size(self) -> int:
        return len(self._stage.passed[1].datagram)

    def _report(self, number: int, but: frozenset[Property] = frozenset()) -> None:
        expected = properties(number)
        for name in but:
            expected[name] = self._stage.properties()[name]
        self._stage.passed.clear()
        said = reported(self._stage, number)
        self._screen.messages(self._stage.passed)
        self._screen.check("the server has accepted the report", said == "READY")
        names = [one.name for one in self._stage.passed]
        self._screen.check("two datagrams passed", names == [PROTECTED, PROTECTED_ANSWER])
        self._screen.check("the server's database has these values", self._stage.properties() == expected)


def course(stage: BoardStage, registrations: int, *, heap: int = COURSE_HEAP) -> int:
    """Let a provisioned board register so often, and report after each; return how many reports were accepted.

    The board leaves itself ``heap`` bytes for that. Raises LocalError if it does not register, drops anything, or has
    another record than the server.
    """
    number = 0
    for done in range(1, registrations + 1):
        first, number = number + 1, REPORTS * done // REGISTRATIONS
        stage.board.type(f"course {first} {number} {heap}")
        said = stage.board.wait_for("course: ")
        if said != f"READY, number {number}" or stage.properties() != properties(number):
            raise LocalError(f"registration {done} of the course: {said}")
        if done % IN_A_MINUTE == 0:
            stage.restart_server()
    return number
