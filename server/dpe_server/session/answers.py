"""The last answer of each session, so that a device that asks again gets the same bytes.

A repeat is known by its OSCORE option and its ciphertext, not by message ID, CoAP token or source. It cannot be
answered anew: its number is used up, and an answer under one nonce is made once.
"""

from struct import Struct

from dpe_server.session.room import make_room

LIFE = 247.0
"""Seconds for which an answer is kept: EXCHANGE_LIFETIME (RFC 7252 section 4.8.2)."""
REPEATS = 4
"""How often an answer is sent again: MAX_RETRANSMIT (RFC 7252 section 4.8)."""
TOTAL = 1 << 17
"""The most sessions whose last answer is kept; the oldest answers go first. Most have some 20 bytes."""


class Answers:
    """Remembers one answer a session, by Client ID. Times are monotonic seconds."""

    _HEAD = Struct(">qdB")
    """Fingerprint of the request, when it was answered, how often it was answered again."""
    _NONE = _HEAD.pack(0, float("-inf"), REPEATS)

    def __init__(self, *, total: int = TOTAL) -> None:
        self._total = total
        self._entries: dict[int, bytes] = {}

    def __len__(self) -> int:
        """How many answers are kept."""
        return len(self._entries)

    def again(self, client_id: int, request: bytes, now: float) -> bytes | None:
        """Return what this very request was answered, for the next repeat; None if that is not kept, or used up."""
        entry = self._entries.get(client_id, self._NONE)  # without one, the same work
        fingerprint, answered_at, repeats = self._HEAD.unpack_from(entry)
        if fingerprint != hash(request) or now > answered_at + LIFE or repeats >= REPEATS:
            return None
        answer = entry[self._HEAD.size :]
        self._entries[client_id] = self._HEAD.pack(fingerprint, answered_at, repeats + 1) + answer
        return answer

    def given(self, client_id: int, request: bytes) -> bytes | None:
        """Return what this very request was answered, for one that came before that, and is no repeat of it."""
        entry = self._entries.get(client_id, self._NONE)
        return entry[self._HEAD.size :] if self._HEAD.unpack_from(entry)[0] == hash(request) else None

    def keep(self, client_id: int, request: bytes, answer: bytes, now: float) -> None:
        """Keep the answer to ``request``, instead of the session's earlier one."""
        self._entries.pop(client_id, None)  # so that it becomes the youngest
        make_room(self._entries, self._total)
        self._entries[client_id] = self._HEAD.pack(hash(request), now, 0) + answer
