"""Whom a registration is about, told from a datagram before anything of it is decided.

A REQUEST names its device by the handle, a SUCCESS by the Client ID; both were given out by the server, and a device
has one at a time. Whoever makes many messages of few devices repeats their names: one who sends what he has heard
again, or changes it, or who has the keys of some.
"""

from dpe_coap import cbor
from dpe_coap.numbers import (
    LABEL_CLIENT_ID,
    LABEL_IDENTITY,
    LABEL_TYPE,
    SIZE_CLEAR_IMEI,
    SIZE_CLIENT_ID,
    SIZE_SEALED_IMEI,
    MessageType,
)
from dpe_server.coap.datagram import POSTS

TICK = 1.0
"""Seconds for which a name is remembered. A device sends again after 2 s (RFC 7252 section 4.8)."""
PLACES = 1 << 20
"""Bytes of memory, one for all names that fall on it: of 50,000 names a second, one in twenty is taken for another."""

_SIZES = {
    bytes([LABEL_TYPE, kind, label, cbor.BYTES << 5 | size]): 4 + size
    for kind, label, size in (
        (MessageType.REQUEST, LABEL_IDENTITY, SIZE_SEALED_IMEI),
        (MessageType.REQUEST, LABEL_IDENTITY, SIZE_CLEAR_IMEI),
        (MessageType.SUCCESS, LABEL_CLIENT_ID, SIZE_CLIENT_ID),
    )
}


def name_of(datagram: bytes) -> bytes:
    """Return what is the same in all messages of one kind about one device; nothing if this is not a plain one."""
    start = POSTS.get(datagram[:2])
    if start is None:
        return b""
    at = datagram.find(b"\xff", start) + 2  # behind the payload's first byte, which says how many entries follow
    size = _SIZES.get(datagram[at : at + 4])
    return b"" if size is None else datagram[at : at + size]


class Subjects:
    """Which names there have been in this tick, in ``PLACES`` bytes. Names of strangers can fill it for a tick."""

    def __init__(self) -> None:
        self._places = bytearray(PLACES)
        self._tick = 0

    def set_time(self, now: float) -> None:
        """Begin a new tick, if it is time for one (``now`` in monotonic seconds)."""
        self._tick = int(now / TICK) % 255 + 1  # what is left of 255 ticks ago is as good as overwritten in a flood

    def is_new(self, datagram: bytes) -> bool:
        """Say whether this is the first one in this tick that has its name, or it has none."""
        name = name_of(datagram)
        if not name:
            return True
        place = hash(name) & PLACES - 1  # keyed by the interpreter: who does not know the key cannot aim at another's
        if self._places[place] == self._tick:
            return False
        self._places[place] = self._tick
        return True
