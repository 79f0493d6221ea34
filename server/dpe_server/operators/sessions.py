"""What may be shown of sessions: nothing that identifies a device."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from dpe_coap.client_ids import client_id_text
from dpe_server.operators.properties import decoded, reported, shown
from dpe_server.policy import Vocabulary
from dpe_server.store.contract import Session
from dpe_server.store.listing import Listed
from dpe_server.store.record import count

SUITES = {1: "plain", 2: "X25519"}

Shown = Session | Listed


def state_of(session: Shown, now: int) -> str:
    """Return the state of a session at ``now`` (Unix seconds)."""
    return "ESTABLISHED" if session.expires_at is None or session.expires_at > now else "EXPIRED"


def describe(session: Shown, now: int) -> dict[str, Any]:
    """Return what may be shown of a live session, for JSON. Times are in seconds.

    The age is None for a session that began later than it is now: the clock has been set back.
    """
    age = now - session.established_at
    return {
        "client_id": client_id_text(session.client_id),
        "version": str(session.version),
        "state": "ESTABLISHED",
        "suite": session.suite,
        "epoch": session.epoch,
        "firmware": session.firmware,
        "rule": session.rule,
        "established_at": session.established_at,
        "expires_at": session.expires_at,
        "seen_at": session.seen_at,
        "age": age if age >= 0 else None,
    }


def describe_all(found: Iterable[Shown], now: int, vocabulary: Vocabulary | None) -> Iterator[dict[str, Any]]:
    """Describe sessions and how many properties they have; with a vocabulary, also these."""
    for session in found:
        told = describe(session, now) | {"reported": count(session.record)}
        yield told if vocabulary is None else told | {"properties": reported(session.record, vocabulary)}


def in_words(vocabulary: Vocabulary) -> Callable[[bytes, bytes], str]:
    """Return what puts an encoded property and its value into words."""

    @lru_cache(1 << 16)
    def words(property_: bytes, value: bytes) -> str:
        wire = decoded(property_)
        return f"{vocabulary.name_of(wire)} {shown(wire, decoded(value), vocabulary)}"

    return words
