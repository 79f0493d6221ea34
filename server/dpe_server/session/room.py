"""Room in what is bounded: a plain dict, in the order in which its entries came."""

from itertools import islice

_AT_ONCE = 16
"""Of so many entries, one goes. A dict looks for its first entry past all that were deleted before it: one by one, this
would cost more than all the rest of a report."""


def make_room(entries: dict[int, bytes], total: int) -> None:
    """Delete the oldest entries if there are ``total``."""
    if len(entries) >= total:
        for key in list(islice(entries, max(1, total // _AT_ONCE))):
            del entries[key]
