"""A database that several nodes reach over a network: a primary, and a standby that must acknowledge each commit.

What the standby has is what is durable. While it is silent, commits hang: the primary has made them and shows them to
nobody. When the standby is back, they take effect, perhaps long after anybody waited for them; when it has become the
primary, they are lost. A primary that starts anew meanwhile shows what the standby has not.
"""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dpe_server.store.contract import Change, CommitUnknown, Contact, Deregister, Outcome, Session, StoreError
from dpe_server.store.questions import Facts, Questions
from dpe_tools.simulation.database import BROKEN, UNREADABLE, UNSURE, Database
from dpe_tools.simulation.memory_store import Disk, MemoryStore
from dpe_tools.simulation.session_events import Accepted
from dpe_tools.simulation.trouble import Trouble
from dpe_tools.simulation.world import SECOND, WALL, World

PATIENCE = 1_500
"""Milliseconds that a node waits for a commit."""
FRESH = 1_000
"""Milliseconds for which an acknowledged write vouches for what is read."""
REVOKED = 0.05
"""How often an operator revokes a device while the commit of its session hangs."""
LATE = 60 * SECOND
"""The most milliseconds until a commit takes effect whose answer nobody got."""
LOST, UNHEARD, DELAYED = "lost", "unheard", "delayed"
"""What becomes of a commit of which its node does not learn: it never comes, is not told of, or comes later."""

Tell = Callable[[Sequence[Accepted]], None]


@dataclass(frozen=True, eq=False)
class Given:
    """A commit that was given, and may take effect after all; ``tell`` is called when it does."""

    changes: Sequence[Change]
    tell: Tell
    revoked: frozenset[bytes]
    """The devices that were revoked when it was given. Only a revocation in a table of its own would go by that."""


class Cluster(Database):
    """The database in memory. ``chance`` is its own, so that nothing else is drawn otherwise where it is there."""

    remote = True

    def __init__(self, world: World, trouble: Trouble, chance: random.Random) -> None:
        super().__init__(None)
        self.epoch = 0
        """Of the connections: the primary has changed, or begun anew, so many times."""
        self._world = world
        self._trouble = trouble
        self._chance = chance
        self._silent_since: int | None = None
        self._hanging: list[Given] = []
        self._delayed: list[Given] = []
        self._ahead: Disk | None = None
        self._replaced = self._disk
        self._revoke: Callable[[bytes], None] = lambda _: None

    def now(self, _: Callable[[], float]) -> float:
        """See ``Database.now``: the clock of the database's machine, which never jumps."""
        return self.wall()

    def wall(self) -> float:
        """Return Unix time."""
        return WALL + self._world.now / 1000

    @property
    def silent(self) -> bool:
        """Whether the standby acknowledges nothing."""
        return self._silent_since is not None

    @property
    def vouches(self) -> bool:
        """Whether a write was acknowledged a moment ago."""
        return self._silent_since is None or self._world.now - self._silent_since < FRESH

    def shown(self, epoch: int) -> Disk:
        """Return what a connection of an epoch reads."""
        if epoch != self.epoch:
            return self._replaced
        return self._disk if self._ahead is None else self._ahead

    @property
    def answers(self) -> bool:  # type: ignore[override]
        """See ``Database.answers``."""
        return not self.silent

    def serve(
        self, point: Callable[[str], None], clock: Callable[[], float], fault: Callable[[], str], told: Tell
    ) -> "NodesStore":
        """See ``Database.serve``."""
        return NodesStore(self, fault, told, point)

    def given(self, changes: Sequence[Change], tell: Tell) -> Given:
        """Return a commit as it is given now."""
        revoked = (device for device, laid in self._disk.restrictions.items() if laid.revoked)
        return Given(changes, tell, frozenset(revoked))

    def fate(self) -> str:
        """Draw what becomes of a commit; mostly nothing but that it is made and told. The standby may turn silent."""
        if self._trouble.silences and self._chance.random() < self._trouble.silences:
            self.turn_silent()
        if not self._trouble.unknown or self._chance.random() >= self._trouble.unknown:
            return ""
        return self._chance.choice((LOST, UNHEARD, DELAYED))

    def hang(self, given: Given) -> None:
        """Make a commit on the primary alone."""
        self._hanging.append(given)
        self._let_revoke(given)

    def delay(self, given: Given) -> None:
        """Let a commit come later, if no other primary is there by then."""
        self._delayed.append(given)
        self._let_revoke(given)
        self._world.after(self._chance.randint(1, LATE), partial(self._come, given))

    def _let_revoke(self, given: Given) -> None:
        for change in given.changes:
            if isinstance(change, Session) and self._chance.random() < REVOKED:
                self._world.after(self._chance.randint(1, 2_000), partial(self._revoke, change.device))

    def settle(self) -> None:
        """Let all that was given take effect, unless the standby is silent."""
        for given in list(self._delayed):
            self._come(given)

    # what goes wrong with it

    def plan(self, revoke: Callable[[bytes], None]) -> None:
        """Draw when the standby turns silent. While a session hangs, ``revoke`` is called for its device at times."""
        self._revoke = revoke
        for _ in range(self._chance.choice((1, 2, 4))):
            self._world.after(self._chance.randrange(self._trouble.lasts), self.turn_silent)

    def turn_silent(self) -> None:
        """Let the standby acknowledge nothing for a while, until it is back, or is the primary."""
        if self._silent_since is not None:
            return
        chance, world = self._chance, self._world
        self._silent_since = world.now
        world.note("the standby is silent")
        if chance.random() < 0.5:
            world.after(chance.randint(1, 1_500), self.begin_anew)
        world.after(chance.randint(500, 45_000), chance.choice((self.come_back, self.fail_over)))

    def begin_anew(self) -> None:
        """Let the primary end and start: it has all that it had made, acknowledged or not."""
        if self.silent:
            self._world.note("the primary starts anew")
            self._world.counts["primaries anew"] += 1
            self.epoch += 1
            self._replaced = self._ahead = copy.deepcopy(self._disk)
            for given in self._hanging:
                MemoryStore(self._ahead, clock=self.wall).commit(given.changes)

    def come_back(self) -> None:
        """Let the standby acknowledge all that hangs, and go on."""
        if self.silent:
            self._world.note("the standby is back")
            self._silent_since, self._ahead = None, None
            hanging, self._hanging = self._hanging, []
            for given in hanging:
                self._take_effect(given)

    def fail_over(self) -> None:
        """Let the standby be the primary: what it has not acknowledged is lost."""
        if self.silent:
            self._world.note("the standby is the primary")
            self._world.counts["failovers"] += 1
            self.epoch += 1
            self._replaced = copy.deepcopy(self._disk)
            self._silent_since, self._ahead = None, None
            self._hanging.clear()
            self._delayed.clear()

    def calm(self) -> None:
        """See ``Database.calm``."""
        self.come_back()
        self.settle()

    def _come(self, given: Given) -> None:
        if given in self._delayed:
            self._delayed.remove(given)
            self._world.counts["commits after their time"] += 1
            if self.silent:
                self._hanging.append(given)
            else:
                self._take_effect(given)

    def _take_effect(self, given: Given) -> None:
        given.tell(self.make(given, lambda _: None)[1])

    def make(self, given: Given, point: Callable[[str], None]) -> tuple[list[Outcome], list[Accepted]]:
        """Make a commit durable; return what became of each change, and which requests it has accepted."""
        store = MemoryStore(self._disk, point, self.wall, begun_with=given.revoked)
        before = {s.client_id: (s.mark, self._disk.attempts.get(s.client_id)) for s in self._disk.sessions}
        outcomes = store.commit(given.changes)
        accepted = [
            change
            for change, outcome in zip(given.changes, outcomes, strict=True)
            if (isinstance(change, Deregister) and outcome is Outcome.SESSION_ENDED)
            or (isinstance(change, Contact) and outcome is not Outcome.NOT_ACCEPTED
            and before.get(change.client_id) != (change.number, change.attempt))
        ]  # fmt: skip
        return outcomes, accepted


class NodesStore:
    """The part of a ``Store`` that the batcher uses, in a process of one of the nodes.

    ``fault`` says what is wrong with its way to the database. ``told`` is called with the requests that a commit of
    this process has accepted, whenever it takes effect; ``point`` where the process may end.
    """

    remote = True

    def __init__(self, cluster: Cluster, fault: Callable[[], str], told: Tell, point: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._fault = fault
        self._told = told
        self._point = point
        self._connected = -1

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        if self._fault() == UNREADABLE:
            raise StoreError("made to fail")
        if not self._connect() and not self._cluster.vouches:
            raise _InVain("made to wait in vain")
        return MemoryStore(self._cluster.shown(self._connected)).look(questions)

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See ``Store.commit``."""
        if self._fault() in (BROKEN, UNREADABLE):
            raise StoreError("made to fail")
        self._connect()
        self._point("before the commit")
        given = self._cluster.given(changes, self._told)
        fate = self._cluster.fate()
        if self._cluster.silent:
            self._cluster.hang(given)
            return self._at_deadline(given)
        if fate == DELAYED:
            self._cluster.delay(given)
        if fate in (DELAYED, LOST):
            return self._at_deadline(given)
        outcomes, accepted = self._cluster.make(given, self._point)
        self._told(accepted)
        self._point("after the commit")
        if fate == UNHEARD or self._fault() == UNSURE:
            return self._at_deadline(given)
        return outcomes

    def close(self) -> None:
        """See ``Store.close``."""

    def _connect(self) -> bool:
        """Be connected to the primary; say whether by a new connection, which begins with an acknowledged write."""
        is_new = self._connected != self._cluster.epoch
        if is_new:
            if self._cluster.silent:
                raise _InVain("made to wait in vain")
            self._connected = self._cluster.epoch
        return is_new

    def _at_deadline(self, given: Given) -> list[Outcome]:
        """Shut the connection: what becomes of the commit is unknown. If it was cancelled, it would say it is done."""
        self._connected = -1
        raise _Unknown("made to hang")


class _InVain(StoreError):
    """A connection whose first write was not acknowledged."""

    takes = FRESH
    """Milliseconds until the error is raised (``Loop.run_in_executor``)."""


class _Unknown(CommitUnknown):
    takes = PATIENCE
