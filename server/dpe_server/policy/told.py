"""What a device is told of what it is to report: an answer that is encoded once, and kept."""

from functools import lru_cache
from typing import NamedTuple

from dpe_coap.numbers import MIN_LIFETIME
from dpe_coap.session_messages import Answer, decode_policies, encode_policies

NOTHING = encode_policies({})
"""Policies that have a device report nothing unasked."""

REMEMBERED = 4_096
"""The most answers that are remembered."""


class Told(NamedTuple):
    """What a device is told."""

    answer: bytes
    """An encoded dpe-answer, at most 1,024 bytes."""
    etag: bytes
    """Its policy etag, 4 bytes."""
    lifetime: int | None
    """Seconds that the session lives from now, 60 to 2^32 - 1; None: without end."""


@lru_cache(REMEMBERED)
def told_of(policies: bytes, lifetime: int | None) -> Told:
    """Return what a device is told that has these ``policies``, encoded by themselves, and this lifetime.

    A lifetime below 60 s, which sessions of earlier versions may have, becomes 60 s. LocalError: it is above
    2^32 - 1 s, or the policies have more than 1,010 bytes. MalformedMessage: they are none.
    """
    told = None if lifetime is None else max(lifetime, MIN_LIFETIME)
    answer = Answer(decode_policies(policies), told)
    return Told(answer.encode(), answer.policy_etag, told)
