"""How much one device may report, whatever it holds: a burst of requests, then one a second."""

BURST = 10
"""Requests that may come at once."""
EVERY = 1.0
"""Seconds in which a device may send one more."""


class Shares:
    """What each session has used of its share. Times are monotonic seconds.

    A session has used up nothing when nothing is known of it: so an entry that is as old as a burst says nothing, and
    two generations bound the memory by the rate of requests.
    """

    def __init__(self) -> None:
        self._new: dict[int, float] = {}
        """By Client ID, until when what was sent would have taken at one each second."""
        self._old: dict[int, float] = {}
        self._began = float("-inf")

    def take(self, client_id: int, now: float) -> bool:
        """Count a request of a session; False if its device has had its share."""
        if now - self._began >= BURST * EVERY:
            self._old = self._new if now - self._began < 2 * BURST * EVERY else {}
            self._new, self._began = {}, now
        until = max(now, self._new.get(client_id) or self._old.get(client_id, now))
        if until > now + (BURST - 1) * EVERY:
            return False
        self._new[client_id] = until + EVERY
        return True
