"""A search among sessions in bounded steps: whoever asks goes on from where it ended.

Only the Client ID has an index that a search can use; for the rest, sessions are looked at one after the other.
"""

import re
from typing import NamedTuple

from dpe_server.store.contract import Store
from dpe_server.store.listing import Listed, Wanted, fits

AT_ONCE = 200
"""The most rows that one query reads."""
ROUNDS = 25
"""The most queries of one search; with AT_ONCE, it looks at 5,000 sessions."""
LAST = (1 << 56) - 1
"""The highest Client ID."""


class Found(NamedTuple):
    """What a search has found."""

    sessions: list[Listed]
    after: int | None
    """The Client ID after which to go on; None: that was all."""
    looked_at: int
    """How many sessions."""


def search(
    store: Store, wanted: Wanted, now: int, *, after: int = -1, upto: int = LAST, most: int, rounds: int | None = None
) -> Found:
    """Find sessions that are live at ``now`` and wanted, with a Client ID above ``after`` and at most ``upto``.

    It ends with ``most`` sessions, which is at most AT_ONCE, or after ``rounds`` queries (ROUNDS).
    """
    found: list[Listed] = []
    looked_at = 0
    for _ in range(ROUNDS if rounds is None else rounds):
        some = store.next_listed(after, AT_ONCE)
        for session in some:
            if session.client_id > upto:
                return Found(found, None, looked_at)
            looked_at += 1
            after = session.client_id
            if (session.expires_at is None or session.expires_at > now) and fits(session, wanted):
                found.append(session)
                if len(found) == most:
                    return Found(found, after, looked_at)
        if len(some) < AT_ONCE:
            return Found(found, None, looked_at)
    return Found(found, after, looked_at)


def of_prefix(digits: str) -> tuple[int, int]:
    """Return the bounds for ``search`` of the Client IDs that begin with these hex digits. ValueError."""
    if not re.fullmatch(r"[0-9A-Fa-f]{1,14}", digits):
        raise ValueError("a Client ID has 14 hex digits")
    first = int(digits.ljust(14, "0"), 16)
    return first - 1, first + (1 << 4 * (14 - len(digits))) - 1
