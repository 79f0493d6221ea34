"""The transport job in Python: what a server does with a request when only the way to it and back is of interest.

A request is the CBOR map {1: 16 bytes, 2: number, 23: MAC}, its answer {1: the same, 2: number + 1, 23: MAC}. The MAC
is the first 16 bytes of HMAC-SHA-256 over all before it. native/transport_job.h has the same in C.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hmac import compare_digest, digest

import cbor2

from dpe_coap.binding import Code
from dpe_server.handling.handler import Batch, Completed
from dpe_server.handling.reply import UNAUTHORIZED, Reply
from dpe_server.store.contract import Change, Outcome
from dpe_server.store.questions import Facts, Questions

KINDS = frozenset({bytes([1, 0x50])})
"""The first entry of a request's map, its label and the head of its value: by this the lane knows a payload."""

_NO_MAC = bytes(16)


def answer(key: bytes, payload: bytes) -> bytes | None:
    """Return the answer to a request under ``key`` (32 bytes), or None when it is not as it must be."""
    try:
        fields = cbor2.loads(payload)
        if not compare_digest(digest(key, payload[:-16], "sha256")[:16], fields[23]):
            return None
        unsigned = cbor2.dumps({1: fields[1], 2: fields[2] + 1, 23: _NO_MAC})[:-16]
    except (cbor2.CBORDecodeError, LookupError, TypeError):
        return None
    return unsigned + digest(key, unsigned, "sha256")[:16]


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
