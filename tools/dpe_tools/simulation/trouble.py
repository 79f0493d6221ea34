"""How bad it gets in a simulation, drawn from its seed. The mishaps themselves are in ``mishaps``."""

import random
from dataclasses import dataclass, fields, replace
from typing import Self

from dpe_tools.faults import Faults
from dpe_tools.simulation.world import MINUTE, SECOND

RULES = """
[[rule]]
name = "moved"
firmware = "moved*"
action = "redirect"
server = "coap://second.example:5684"

[[rule]]
name = "weak"
firmware = "weak*"
action = "require-x25519"

[[rule]]
name = "old"
version = "2.*"
action = "version-not-supported"
highest = "1.4"

[[rule]]
name = "all"
version = "1.*"
action = "accept"
"""
"""The policy of a simulated server; what the last rule grants is drawn."""
AT_SECOND = RULES.replace('firmware = "moved*"', 'firmware = "nobody"')
CIRCLE = '[[rule]]\nname = "round"\naction = "redirect"\nserver = "coap://%s:%d"\n'
STRONG = """
[[rule]]
name = "strong"
firmware = "weak*"
version = "1.*"
action = "accept"
range = ["20000000000000", "2fffffffffffff"]
[rule.report]
signal = { pmin = 20, st = 5 }
"""
"""A rule for those whom "weak" has told to come back: they are told other policies than all others."""
WIDE = 'range = ["10000000000000", "1fffffffffffff"]\n'
NARROW = 'range = ["10000000000000", "10000000000003"]\n'
"""Four Client IDs, which devices and their transactions must share."""
SHORT = "lifetime = 90\n"


REPORTS = (
    "",
    "[rule.report]\nbattery = {}\nsignal = { st = 5 }\n",
    "[rule.report]\nbattery = { pmin = 20, pmax = 600 }\nroaming = { edge = true }\nlanguage = {}\n",
)
"""What devices are told to report: nothing unasked, or some of what there is."""
ALL_REPORTS = "[rule.report]\nbattery = {}\nroaming = {}\nlanguage = {}\nsignal = {}\n"
"""Most of what a board measures, at every change."""


def terms(chance: random.Random) -> str:
    """Draw what the last rule of a policy grants."""
    pick = chance.choice
    return pick((WIDE, WIDE, NARROW)) + pick(("", "", 'client_id = "stable"\n')) + pick(("", "", SHORT))


def with_reports(rules: str) -> str:
    """Return rules of which two have devices report."""
    before, last, after = rules.rpartition("\n[[rule]]")
    return before + STRONG + last + after


OLDER, SAME, ERASED = "older", "same", "erased"


@dataclass(frozen=True)
class Siege:
    """Who besieges the boards in the end, on a network that is good: they hear everything and stop nothing."""

    kind: str
    """How the handle of a board compares with those in the REQUESTs that are recorded.

    OLDER: theirs are older. SAME: five have the same one. ERASED: theirs are newer, as the board has lost its storage.
    """
    recordings: int
    """How many of a board's REQUESTs are sent again with each that it sends."""
    reacts: bool
    """Whether these arrive within the round trip, or before."""
    injects: bool
    """Whether each request is answered with what is forged, before the server can answer it."""
    times: int
    """How often all boards register anew."""
    reports: int = 0
    """How often each board then measures something else, and reports that."""
    copies: int = 0
    """How many copies of each request of a session come, from other addresses."""
    first: bool = False
    """Whether they come before it."""


CLUSTERS = 0.1
"""Of how many seeds the servers are clusters."""
MANY = 1 << 20
"""Transactions; so many that no run reaches it."""
FAST = (1, 3)
"""Milliseconds of a commit when all is well."""


@dataclass
class Trouble:
    """How bad it is: probabilities, counts and times in ms.

    Each ``float`` is a probability, read anew whenever it may strike: so ``end`` can set it to 0.
    """

    faults: Faults
    forges: float
    replays: float
    reflects: float
    mixes: float
    withholds: float
    floods: int
    exhaustion: float
    power_cuts: float
    flash_fails: float
    declines: float
    crashes: float
    rebindings: int
    roams: float
    """How often a board sends from a new address, and so perhaps to another worker."""
    mishaps: int
    """How many, of any kind in ``mishaps.DRAWN``."""
    restarts: int
    lasts: int
    boards: int
    workers: int
    lane: bool
    commits: tuple[int, int]
    """The least and the most milliseconds of a commit."""
    total: int
    """The most transactions of a process."""
    terms: str
    """What the last rule of the servers' policy grants."""
    sqlite: bool
    recordings: int
    """How many of a board's REQUESTs are sent again, within the round trip, with each that it sends."""
    hoards: int
    """How often the holder of a key registers as often as it can."""
    reports: int
    """How often what a board measures changes; 0: boards are no more than REGISTERED."""
    withheld: float
    """How often a request of a session is withheld until its board sends something else."""
    copies: int
    """How many copies of each request of a session are sent on at once, from other addresses."""
    siege: Siege | None
    cluster: bool = False
    """Whether each server is two nodes with one database, which is not on the machine of either."""
    unknown: float = 0.0
    """How often a node does not learn what has become of a commit."""
    silences: float = 0.0
    """How often a commit finds that the standby of a database acknowledges nothing any more."""

    def end(self) -> None:
        """Let nothing go wrong by chance any more."""
        for one in fields(self):
            if one.type is float:
                setattr(self, one.name, 0.0)
        self.commits = FAST

    @classmethod
    def draw(cls, seed: int) -> Self:
        """Draw what goes wrong with a seed."""
        chance = random.Random(f"trouble {seed}")  # noqa: S311  # a simulation must repeat
        pick = chance.choice
        workers = pick((1, 1, 1, 2))
        drawn = cls(
            faults=Faults(
                loss=pick((0, 0.05, 0.2, 0.4)),
                duplication=pick((0, 0, 0.3)),
                reordering=pick((0, 0, 0.3)),
                corruption=pick((0, 0, 0.01, 0.05)),
                hold=pick((0.05, 2, 30, 400, 1500)),
            ),
            forges=pick((0, 0, 0, 0.2, 0.6)),
            replays=pick((0, 0, 0.1, 0.2)),
            reflects=pick((0, 0, 0, 0.2)),
            mixes=pick((0, 0, 0, 0.2, 0.5)),
            withholds=pick((0, 0, 0, 0.4)),
            floods=pick((0, 0, 0, 0, 1, 3)),
            exhaustion=pick((0, 0, 0, 0.02, 0.1)),
            power_cuts=pick((0, 0, 0, 0.03)),
            flash_fails=pick((0, 0, 0, 0.2)),
            declines=pick((0, 0, 0, 0.3)),
            crashes=pick((0, 0, 0, 0.002, 0.01)),
            rebindings=pick((0, 0, 1, 4)),
            roams=pick((0, 0.3)) if workers > 1 else pick((0, 0, 0, 0.3)),
            mishaps=pick((0, 1, 2, 4)),
            restarts=pick((0, 1, 1, 2, 4)),
            lasts=pick((40 * SECOND, 3 * MINUTE, 12 * MINUTE, 40 * MINUTE)),
            boards=pick((1, 1, 1, 2, 2, 3)),
            workers=workers,
            lane=chance.random() < 0.8,
            commits=pick((FAST, FAST, (1, 60), (60, 3000))),
            total=pick((MANY, MANY, 4, 12)),
            terms=terms(chance),
            sqlite=chance.random() < 0.01,
            recordings=0,
            hoards=pick((0,) * 19 + (1,)),
            reports=0,
            withheld=0.0,
            copies=0,
            siege=None,
        )
        # A full table forgets by age, whatever the handles; and replayed REQUESTs can reserve all of four Client IDs.
        if drawn.total == MANY and NARROW not in drawn.terms:
            drawn.recordings = pick((0, 0, 0, 0, 4, 16))
        drawn.siege = Siege(
            kind=pick((OLDER, OLDER, SAME, ERASED)),
            recordings=pick((4, 6, 16, 40)),
            reacts=chance.random() < 0.8,
            injects=chance.random() < 0.5,
            times=pick((1, 2)),
        )
        if chance.random() < 0.6:
            drawn.reports = pick((2, 8, 20))
            drawn.withheld = pick((0, 0, 0.3, 0.6))
            drawn.copies = pick((0, 0, 0, 2, 6))
            drawn.terms += pick(REPORTS)
            reports, copies, first = pick((1, 3)), pick((0, 0, 2, 12)), chance.random() < 0.5
            drawn.siege = replace(drawn.siege, reports=reports, copies=copies, first=first)
        apart = random.Random(f"cluster {seed}")  # noqa: S311  # so that all else is as without it
        if apart.random() < CLUSTERS and not drawn.sqlite:
            drawn.cluster, drawn.unknown = True, apart.choice((0.0, 0.02, 0.2))
            drawn.silences = apart.choice((0.02, 0.1, 0.3))
            drawn.roams = max(drawn.roams, apart.choice((0.0, 0.3, 0.6)))
        return drawn


NONE = Trouble(
    faults=Faults(),
    forges=0.0,
    replays=0.0,
    reflects=0.0,
    mixes=0.0,
    withholds=0.0,
    floods=0,
    exhaustion=0.0,
    power_cuts=0.0,
    flash_fails=0.0,
    declines=0.0,
    crashes=0.0,
    rebindings=0,
    roams=0.0,
    mishaps=0,
    restarts=0,
    lasts=40 * SECOND,
    boards=1,
    workers=1,
    lane=True,
    commits=FAST,
    total=MANY,
    terms=WIDE,
    sqlite=False,
    recordings=0,
    hoards=0,
    reports=0,
    withheld=0.0,
    copies=0,
    siege=None,
)
"""All is well: one board, one server of one process, and no siege."""
