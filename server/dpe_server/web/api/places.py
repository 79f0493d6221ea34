"""Where a program is in what changes, also while it still reads all that there is: so it never begins anew in vain.

All that there is comes by ascending Client ID, and after it what has changed since before it began. So the highest
Client ID that was told, with the cursor of that beginning, says where to go on.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from dpe_coap.client_ids import client_id_text
from dpe_server.operators.following import Begin, Cursor, News, Upto, check, in_json, since
from dpe_server.policy import Vocabulary
from dpe_server.store.contract import Store

COMMITS = 10
"""How many commits are read at once: some may have hundreds of sessions."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in what changes, or in all that there is."""

    cursor: Cursor
    told: int | None = None
    """In all that there is: the highest Client ID that was told."""

    def __str__(self) -> str:
        """Write it as programs keep it."""
        return str(self.cursor) if self.told is None else f"{self.cursor}-{client_id_text(self.told)}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read what ``str`` has written. ValueError if it is no place."""
        found = re.fullmatch(r"([0-9a-f]+-[0-9]+)(?:-([0-9a-f]{14}))?", text)
        if found is None:
            raise ValueError("not a cursor")
        return cls(Cursor.parse(found[1]), None if found[2] is None else int(found[2], 16))


class Part(NamedTuple):
    """What comes next."""

    told: list[dict[str, Any]]
    """In the words of `dpe properties --json`; each has its ``cursor``, but the one that says that all begins."""
    place: Place
    """Where to go on."""
    more: bool
    """Whether there is more by now."""


def read_on(store: Store, place: Place | None, vocabulary: Vocabulary, now: int, most: int) -> Part:
    """Return what comes after ``place``, or the beginning of all that there is. CursorError: that cannot be told.

    It ends after ``most`` sessions, or with the commit in which that is reached.
    """
    if place is None:
        standing = store.standing()
        begun = _everything(store, Cursor(standing.history, standing.newest), -1, vocabulary, now, most)
        return begun._replace(told=[in_json(Begin(), vocabulary), *begun.told])
    if place.told is not None:
        check(store, place.cursor)
        return _everything(store, place.cursor, place.told, vocabulary, now, most)
    told: list[dict[str, Any]] = []
    for news in since(store, place.cursor, COMMITS):
        assert news.cursor is not None
        told.append(in_json(news, vocabulary))
        is_last_of_commit = news.cursor != place.cursor
        place = Place(news.cursor)
        if len(told) >= most and is_last_of_commit:
            return Part(told, place, True)
    return Part(told, place, False)


def _everything(store: Store, cursor: Cursor, after: int, vocabulary: Vocabulary, now: int, most: int) -> Part:
    found = store.next_listed(after, most)
    told: list[dict[str, Any]] = []
    for session in found:
        after = session.client_id
        if session.record and (session.expires_at is None or session.expires_at > now):
            news = in_json(News(session.client_id, session.heard_at, session.record, None), vocabulary)
            told.append(news | {"cursor": str(Place(cursor, after))})
    if len(found) == most:
        return Part(told, Place(cursor, after), True)
    told.append(in_json(Upto(cursor, whole=True), vocabulary))
    return Part(told, Place(cursor), False)
