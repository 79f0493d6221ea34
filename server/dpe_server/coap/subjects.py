"""Whom a datagram is about, told before anything of it is decided.

A message may name its subject, such as a device, at a place that needs no parser: right behind the payload's first
byte. Whoever makes many messages of few subjects repeats their names: one who sends what he has heard again, or changes
it, or who has the keys of some.
"""

from collections.abc import Mapping

from dpe_server.coap.datagram import POSTS

HEAD = 4
"""Bytes behind the payload's first one that tell whether a message names its subject."""
TICK = 1.0
"""Seconds for which a name is remembered. A device sends again after 2 s (RFC 7252 section 4.8)."""
PLACES = 1 << 20
"""Bytes of memory, one for all names that fall on it: of 50,000 names a second, one in twenty is taken for another."""

SubjectSizes = Mapping[bytes, int]
"""The bytes of a name, by the first ``HEAD`` of them. What begins otherwise names nobody."""


def subject_of(datagram: bytes, sizes: SubjectSizes) -> bytes:
    """Return what is the same in all messages of one kind about one subject; nothing if this is not a plain one."""
    start = POSTS.get(datagram[:2])
    if start is None:
        return b""
    at = datagram.find(b"\xff", start) + 2  # behind the payload's first byte
    size = sizes.get(datagram[at : at + HEAD])
    return b"" if size is None else datagram[at : at + size]


class Subjects:
    """Which names there have been in this tick, in ``PLACES`` bytes. Made-up names can fill it for a tick."""

    def __init__(self, sizes: SubjectSizes) -> None:
        self._sizes = sizes
        self._places = bytearray(PLACES)
        self._tick = 0

    def set_time(self, now: float) -> None:
        """Begin a new tick, if it is time for one (``now`` in monotonic seconds)."""
        self._tick = int(now / TICK) % 255 + 1  # what is left of 255 ticks ago is as good as overwritten in a flood

    def is_new(self, datagram: bytes) -> bool:
        """Say whether this is the first one in this tick that has its name, or it has none."""
        name = subject_of(datagram, self._sizes)
        if not name:
            return True
        place = hash(name) & PLACES - 1  # keyed by the interpreter: who does not know the key cannot aim at another's
        if self._places[place] == self._tick:
            return False
        self._places[place] = self._tick
        return True
