"""Whom a datagram is about, before anything of it is decided.

A message may name its subject, such as a device, at a place that needs no parser: right after the payload's first byte.
A request under OSCORE names its device in the option.
A sender of many messages about few subjects repeats their names: someone who replays or alters what was overheard, or
who has the keys of a few devices.
"""

from collections.abc import Mapping

from dpe_server.coap.datagram import POSTS
from dpe_server.coap.protected import named

HEAD = 4
"""Bytes after the payload's first one that tell whether a message names its subject."""
TICK = 1.0
"""Seconds for which a name is remembered. A device sends again after 2 s (RFC 7252 section 4.8)."""
PLACES = 1 << 20
"""Bytes of memory, one for all names with the same hash. Of 50,000 names a second, one in twenty passes for another."""

MOST_CROWDED = 1 << 16
"""The most names that count as one with others, in some 15 MB."""

SubjectSizes = Mapping[bytes, int]
"""The length of a name, by its first ``HEAD`` bytes. A message that begins otherwise names nobody."""


def subject_of(datagram: bytes, sizes: SubjectSizes) -> bytes:
    """Return the name of a datagram's subject, the same in all messages of one kind; empty if there is none."""
    start = POSTS.get(datagram[:2])
    if start is None:
        return b""
    client_id = named(datagram, start)
    if client_id:
        return client_id
    at = datagram.find(b"\xff", start) + 2  # after the payload's first byte
    size = sizes.get(datagram[at : at + HEAD])
    return b"" if size is None else datagram[at : at + size]


class Crowds:
    """Names that count as one, because somebody uses too many of them. A server's sockets share it."""

    def __init__(self) -> None:
        self.common: dict[bytes, bytes] = {}
        """The name that they count as."""

    def add(self, name: bytes, common: bytes) -> None:
        """Let ``name`` count as ``common`` from now on, until there are too many to remember."""
        if len(self.common) >= MOST_CROWDED:
            self.common.clear()
        self.common[name] = common


class Subjects:
    """Which names have come in this tick, in ``PLACES`` bytes. Made-up names can fill it for a tick."""

    def __init__(self, sizes: SubjectSizes, crowds: Crowds) -> None:
        self._sizes = sizes
        self._crowds = crowds.common
        self._places = bytearray(PLACES)
        self._tick = 0

    def set_time(self, now: float) -> None:
        """Begin a new tick, if it is time for one (``now`` in monotonic seconds)."""
        self._tick = int(now / TICK) % 255 + 1  # in a flood, what is left from 255 ticks ago is as good as gone

    def is_new(self, datagram: bytes) -> bool:
        """Say whether this is the first datagram of this tick with its name, or has no name."""
        name = subject_of(datagram, self._sizes)
        if not name:
            return True
        name = self._crowds.get(name, name)
        place = hash(name) & PLACES - 1  # ``hash`` is keyed: without the key nobody can aim at another's place
        if self._places[place] == self._tick:
            return False
        self._places[place] = self._tick
        return True
