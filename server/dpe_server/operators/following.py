"""Follows what devices report: all of it once, and then what changes, with a cursor from which to go on."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dpe_coap.client_ids import client_id_text
from dpe_coap.errors import LocalError
from dpe_server.operators.properties import reported
from dpe_server.policy import Vocabulary
from dpe_server.store.contract import ReplacedError, Store
from dpe_server.store.listing import ALL

AT_ONCE = 200
"""The most commits whose changes are read at once."""


class CursorError(LocalError):
    """What has changed since a cursor cannot be told. Begin anew."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="begin anew, without --since: what there is is told as a whole")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the changes of one store: whoever has all up to it goes on after it."""

    history: bytes
    """Names the history of the store (``Standing``), 8 bytes."""
    number: int
    """Of the last change that was read."""

    def __str__(self) -> str:
        """Write it as people and programs keep it."""
        return f"{self.history.hex()}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read what ``str`` has written. ValueError if it is no cursor."""
        found = re.fullmatch(r"([0-9a-f]{16})-(0|[1-9][0-9]{0,18})", text)
        if found is None:
            raise ValueError("not a cursor")
        return cls(bytes.fromhex(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class News:
    """All that one device has reported as it is now, or that its session has ended."""

    client_id: int
    at: int
    """When it was heard, or when it changed or ended, in Unix seconds."""
    record: bytes | None
    """None: its session has ended, and what it had reported is erased."""
    cursor: Cursor | None
    """Where to go on after this; None within what is read at the beginning, which has a cursor only in the end."""


@dataclass(frozen=True, slots=True)
class Begin:
    """All that there is comes next; what was told before is void."""


@dataclass(frozen=True, slots=True)
class Upto:
    """All up to here was told."""

    cursor: Cursor
    whole: bool
    """Whether it is the end of all that there is; otherwise some of the changes had nothing to tell."""


def in_json(one: Begin | News | Upto, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what is told for JSON."""
    told: dict[str, Any] = {}
    match one:
        case Begin():
            told["snapshot"] = "begin"
        case Upto(cursor, whole):
            told = {"snapshot": "end"} if whole else {}
            told["cursor"] = str(cursor)
        case News():
            told = {"client_id": client_id_text(one.client_id), "at": one.at}
            told |= {"ended": True} if one.record is None else {"properties": reported(one.record, vocabulary)}
            if one.cursor is not None:
                told["cursor"] = str(one.cursor)
    return told


def everything(store: Store, now: int) -> Iterator[Begin | News | Upto]:
    """Yield what all devices with a session at ``now`` have reported, then from where on there may be changes.

    It is not one moment: what changes meanwhile is among the changes after it, too.
    """
    yield Begin()
    standing = store.standing()
    for session in store.listed(ALL, now):
        if session.record:
            yield News(session.client_id, session.heard_at, session.record, None)
    yield Upto(Cursor(standing.history, standing.newest), whole=True)


def since(store: Store, cursor: Cursor, at_once: int = 0) -> Iterator[News | Upto]:
    """Yield what has changed since ``cursor``, up to now. CursorError: that cannot be told any more.

    The changes of ``at_once`` commits are read at once, or of AT_ONCE.
    """
    while True:
        check(store, cursor)
        found = store.changes(cursor.number, at_once or AT_ONCE)
        # What was dropped between the two might be missing.
        check(store, cursor)
        if not found:
            return
        for change in found:
            news: list[tuple[int, bytes | None]] = [(client_id, None) for client_id in change.ended]
            news += change.changed
            after = Cursor(cursor.history, change.number)
            for left, (client_id, record) in zip(range(len(news) - 1, -1, -1), news, strict=True):
                yield News(client_id, change.at, record, cursor if left else after)
            cursor = after
        if not news:  # the last of them had nothing to tell
            yield Upto(cursor, whole=False)


def check(store: Store, cursor: Cursor) -> None:
    """CursorError: what has changed since ``cursor`` cannot be told."""
    try:
        standing = store.standing()
    except ReplacedError:
        raise CursorError("the database was exchanged: a backup was put back") from None
    if standing.history != cursor.history:
        raise CursorError("the cursor is of another store, or of the time before this one was recovered or restored")
    if cursor.number < standing.dropped:
        raise CursorError("the cursor is too old: changes are kept for 7 days")
    if cursor.number > standing.newest:
        raise CursorError("the cursor is of changes that this store does not have: was it put back?")
