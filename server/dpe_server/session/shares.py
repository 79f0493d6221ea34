"""How much one device may report, whatever it holds: a burst of requests, then one a second."""

BURST = 10
"""Requests that may come at once."""
EVERY = 1.0
"""Seconds in which a device may send one more."""
_LIFE = BURST * EVERY
"""Seconds after which a burst is used up no more."""


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
        if now - self._began >= _LIFE:
            self._old = self._new if now - self._began < 2 * _LIFE else {}
            self._new, self._began = {}, now
        used = self._new.get(client_id)
        if used is None:
            used = self._old.get(client_id, now)
        until = EVERY + (used if used > now else now)
        if until > now + _LIFE:
            return False
        self._new[client_id] = until
        return True
