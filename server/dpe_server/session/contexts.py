"""The keys of sessions that are in use, so that they need not be opened and derived for each request.

Kept as raw bytes: a cipher object for each session would take five times as much memory, and the garbage collector
would visit a million of them. What is kept saves work and decides nothing: whether a session lives is read for each
batch.
"""

from collections.abc import Callable
from struct import Struct

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_server.keys.at_rest import AtRest, AtRestError
from dpe_server.session.room import make_room

TOTAL = 1 << 20
"""The most sessions whose keys are kept, some 200 MB. Those that came first go first."""
SIZE_MASTER_SECRET, SIZE_MASTER_SALT = 16, 8
"""Bytes. The sealed keys of a session are both, one behind the other."""
Used = tuple[int, bytes, bytes, bytes]
"""Of a session: ordinal, the client's key, the server's key (16 bytes each) and the nonce of number 0 (13 bytes)."""


class Contexts:
    """A bounded cache. ``at_rest`` opens the keys as the store has them; ``random`` gives strong bytes."""

    _ENTRY = Struct(f">Q{oscore.SIZE_KEY}s{oscore.SIZE_KEY}s{oscore.SIZE_NONCE}s")
    _NONE = _ENTRY.pack((1 << 64) - 1, b"", b"", b"")
    """Of no session: ordinals are below 2^63."""

    def __init__(self, at_rest: AtRest, random: Callable[[int], bytes], *, total: int = TOTAL) -> None:
        self._at_rest = at_rest
        self._total = total
        self._entries: dict[int, bytes] = {}
        self.derived = 0
        """How often keys were derived."""
        self.hits = 0
        """How many requests were accepted with keys that were kept."""
        self._nobodys = random(SIZE_MASTER_SECRET + SIZE_MASTER_SALT)
        self._nobodys_sealed = at_rest.seal_keys(self._nobodys, 0)

    def __len__(self) -> int:
        """How many sessions have their keys here."""
        return len(self._entries)

    def known(self, client_id: int, ordinal: int) -> Used | None:
        """Return what the session with this Client ID and ordinal uses, if it is kept.

        A Client ID may be given again, so a session is named by both.
        """
        used: Used = self._ENTRY.unpack(self._entries.get(client_id, self._NONE))  # without an entry, the same work
        return used if used[0] == ordinal else None

    def derive(self, client_id: int, ordinal: int, sealed_keys: bytes) -> Used:
        """Return what a session uses whose keys the store has. If none are there, or they do not open: nobody's."""
        self.derived += 1
        try:
            if sealed_keys:
                master = self._at_rest.open_keys(sealed_keys, client_id)
            else:  # the same work
                master = self._at_rest.open_keys(self._nobodys_sealed, 0)
        except AtRestError:
            master = self._nobodys
        sender = client_id_bytes(client_id)
        theirs, ours, common_iv = oscore.derive(master[:SIZE_MASTER_SECRET], master[SIZE_MASTER_SECRET:], sender)
        return ordinal, theirs, ours, oscore.nonce(common_iv, sender, 0)

    def keep(self, client_id: int, used: Used) -> None:
        """Keep what a session uses, now that a request was verified with it."""
        if client_id not in self._entries:
            make_room(self._entries, self._total)
        self._entries[client_id] = self._ENTRY.pack(*used)

    def forget(self, client_id: int) -> None:
        """Forget the keys of a session that has ended."""
        self._entries.pop(client_id, None)
