"""How fresh the handle in each REQUEST is, and which transactions as fresh ones may have pushed out.

A device uses its handles one after the other, each given to it in answer to the one before. So the truth needs none of
what the server has sealed into them: a handle is fresher than all that its device used for the first time before it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dpe_server.registration.transaction_table import PER_DEVICE
from dpe_server.registration.transactions import LIFE
from dpe_tools.simulation.events import RequestSent, ResponseGiven, SessionMade, SessionSettled
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.world import World

HANDLE = slice(5, 22)
"""Where it is in a REQUEST."""


@dataclass(slots=True)
class Committing:
    """A transaction whose commit is under way. It stays: its Client ID is still needed."""

    request: bytes
    first: int
    """How many transactions of its device had begun in the process when the commit began."""
    last: int | None = None
    """And when it was over; None: it is not, or the store has failed."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A transaction: its REQUEST, the rank of the handle in it, and when it began (monotonic seconds)."""

    request: bytes
    rank: int
    at: float
    is_fresh: bool
    """Whether its handle was fresher than those of all before it."""
    is_as_fresh: bool
    """Whether none before it had a fresher handle."""


class Freshness:
    """The handles of all devices, and the transactions of each process. It sees an event before any invariant does."""

    def __init__(self, world: World, messages: Messages) -> None:
        self._messages = messages
        self._ranks: defaultdict[bytes, dict[bytes, int]] = defaultdict(dict)
        """By device, its handles, each with its place in the order of their first use."""
        self._begun: defaultdict[tuple[str, bytes], list[Begun]] = defaultdict(list)
        """By process and device."""
        self._commits: defaultdict[tuple[str, bytes], list[Committing]] = defaultdict(list)
        """By process and device."""
        self._last: dict[tuple[str, bytes], bytes] = {}
        """By process and REQUEST, the last RESPONSE."""
        world.on(RequestSent, self._request)
        world.on(ResponseGiven, self._response)
        world.on(SessionMade, self._made)
        world.on(SessionSettled, self._settled)

    def may_be_pushed_out(self, process: str, request: bytes, *, before: bool = False) -> bool:
        """Say whether a process may have forgotten the last transaction of a REQUEST, for the bound of its device.

        ``before``: the last but one. ``PER_DEVICE`` others must be there, all but one as fresh or in their commit; one
        has come since.
        """
        name = process, self._messages.requests[request].device
        begun = self._begun[name]
        mine = [at for at, one in enumerate(begun) if one.request == request]
        if len(mine) <= before:
            return False
        at = mine[-1 - before]
        others = [(place, one) for place, one in enumerate(begun) if one.request != request]
        alive = [(place, one) for place, one in others if one.at > begun[at].at - LIFE]
        as_fresh = {one.request for place, one in alive if (one.rank, place) > (begun[at].rank, at)}
        came = [place for place, _ in others if place > at]
        for commit in self._commits[name]:
            if commit.request != request and any(
                commit.first <= place and (commit.last is None or place < commit.last) for place in came
            ):
                as_fresh.add(commit.request)
        return bool(came) and len({one.request for _, one in alive}) >= PER_DEVICE and len(as_fresh) >= PER_DEVICE - 1

    def begun(self, process: str, device: bytes) -> Sequence[Begun]:
        """Return the transactions of a device that have begun in a process, in their order."""
        return self._begun[process, device]

    def as_fresh_since(self, process: str, device: bytes, since: float) -> int:
        """Return how many transactions a process has begun after ``since`` with a handle none was fresher than."""
        return sum(one.is_as_fresh for one in self._begun[process, device] if one.at > since)

    def is_fresh(self, process: str, request: bytes) -> bool:
        """Say whether the handle in a REQUEST is fresher than those of all that a process has answered its device."""
        rank, before = self._rank(process, request)
        return all(one.rank < rank for one in before)

    def is_as_fresh(self, process: str, request: bytes) -> bool:
        """Say whether none that a process has answered its device had a fresher handle than a REQUEST."""
        rank, before = self._rank(process, request)
        return all(one.rank <= rank for one in before)

    def _rank(self, process: str, request: bytes) -> tuple[int, list[Begun]]:
        device = self._messages.requests[request].device
        return self._ranks[device][request[HANDLE]], self._begun[process, device]

    def _request(self, event: RequestSent) -> None:
        ranks = self._ranks[event.device]
        ranks.setdefault(event.request[HANDLE], len(ranks))

    def _response(self, event: ResponseGiven) -> None:
        made, name = self._messages.requests.get(event.request), (event.process, event.request)
        if made is None or self._last.get(name) == event.response:
            return
        self._last[name] = event.response
        rank, begun = self._rank(event.process, event.request)
        is_fresh, is_as_fresh = (check(event.process, event.request) for check in (self.is_fresh, self.is_as_fresh))
        begun.append(Begun(event.request, rank, event.now, is_fresh, is_as_fresh))

    def _made(self, event: SessionMade) -> None:
        made = self._messages.by_hash.get(event.session.success_hash)
        if made is not None:
            name = event.process, event.session.device
            self._commits[name].append(Committing(made.request, len(self._begun[name])))

    def _settled(self, event: SessionSettled) -> None:
        made = self._messages.by_hash.get(event.session.success_hash)
        name = event.process, event.session.device
        for commit in self._commits[name]:
            if made is not None and commit.request == made.request and commit.last is None:
                commit.last = len(self._begun[name])
