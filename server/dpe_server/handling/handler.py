"""The contract of a handler, which decides the requests of one protocol; and what drives one handler or several.

    batch = handler.read(payloads, now)                         decode, verify; what must be looked up?
    facts = store.look(batch.questions)                         one round trip
    further = handler.decide(batch, facts, now, wall)           pure; None, or what must be looked up first
    outcomes = store.commit(batch.changes)                      one transaction; None: it failed, or is unknown
    replies, records = handler.complete(batch, outcomes, now)

``now`` is monotonic, ``wall`` is Unix time, both in seconds. Between ``read`` and the end of ``decide`` no other batch
of the same handler is read or decided; ``complete`` of an earlier one may come in between, also while ``look`` is done
elsewhere. Any number of batches may be
decided before the first is committed. Those that need a commit are completed in the order in which they were decided,
the others at once. A handler is never called from two threads at once, and knows no socket, clock or database.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import Reply
from dpe_server.store.contract import (
    Change,
    Outcome,
    Store,
    StoreError,
)
from dpe_server.store.questions import Facts, Questions


@dataclass(slots=True)
class Batch:
    """Requests between ``read`` and ``complete``. A handler adds what it must remember of them."""

    questions: Questions = field(default_factory=Questions)
    """What must be looked up before ``decide``."""
    changes: list[Change] = field(default_factory=list)
    """What must be durable before ``complete``."""
    waits: bool = False
    """Whether a reply waits for the commit of an earlier batch."""
    records: list[AuditRecord] = field(default_factory=list)
    crowds: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Subjects, as messages name them, that fairness must take for one, each with the name that they have in common."""


class Completed(NamedTuple):
    """The result of a batch."""

    replies: list[Reply]
    """In the order of the batch's requests."""
    records: list[AuditRecord]


MOST_LOOKS = 1_000
"""A handler that has not decided a batch after this many looks never will: that is a defect."""

_Batch = TypeVar("_Batch", bound=Batch)


class Handler(Protocol[_Batch]):
    """Decides the requests of one protocol."""

    def read(self, payloads: Sequence[bytes], now: float) -> _Batch:
        """Begin a batch; its ``questions`` are what must be looked up for it."""
        ...

    def decide(self, batch: _Batch, facts: Facts | None, now: float, wall: float) -> Questions | None:
        """Decide a batch by ``facts``, which are None if the store does not answer.

        Returns what else must be looked up first; None once the batch is decided, with its changes.
        """
        ...

    def complete(self, batch: _Batch, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        """Return the replies, now that the batch's changes are durable.

        ``outcomes`` are None if they could not be made so, or if that is not known: some may be durable, or become so
        later. What is answered then must be right in each case.
        """
        ...

    def abandon(self, batch: _Batch) -> None:
        """Let go of a batch that a defect has stopped, before or after its commit; all its requests get 5.03."""
        ...


class Part(NamedTuple):
    """A handler, and its batch among those decided together."""

    handler: Handler[Any]
    batch: Batch


def decide(parts: Sequence[Part], look: Callable[[Questions], Facts], now: float, wall: float) -> dict[int, Exception]:
    """Decide batches of any handlers, which share their looks at the store. Without questions there is no look.

    Returns the defects, by the ``id`` of the batch that could not be decided; all other batches are decided.
    """
    failed: dict[int, Exception] = {}
    undecided = [(part, part.batch.questions) for part in parts]
    for _ in range(MOST_LOOKS):
        if not undecided:
            return failed
        asked = _asked(undecided)
        facts: Facts | None
        try:
            facts = look(asked) if asked else Facts()
        except StoreError:
            facts = None
        except Exception as error:
            return failed | {id(part.batch): error for part, _ in undecided}
        undecided = _by(facts, undecided, now, wall, failed)
    return failed | _endless(undecided)


def deciding(
    parts: Sequence[Part], clock: Callable[[], float], wall: Callable[[], float]
) -> Generator[Questions, Facts | None, dict[int, Exception]]:
    """Decide batches as ``decide`` does, for a caller who does something else while what it asks is looked up.

    Yields what must be looked up, and is sent the facts; None if the store does not answer. Each decision is made at
    the time that ``clock`` and ``wall`` show by then.
    """
    failed: dict[int, Exception] = {}
    undecided = [(part, part.batch.questions) for part in parts]
    for _ in range(MOST_LOOKS):
        if not undecided:
            return failed
        asked = _asked(undecided)
        try:
            facts = (yield asked) if asked else Facts()
        except Exception as error:
            return failed | {id(part.batch): error for part, _ in undecided}
        undecided = _by(facts, undecided, clock(), wall(), failed)
    return failed | _endless(undecided)


_Undecided = list[tuple[Part, Questions]]


def _asked(undecided: _Undecided) -> Questions:
    """Return the questions of all."""
    asked = undecided[0][1]
    if len(undecided) > 1:
        asked = Questions()
        for _, questions in undecided:
            asked.add(questions)
    return asked


def _by(
    facts: Facts | None, undecided: _Undecided, now: float, wall: float, failed: dict[int, Exception]
) -> _Undecided:
    """Have batches decided by facts; return those that ask more, and add to ``failed`` those with a defect."""
    further = []
    for part, _ in undecided:
        try:
            questions = part.handler.decide(part.batch, facts, now, wall)
        except Exception as error:
            failed[id(part.batch)] = error
        else:
            if questions is not None:
                further.append((part, questions))
    return further


def _endless(undecided: _Undecided) -> dict[int, Exception]:
    return {id(part.batch): RuntimeError("a handler asks without end") for part, _ in undecided}


def handle(handler: Handler[Any], store: Store, payloads: Sequence[bytes], now: float, wall: float) -> Completed:
    """Read, decide, commit and complete a batch in one call, for callers without an event loop to keep free."""
    part = Part(handler, handler.read(payloads, now))
    try:
        for error in decide([part], store.look, now, wall).values():
            raise error
        outcomes: Sequence[Outcome] | None = []
        if part.batch.changes:
            try:
                outcomes = store.commit(part.batch.changes)
            except StoreError:
                outcomes = None
        return handler.complete(part.batch, outcomes, now)
    except Exception:
        handler.abandon(part.batch)
        raise
