"""The transport job in Python: what a server does with a request when only the way to it and back is of interest.

A request is the CBOR map {1: 16 bytes, 2: number, 23: MAC}, its answer {1: the same, 2: number + 1, 23: MAC}. The MAC
is the first 16 bytes of HMAC-SHA-256 over all before it. native/transport_job.h has the same in C. The CBOR is read and
written by hand, as there: numbers are those that take four bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hmac import compare_digest, digest
from struct import Struct

from dpe_coap.binding import Code
from dpe_server.handling.handler import Batch, Completed
from dpe_server.handling.reply import UNAUTHORIZED, Reply
from dpe_server.store.contract import Change, Outcome
from dpe_server.store.questions import Facts, Questions

KINDS = frozenset({bytes([1, 0x50])})
"""The first entry of a request's map, its label and the head of its value: by this the lane knows a payload."""

_UNSIGNED = Struct(">3s16s2sI2s")
"""All of a message but its MAC: what is the same in all of them, and between that the 16 bytes and the number."""
_SAME = b"\xa3\x01\x50", b"\x02\x1a", b"\x17\x50"
_SIZE_MAC = 16


def answer(key: bytes, payload: bytes) -> bytes | None:
    """Return the answer to a request under ``key`` (32 bytes), or None when it is not as it must be."""
    if len(payload) != _UNSIGNED.size + _SIZE_MAC:
        return None
    start, nonce, before_number, number, before_mac = _UNSIGNED.unpack_from(payload)
    if (start, before_number, before_mac) != _SAME:
        return None
    if not compare_digest(digest(key, payload[:-_SIZE_MAC], "sha256")[:_SIZE_MAC], payload[-_SIZE_MAC:]):
        return None
    unsigned = _UNSIGNED.pack(start, nonce, before_number, number + 1 & 0xFFFFFFFF, before_mac)
    return unsigned + digest(key, unsigned, "sha256")[:_SIZE_MAC]


@dataclass(slots=True)
class Answered(Batch):
    """Requests, answered as soon as they are read."""

    replies: list[Reply] = field(default_factory=list)


class TransportJob:
    """The job as a handler: there is nothing to look up and nothing to commit."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def read(self, payloads: Sequence[bytes], now: float) -> Answered:
        """See ``Handler.read``."""
        return Answered(replies=[self._reply(payload) for payload in payloads])

    def decide(self, batch: Answered, facts: Facts | None, now: float, wall: float) -> Questions | None:
        """See ``Handler.decide``."""
        return None

    def complete(self, batch: Answered, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        """See ``Handler.complete``."""
        return Completed(batch.replies, batch.records)

    def abandon(self, batch: Answered) -> None:
        """See ``Handler.abandon``."""

    def _reply(self, payload: bytes) -> Reply:
        made = answer(self._key, payload)
        return UNAUTHORIZED if made is None else Reply.cbor(Code.CHANGED, made)


class NoStore:
    """The store of a server that keeps nothing."""

    remote = False

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        return Facts()

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See ``Store.commit``."""
        return []
