"""The transport job in Python: what a server does with a request when only the way to it and back is of interest.

A request is the CBOR map {1: 16 bytes, 2: number, 23: MAC}, its answer {1: the same, 2: number + 1, 23: MAC}. The MAC
is the first 16 bytes of HMAC-SHA-256 over all before it. native/transport_job.h has the same in C.
"""

from collections.abc import Sequence
from hmac import compare_digest, digest

import cbor2

from dpe_coap.binding import Code
from dpe_server.handling.reply import UNAUTHORIZED, Reply
from dpe_server.registration.registrar import Prepared
from dpe_server.store.contract import Outcome

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


class TransportJob:
    """The job as a service of the batcher: there is nothing to commit."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def prepare(self, batch: Sequence[bytes], now: float, wall: float) -> Prepared:
        """See ``dpe_server.handling.batching.Service``."""
        return Prepared([self._reply(payload) for payload in batch])

    def complete(self, prepared: Prepared, outcomes: Sequence[Outcome] | None, now: float) -> list[Reply]:
        """See ``dpe_server.handling.batching.Service``."""
        return prepared.slots  # type: ignore[return-value]  # no transaction is among them

    def _reply(self, payload: bytes) -> Reply:
        made = answer(self._key, payload)
        return UNAUTHORIZED if made is None else Reply.message(Code.CHANGED, made)
