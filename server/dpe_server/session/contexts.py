"""The keys of sessions that are in use, so that they need not be opened and derived for each request.

Kept as raw bytes: a cipher object for each session would take five times as much memory, and the garbage collector
would visit a million of them. What is kept saves work and decides nothing: whether a session lives is read for each
batch.
"""

from struct import Struct

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_server.keys.at_rest import AtRest, AtRestError

TOTAL = 1 << 20
"""The most sessions whose keys are kept, some 200 MB. The one that came first goes first."""
SIZE_MASTER_SECRET = 16
"""The sealed keys of a session are its master secret and its master salt."""
_NOBODYS = bytes(SIZE_MASTER_SECRET + 8)


class Contexts:
    """A bounded cache. ``at_rest`` opens the keys as the store has them."""

    _ENTRY = Struct(f">Q{oscore.SIZE_KEY}s{oscore.SIZE_KEY}s{oscore.SIZE_NONCE}s")

    def __init__(self, at_rest: AtRest, *, total: int = TOTAL) -> None:
        self._at_rest = at_rest
        self._total = total
        self._entries: dict[int, bytes] = {}

    def __len__(self) -> int:
        """How many sessions have their keys here."""
        return len(self._entries)

    def known(self, client_id: int, ordinal: int) -> oscore.Keys | None:
        """Return the keys of the session with this Client ID and ordinal, if they are kept.

        A Client ID may be given again, so a session is named by both.
        """
        entry = self._entries.get(client_id)
        if entry is None:
            return None
        known, *keys = self._ENTRY.unpack(entry)
        return oscore.Keys(*keys) if known == ordinal else None

    def derive(self, client_id: int, sealed_keys: bytes) -> oscore.Keys | None:
        """Return the keys of a session as the store has them, for the same work also if they do not open: then None."""
        try:
            opened = self._at_rest.open_keys(sealed_keys, client_id)
        except AtRestError:
            opened = None
        master = _NOBODYS if opened is None else opened
        keys = oscore.derive(master[:SIZE_MASTER_SECRET], master[SIZE_MASTER_SECRET:], client_id_bytes(client_id))
        return None if opened is None else keys

    def keep(self, client_id: int, ordinal: int, keys: oscore.Keys) -> None:
        """Keep the keys of a session, from which a request has been verified."""
        if client_id not in self._entries and len(self._entries) >= self._total:
            del self._entries[next(iter(self._entries))]
        self._entries[client_id] = self._ENTRY.pack(ordinal, *keys)

    def forget(self, client_id: int) -> None:
        """Forget the keys of a session that has ended."""
        self._entries.pop(client_id, None)
