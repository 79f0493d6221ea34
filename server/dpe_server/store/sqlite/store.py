"""The store in one SQLite file (WAL, synchronous=FULL): what ``commit`` has made durable survives a loss of power.

The sqlite3 module releases the interpreter at every step of a statement and, beside a busy event loop, may wait 5 ms to
get it back. So a look has one statement for each kind of question, and a commit one to read and one to insert rows.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any, TypeVar

from dpe_server.store import session_rows
from dpe_server.store.changes import Changes, Noted, Standing
from dpe_server.store.commit_rules import Accepted, InSession, Registered, accept, check_beat, decide, steps
from dpe_server.store.contract import (
    BEATS,
    COMMIT_PATIENCE,
    OPERATOR_PATIENCE,
    PRUNE_CHUNK,
    RECOVERY_GAP,
    Beat,
    Change,
    Contact,
    Deregister,
    End,
    Expired,
    Forget,
    Measure,
    Outcome,
    OverridePolicies,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Stats,
    Unrevoke,
)
from dpe_server.store.listing import Listed, Wanted
from dpe_server.store.questions import Confirmed, Context, Facts, Questions, Restriction
from dpe_server.store.sqlite import changing, rows, statements
from dpe_server.store.sqlite.database import Database

_Row = TypeVar("_Row")
_Contacted = tuple[InSession, int | None]
"""A session after requests were accepted, and the number of the change in which its record has changed, or None."""

CHECKED_AT_ONCE = 10 * PRUNE_CHUNK
"""The most sessions for which ``expire`` notes that they end later than was noted before."""
PAGE = 1_000
"""Sessions that are read at once for a list of all."""


class SqliteStore:
    """A ``Store`` in the SQLite file ``path``.

    If ``make``, it is made (mode 0600) or brought to the newest schema if need be.
    """

    remote, wall = False, staticmethod(time.time)  # see ``Store``

    def __init__(self, path: Path | str, *, make: bool = True) -> None:
        """Open; StoreError says why not."""
        self._database = Database(Path(path), make=make)

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        facts = Facts()
        with self._database.reading() as reader:
            if questions.restrictions:
                found = reader.execute(
                    statements.RESTRICTIONS, {"devices": b"".join(questions.restrictions)}
                ).fetchall()
                laid = {device: Restriction(bool(revoked), epoch) for device, revoked, epoch in found}
                facts.minimum_epoch = laid.pop(statements.ALL_DEVICES).minimum_epoch
                facts.restrictions = laid
            if questions.client_ids_of:
                found = reader.execute(
                    statements.CLIENT_IDS_OF, {"devices": b"".join(questions.client_ids_of)}
                ).fetchall()
                facts.client_ids_of = dict(found)
            if questions.holders:
                facts.holders = dict(
                    reader.execute(statements.HOLDERS, {"client_ids": _json(questions.holders)}).fetchall()
                )
            if questions.in_use:
                facts.in_use = _in_use(reader, list(questions.in_use))
            if questions.confirmed:
                found = reader.execute(statements.CONFIRMED, {"client_ids": _json(questions.confirmed)}).fetchall()
                facts.confirmed = {client_id: Confirmed(*values) for client_id, *values in found}
            if questions.contexts:
                found = reader.execute(statements.CONTEXTS, {"client_ids": _json(questions.contexts)}).fetchall()
                make = Context._make
                facts.contexts = {row[0]: make(row) for row in found}
        return facts

    def commit(self, changes: Sequence[Change], *, patience: float = COMMIT_PATIENCE) -> list[Outcome]:
        """See ``Store.commit``."""
        if not changes:
            return []
        outcomes: list[Outcome] = []
        noted = Noted()
        with self._database.transaction(patience) as writer:
            for step in steps(changes):
                match step:
                    case Registered(sessions):
                        outcomes += _establish(writer, sessions, noted)
                    case Accepted(requests):
                        outcomes += _accept(writer, requests, noted)
                    case measure:
                        outcomes.append(_apply(writer, measure, noted))
            changing.note(writer, noted)
        return outcomes

    def last_ordinal(self) -> int:
        """See ``Store.last_ordinal``."""
        with self._database.reading() as reader:
            return int(reader.execute("SELECT last_ordinal FROM server").fetchone()[0])

    def expire(self, now: int) -> list[Expired]:
        """See ``Store.expire``."""
        with self._database.transaction(COMMIT_PATIENCE) as writer:
            writer.execute(statements.CHECK_LATER, {"now": now, "most": CHECKED_AT_ONCE})
            over = [*map(Expired._make, writer.execute(statements.OVER, {"now": now, "most": PRUNE_CHUNK}))]
            ended = [one.client_id for one in over]
            if ended:
                writer.execute(statements.END_SESSIONS, (now, _json(ended)))
            changing.note(writer, Noted(ended=ended))
        return over

    def prune(self, before: int) -> int:
        """See ``Store.prune``."""
        with self._database.transaction(COMMIT_PATIENCE) as writer:
            return writer.execute(statements.PRUNE, (before, PRUNE_CHUNK)).rowcount

    def drop_changes(self, after: int, before: int) -> int | None:
        """See ``Store.drop_changes``."""
        return changing.drop_some(self._database, after, before)

    def prepare_purge(self) -> None:
        """See ``Store.prepare_purge``."""
        self._database.prepare_purge()

    def purge(self) -> bool:
        """See ``Store.purge``."""
        return self._database.purge()

    def beat(self, remembered: Beat | None, random: bytes) -> Beat:
        """See ``Store.beat``; ReplacedError also if another file is in the place of the one that is open."""
        self._database.maintain()
        with self._database.transaction(OPERATOR_PATIENCE) as writer:
            return _beat(writer, remembered, random)

    def close(self) -> None:
        """See ``Store.close``."""
        self._database.close()

    def session(self, client_id: int) -> Session | None:
        """See ``Store.session``."""
        return self._session(statements.SESSION, client_id)

    def session_of(self, device: bytes) -> Session | None:
        """See ``Store.session_of``."""
        return self._session(statements.SESSION_OF, device)

    def _session(self, sql: str, name: int | bytes) -> Session | None:
        with self._database.reading() as reader:
            row = reader.execute(sql, (name,)).fetchone()
        return None if row is None else session_rows.session_of(row)

    def live(self, now: int) -> Iterator[Session]:
        """See ``Store.live``."""
        for page in self._pages(statements.LIVE, [], now):
            yield from map(session_rows.session_of, page)

    def listed(self, wanted: Wanted, now: int) -> Iterator[Listed]:
        """See ``Store.listed``."""
        for page in self._pages(*statements.listed(wanted), now):
            yield from map(Listed._make, page)

    def next_listed(self, after: int, most: int) -> list[Listed]:
        """See ``Store.next_listed``."""
        with self._database.reading() as reader:
            return [Listed._make(row) for row in reader.execute(statements.NEXT, (after, most))]

    def count(self, wanted: Wanted, now: int) -> int:
        """See ``Store.count``."""
        sql, values = statements.count(wanted)
        with self._database.reading() as reader:
            return int(reader.execute(sql, (-1, now, *values)).fetchone()[0])

    def _pages(self, sql: str, values: Sequence[int | str], now: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield sessions by their Client IDs, which are the first column, PAGE of them at once.

        Nothing is open between two pages, however long the caller takes for one.
        """
        last, more = -1, True
        while more:
            with self._database.reading() as reader:
                found = reader.execute(sql, (last, now, *values, PAGE)).fetchall()
            yield found
            more = len(found) == PAGE
            last = found[-1][0] if more else last

    def standing(self) -> Standing:
        """See ``Store.standing``."""
        self._database.check_place()
        with self._database.reading() as reader:
            return changing.standing(reader)

    def changes(self, after: int, most: int) -> list[Changes]:
        """See ``Store.changes``."""
        with self._database.reading() as reader:
            return changing.after(reader, after, most)

    def stats(self, now: int) -> Stats:
        """See ``Store.stats``."""
        with self._database.reading() as reader:
            sessions, ended, revoked = reader.execute(statements.COUNT, {"now": now}).fetchone()
        return Stats(live=sessions - ended, ended=ended, revoked=revoked)

    def measures(self) -> Iterator[Measure]:
        """See ``Store.measures``."""
        last, more = b"", True
        while more:
            with self._database.reading() as reader:
                found = reader.execute(statements.MEASURES, (last, PAGE)).fetchall()
            for device, revoked_at, epoch, policies in found:
                if revoked_at is not None:
                    yield Revoke(device, revoked_at)
                if epoch:
                    yield RestrictEpoch(device, epoch)
                if policies is not None:
                    yield OverridePolicies(device, policies)
            more = len(found) == PAGE
            last = found[-1][0] if more else last
        with self._database.reading() as reader:
            (epoch,) = reader.execute(statements.MINIMUM_EPOCH).fetchone()
        if epoch:
            yield SetMinimumEpoch(epoch)

    def recover(self, measures: Iterable[Measure], at: int) -> int:
        """See ``Store.recover``."""
        with self._database.transaction(OPERATOR_PATIENCE) as writer:
            ended = writer.execute(statements.END_ALL, (at,)).rowcount
            writer.execute(statements.MOVE_ORDINAL, (RECOVERY_GAP,))
            writer.execute(statements.NEW_HISTORY)
            writer.execute(statements.FORGET_CHANGES)
            for measure in measures:
                _apply(writer, measure, Noted())  # there is no session that it could end
        return ended

    def beat_anew(self, after: int, random: bytes) -> Beat:
        """See ``Store.beat_anew``."""
        with self._database.transaction(OPERATOR_PATIENCE) as writer:
            return _append_beat(writer, after, random)


def _beat(writer: sqlite3.Connection, remembered: Beat | None, random: bytes) -> Beat:
    found, oldest, _ = writer.execute(statements.BEATS, (remembered.number if remembered else 0,)).fetchone()
    check_beat(remembered, found, oldest)
    return _append_beat(writer, 0, random)


def _append_beat(writer: sqlite3.Connection, after: int, random: bytes) -> Beat:
    _, _, newest = writer.execute(statements.BEATS, (0,)).fetchone()
    beat = Beat(max(after, newest or 0) + 1, random)
    writer.execute(statements.BEAT, beat)
    writer.execute(statements.FORGET_BEATS, (beat.number - BEATS,))
    return beat


def _in_use(reader: sqlite3.Connection, ranges: Sequence[tuple[int, int]]) -> dict[tuple[int, int], set[int]]:
    found = reader.execute(statements.IN_USE, {"ranges": json.dumps(ranges)}).fetchall()
    return {ranges[place]: set(json.loads(client_ids)) for place, client_ids in found}


def _establish(writer: sqlite3.Connection, sessions: Sequence[Session], noted: Noted) -> list[Outcome]:
    keys = {
        "client_ids": _json(session.client_id for session in sessions),
        "devices": b"".join(session.device for session in sessions),
    }
    by_client_id, by_device, revoked = map(json.loads, writer.execute(statements.STORED, keys).fetchone())
    stored = starmap(rows.stored, (*by_client_id, *by_device))
    effect = decide(sessions, stored, set(map(bytes.fromhex, revoked)))
    if effect.ended:
        writer.execute(statements.MAKE_ROOM, (_json(effect.ended),))
    noted.ended += effect.replaced
    if effect.started:
        _put(writer, effect.started)
        newest = max(session.ordinal for session in effect.started)
        writer.execute(statements.COUNT_ORDINAL, (newest,))
    return effect.outcomes


def _accept(writer: sqlite3.Connection, requests: Sequence[Contact | Deregister], noted: Noted) -> list[Outcome]:
    client_ids = {"client_ids": _json({request.client_id for request in requests})}
    now, number, found = writer.execute(statements.IN_SESSION, client_ids).fetchone()
    stored = {row.client_id: row for row in starmap(rows.in_session, json.loads(found))}
    effect = accept(requests, stored.values(), now)
    if effect.ended:
        writer.execute(statements.END_SESSIONS, (now, _json(effect.ended)))
        noted.ended += effect.ended
    sooner: list[_Contacted] = []
    as_late: list[_Contacted] = []
    for row in effect.changed:
        before = stored[row.client_id]
        changed = None
        if row.record != before.record:
            noted.changed[row.client_id] = None
            changed = number
        (sooner if _ends_sooner(row.expires_at, before.expires_at) else as_late).append((row, changed))
    _bring_up_to_date(writer, sooner, sooner=True)
    _bring_up_to_date(writer, as_late, sooner=False)
    return effect.outcomes


def _ends_sooner(end: int | None, before: int | None) -> bool:
    return end is not None and (before is None or end < before)


def _bring_up_to_date(writer: sqlite3.Connection, contacted: Sequence[_Contacted], *, sooner: bool) -> None:
    for some in _pieces(contacted):
        values = [
            value
            for row, changed in some
            for value in (row.client_id, row.mark, row.attempt, *row[4:], changed)  # from seen_at on, as it is
        ]
        writer.execute(statements.put_contacts(len(some), sooner=sooner), values)


def _apply(writer: sqlite3.Connection, measure: Measure, noted: Noted) -> Outcome:
    def changed(sql: str, *values: int | bytes) -> bool:
        return writer.execute(sql, values).rowcount > 0

    match measure:
        case Revoke(device, at):
            writer.execute(statements.REVOKE, (device, at))
            return Outcome.SESSION_ENDED if _end(writer, device, at, noted) else Outcome.COMMITTED
        case Unrevoke(device):
            lifted = changed(statements.UNREVOKE, device)
            writer.execute(statements.TIDY, (device,))
            return Outcome.COMMITTED if lifted else Outcome.UNCHANGED
        case End(device, at):
            return Outcome.SESSION_ENDED if _end(writer, device, at, noted) else Outcome.UNCHANGED
        case Forget(device, at):
            return _forget(writer, device, at, noted)
        case RestrictEpoch(device, epoch):
            writer.execute(statements.RESTRICT, (device, epoch))
        case SetMinimumEpoch(epoch):
            writer.execute(statements.SET_MINIMUM_EPOCH, (epoch,))
        case OverridePolicies(device, None):
            lifted = changed(statements.NO_OVERRIDE, device)
            writer.execute(statements.TIDY, (device,))
            return Outcome.COMMITTED if lifted else Outcome.UNCHANGED
        case OverridePolicies(device, policies):  # pragma: no branch  # a measure is one of these seven
            writer.execute(statements.OVERRIDE, (device, policies))
    return Outcome.COMMITTED


def _end(writer: sqlite3.Connection, device: bytes, at: int, noted: Noted) -> bool:
    """End the session of a device; say whether it had one."""
    found = writer.execute(statements.CLIENT_ID_OF, (device,)).fetchone()
    if found is None:
        return False
    noted.ended += found
    writer.execute(statements.END_OF_DEVICE, (at, device))
    return True


def _forget(writer: sqlite3.Connection, device: bytes, at: int, noted: Noted) -> Outcome:
    ended = _end(writer, device, at, noted)
    traces = writer.execute(statements.DATE_TRACE, (at, device)).rowcount
    laid = writer.execute(statements.LAY_NO_EPOCH, (device,)).rowcount
    laid += writer.execute(statements.NO_OVERRIDE, (device,)).rowcount
    writer.execute(statements.TIDY, (device,))
    if ended:
        return Outcome.SESSION_ENDED
    return Outcome.COMMITTED if traces or laid else Outcome.UNCHANGED


def _put(writer: sqlite3.Connection, sessions: Sequence[Session]) -> None:
    for some in _pieces(sessions):
        values = [value for session in some for value in rows.row_of(session)]
        writer.execute(statements.put_sessions(len(some)), values)


def _pieces(values: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """Cut what is to be written into pieces whose sizes are powers of two: so their few statements stay prepared."""
    start = 0
    while start < len(values):
        size = min(statements.MAX_PUT, 1 << (len(values) - start).bit_length() - 1)
        yield values[start : start + size]
        start += size


def _json(integers: Iterable[int]) -> str:
    return str(list(integers))  # for one integer, a tenth of the time of json.dumps
