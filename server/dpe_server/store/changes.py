"""What has changed, in the order of the commits, for those who follow it (docs/session.md, "Changes").

A commit that changes what devices have reported, or ends sessions, adds one row: its number, and which Client IDs these
are. What a session has now stands in the session alone, so a row is small, and of values that were overwritten nobody
need read more than the last one. A row may lose the sessions that have changed again since: a later row has them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dpe_coap.client_ids import client_id_bytes, client_id_of
from dpe_coap.numbers import SIZE_CLIENT_ID

KEPT = 7 * 86_400
"""Seconds that a change is kept at least."""


@dataclass(slots=True)
class Noted:
    """What a commit changes."""

    changed: dict[int, None] = field(default_factory=dict)
    """Client IDs of sessions whose record has changed, as an ordered set."""
    ended: list[int] = field(default_factory=list)
    """Client IDs of sessions that have ended, or were replaced."""

    def __bool__(self) -> bool:
        """Say whether there is anything to note."""
        return bool(self.changed or self.ended)


class Row(NamedTuple):
    """What one commit has changed, as it is kept."""

    number: int
    """Positive. Numbers rise, with gaps."""
    at: int
    """Unix seconds."""
    changed: Sequence[int]
    """Client IDs."""
    ended: Sequence[int]
    """Client IDs."""


class Reported(NamedTuple):
    """What a session has now."""

    client_id: int
    record: bytes


class Changes(NamedTuple):
    """What one commit has changed, as it is read: first some sessions ended, then others changed."""

    number: int
    at: int
    """Unix seconds."""
    ended: Sequence[int]
    """Client IDs."""
    changed: Sequence[Reported]
    """Without sessions that are not there any more, and those that a later commit of the same reading has."""


class Standing(NamedTuple):
    """Up to where there are changes, and from where on."""

    history: bytes
    """8 bytes: names what has happened to this store. Another store has another one, and so has a store that was put
    back, once it is recovered."""
    newest: int
    """The number of the newest change; 0: there was none yet."""
    dropped: int
    """The highest number of a change that is not kept any more; 0: all are."""


def packed(client_ids: Iterable[int]) -> bytes:
    """Return Client IDs as one byte string."""
    return b"".join(map(client_id_bytes, client_ids))


def unpacked(client_ids: bytes) -> list[int]:
    """The inverse of ``packed``."""
    return [client_id_of(client_ids[at : at + SIZE_CLIENT_ID]) for at in range(0, len(client_ids), SIZE_CLIENT_ID)]


def read(rows: Sequence[Row], records: Mapping[int, bytes]) -> list[Changes]:
    """Return what rows, in their order, say to a reader. ``records`` has what their sessions have now, or had later."""
    last = {client_id: row.number for row in rows for client_id in row.changed}
    return [
        Changes(
            row.number,
            row.at,
            row.ended,
            [
                Reported(client_id, records[client_id])
                for client_id in row.changed
                if last[client_id] == row.number and client_id in records
            ],
        )
        for row in rows
    ]


def without_overtaken(row: Row, changed_last: Mapping[int, int | None]) -> Row:
    """Return a row without the sessions that have changed again since, or are gone.

    ``changed_last`` has, by Client ID, the number of a session's last change.
    """
    return row._replace(changed=[one for one in row.changed if changed_last.get(one) == row.number])
