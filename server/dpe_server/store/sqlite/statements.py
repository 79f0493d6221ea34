"""The SQL of the SQLite store that does more than name a column.

A look-up takes any number of keys as one parameter: Client IDs as a JSON array of integers, devices as one byte string,
16 bytes each. CROSS JOIN makes SQLite go through the keys and search for each in an index.
"""

# ruff: noqa: S608  # statements are put together from constants of this file

from functools import cache

from dpe_server.store.listing import Listed, Wanted

MAX_PUT = 512
"""The most sessions that one statement inserts; times the columns it must stay below SQLite's 32,766 variables."""
ALL_DEVICES = b""
"""The name under which ``RESTRICTIONS`` has the minimum epoch of all devices."""

COLUMNS = (
    "client_id, device, sealed_imei, version_major, version_minor, firmware, suite, rule, ordinal,"
    " established_at, lifetime, expires_at, th3, success_hash, confirm, sealed_keys, mark, seen_at, record, epoch"
)
_NAMES = [*COLUMNS.split(", "), "check_at"]
_ROW = f"({', '.join('?' for _ in _NAMES)})"
_REPLACED = (
    ", ".join(f"{name} = excluded.{name}" for name in _NAMES if name != "device")
    + ", attempt = NULL, changed = NULL, ended_at = NULL"
)
_NOTHING = ", ".join(f"{name} = NULL" for name in (*_NAMES, "attempt", "changed") if name not in ("device", "ordinal"))
_EACH_CLIENT_ID = "json_each(:client_ids) CROSS JOIN session ON client_id = value"
_DEVICES = (
    "WITH RECURSIVE each(at) AS (SELECT 1 WHERE length(:devices)"
    " UNION ALL SELECT at + 16 FROM each WHERE at + 16 < length(:devices)) "
)
_EACH_DEVICE = "each CROSS JOIN {} ON device = substr(:devices, at, 16)"
_SESSIONS_OF_EACH = _EACH_DEVICE.format("session")
_RESTRICTIONS_OF_EACH = _EACH_DEVICE.format("restriction")

# Looking

RESTRICTIONS = (
    f"{_DEVICES}SELECT x'', 0, minimum_epoch FROM server"
    f" UNION ALL SELECT device, revoked_at IS NOT NULL, minimum_epoch FROM {_RESTRICTIONS_OF_EACH}"
)
"""The minimum epoch of all devices is read too: one statement costs less than two."""
CLIENT_IDS_OF = f"{_DEVICES}SELECT device, client_id FROM {_SESSIONS_OF_EACH} WHERE client_id IS NOT NULL"
HOLDERS = f"SELECT client_id, device FROM {_EACH_CLIENT_ID}"
IN_USE = (
    "SELECT key, (SELECT json_group_array(client_id) FROM session"
    " WHERE client_id BETWEEN json_extract(value, '$[0]') AND json_extract(value, '$[1]')) FROM json_each(:ranges)"
)
"""A row for each range: its place among the ranges, and the Client IDs."""
CONFIRMED = (
    "SELECT value, iif(client_id = value, success_hash, zeroblob(32)), expires_at, coalesce(confirm, x'')"
    " FROM json_each(:client_ids) LEFT JOIN session ON session.rowid ="
    " (SELECT rowid FROM session WHERE client_id >= value ORDER BY client_id LIMIT 1)"
)
"""Where no session has the Client ID, the next one's row is read: finding nothing must not be quicker."""
CONTEXTS = (
    "SELECT value, client_id IS value, coalesce(session.device, zeroblob(16)), ordinal, mark, expires_at, lifetime,"
    " rule, coalesce(client_id, value), coalesce(sealed_keys, x''), policies"
    " FROM json_each(:client_ids) LEFT JOIN session ON session.rowid ="
    " (SELECT rowid FROM session WHERE client_id >= value ORDER BY client_id LIMIT 1)"
    " LEFT JOIN restriction ON restriction.device = session.device"
)
"""As ``CONFIRMED``."""

# Committing

_SESSIONS = "SELECT json_group_array(json_array(client_id, hex(device), ordinal, hex(success_hash))) FROM"
_REVOKED = "SELECT json_group_array(hex(device)) FROM"
STORED = (
    f"{_DEVICES}SELECT ({_SESSIONS} {_EACH_CLIENT_ID}), ({_SESSIONS} {_SESSIONS_OF_EACH}),"
    f" ({_REVOKED} {_RESTRICTIONS_OF_EACH} WHERE revoked_at IS NOT NULL)"
)
"""All that a commit must know, as one row: sessions with its Client IDs, rows of its devices, its revoked devices."""
_NEXT = "(SELECT coalesce(max(number), 0) + 1 FROM change)"
IN_SESSION = (
    f"SELECT unixepoch(), {_NEXT}, json_group_array(json_array(client_id, ordinal, mark, hex(attempt), seen_at,"
    f" lifetime, expires_at, hex(record))) FROM {_EACH_CLIENT_ID}"
)
"""As one row: the time, the number of the next change, and all that a commit must know of sessions with requests."""
END_SESSIONS = f"UPDATE session SET {_NOTHING}, ended_at = ? WHERE client_id IN (SELECT value FROM json_each(?))"
MAKE_ROOM = "DELETE FROM session WHERE client_id IN (SELECT value FROM json_each(?))"
COUNT_ORDINAL = "UPDATE server SET last_ordinal = max(last_ordinal, ?)"
REVOKE = (
    "INSERT INTO restriction (device, revoked_at) VALUES (?, ?)"
    " ON CONFLICT (device) DO UPDATE SET revoked_at = coalesce(revoked_at, excluded.revoked_at)"
)
UNREVOKE = "UPDATE restriction SET revoked_at = NULL WHERE device = ? AND revoked_at IS NOT NULL"
OVERRIDE = (
    "INSERT INTO restriction (device, policies) VALUES (?, ?)"
    " ON CONFLICT (device) DO UPDATE SET policies = excluded.policies"
)
NO_OVERRIDE = "UPDATE restriction SET policies = NULL WHERE device = ? AND policies IS NOT NULL"
TIDY = (
    "DELETE FROM restriction WHERE device = ? AND revoked_at IS NULL AND minimum_epoch = 0 AND policies IS NULL"
    " AND device != zeroblob(16)"
)
"""Drops the row of a device on which nothing is imposed any more; the row of NOBODY stays."""
CLIENT_ID_OF = "SELECT client_id FROM session WHERE device = ? AND client_id IS NOT NULL"
END_OF_DEVICE = f"UPDATE session SET {_NOTHING}, ended_at = ? WHERE device = ? AND client_id IS NOT NULL"
DATE_TRACE = "UPDATE session SET ended_at = min(ended_at, ?) WHERE device = ? AND ended_at IS NOT NULL"
RESTRICT = (
    "INSERT INTO restriction (device, minimum_epoch) VALUES (?, ?)"
    " ON CONFLICT (device) DO UPDATE SET minimum_epoch = excluded.minimum_epoch"
)
LAY_NO_EPOCH = "UPDATE restriction SET minimum_epoch = 0 WHERE device = ? AND minimum_epoch != 0"
SET_MINIMUM_EPOCH = "UPDATE server SET minimum_epoch = ?"
CHECK_LATER = (
    "UPDATE session SET check_at = expires_at WHERE rowid IN (SELECT rowid FROM session"
    " WHERE check_at <= :now AND (expires_at IS NULL OR expires_at > :now) LIMIT :most)"
)
OVER = "SELECT client_id, device, ordinal FROM session WHERE check_at <= :now AND expires_at <= :now LIMIT :most"
PRUNE = "DELETE FROM session WHERE rowid IN (SELECT rowid FROM session WHERE ended_at < ? LIMIT ?)"

# Changes

NOTE = f"INSERT INTO change VALUES ({_NEXT}, unixepoch(), ?, ?)"
STANDING = "SELECT history, (SELECT coalesce(max(number), 0) FROM change), dropped FROM server"
CHANGES = "SELECT number, at, changed, ended FROM change WHERE number > ? ORDER BY number LIMIT ?"
RECORDS = f"SELECT client_id, record FROM {_EACH_CLIENT_ID}"
CHANGED_LAST = f"SELECT client_id, changed FROM {_EACH_CLIENT_ID}"
DROP_CHANGES = "DELETE FROM change WHERE number IN (SELECT value FROM json_each(?))"
CUT_CHANGE = "UPDATE change SET changed = ? WHERE number = ?"
DROPPED = "UPDATE server SET dropped = max(dropped, ?)"
NEW_HISTORY = "UPDATE server SET history = randomblob(8)"
FORGET_CHANGES = "DELETE FROM change WHERE number < (SELECT max(number) FROM change)"

# Beats

BEATS = (
    "SELECT (SELECT random FROM beat WHERE number = ?), (SELECT min(number) FROM beat), (SELECT max(number) FROM beat)"
)
BEAT = "INSERT INTO beat VALUES (?, ?)"
FORGET_BEATS = "DELETE FROM beat WHERE number <= ?"

# For operators

SESSION = f"SELECT {COLUMNS} FROM session WHERE client_id = ?"
SESSION_OF = f"SELECT {COLUMNS} FROM session WHERE device = ? AND client_id IS NOT NULL"
LIVE = (
    f"SELECT {COLUMNS} FROM session WHERE client_id > ? AND (expires_at IS NULL OR expires_at > ?)"
    " ORDER BY client_id LIMIT ?"
)
_IS_LIVE = "client_id > ? AND (expires_at IS NULL OR expires_at > ?)"
_CONDITIONS = {
    "rule": "rule = ?",
    "version": "(version_major, version_minor) = (?, ?)",
    "firmware": "firmware = ?",
    "epoch": "epoch = ?",
    "below_epoch": "epoch < ?",
    "unknown_epoch": "epoch IS NULL",
    "heard_before": "coalesce(seen_at, established_at) < ?",
}
"""By the fields of ``Wanted``."""
COUNT = (
    "SELECT (SELECT count(*) FROM session),"
    " (SELECT count(*) FROM session WHERE check_at <= :now AND expires_at <= :now)"
    " + (SELECT count(*) FROM session WHERE ended_at IS NOT NULL),"
    " (SELECT count(*) FROM restriction WHERE revoked_at IS NOT NULL)"
)

NEXT = f"SELECT {', '.join(Listed._fields)} FROM session WHERE client_id > ? ORDER BY client_id LIMIT ?"
MEASURES = (
    "SELECT device, revoked_at, minimum_epoch, policies FROM restriction"
    " WHERE device > ? AND (revoked_at IS NOT NULL OR minimum_epoch > 0 OR policies IS NOT NULL)"
    " ORDER BY device LIMIT ?"
)
MINIMUM_EPOCH = "SELECT minimum_epoch FROM server"
END_ALL = f"UPDATE session SET {_NOTHING}, ended_at = ? WHERE client_id IS NOT NULL"
MOVE_ORDINAL = "UPDATE server SET last_ordinal = last_ordinal + ?"


def listed(wanted: Wanted) -> tuple[str, list[int | str]]:
    """Return the statement that lists wanted sessions, and its values after the last Client ID and the time.

    Its last parameter is the most sessions that it may list.
    """
    where, values = _wanted(wanted)
    return f"SELECT {', '.join(Listed._fields)} FROM session WHERE {where} ORDER BY client_id LIMIT ?", values


def count(wanted: Wanted) -> tuple[str, list[int | str]]:
    """Return the statement that counts wanted sessions, and its values after the last Client ID and the time."""
    where, values = _wanted(wanted)
    return f"SELECT count(*) FROM session WHERE {where}", values


def _wanted(wanted: Wanted) -> tuple[str, list[int | str]]:
    where, values = [_IS_LIVE], list[int | str]()
    for name, value in wanted._asdict().items():
        if value is not None and value is not False:
            where.append(_CONDITIONS[name])
            values += [] if value is True else value if isinstance(value, tuple) else [value]
    return " AND ".join(where), values


@cache
def put_sessions(count: int) -> str:
    """Return the statement that inserts ``count`` sessions, each in place of its device's session if it has one."""
    rows = ", ".join([_ROW] * count)
    return f"INSERT INTO session ({', '.join(_NAMES)}) VALUES {rows} ON CONFLICT (device) DO UPDATE SET {_REPLACED}"


@cache
def put_contacts(count: int, *, sooner: bool = False) -> str:
    """Return the statement that brings ``count`` sessions up to date, each by its Client ID.

    ``sooner``: they end sooner than before. Otherwise it is left for ``CHECK_LATER`` to find that they end later.
    """
    check = ", check_at = new.expires_at" if sooner else ""
    rows = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * count)
    return (
        f"WITH new(client_id, mark, attempt, seen_at, lifetime, expires_at, record, changed) AS (VALUES {rows})"
        " UPDATE session SET mark = new.mark, attempt = new.attempt, seen_at = new.seen_at, lifetime = new.lifetime,"
        " expires_at = new.expires_at, record = new.record, changed = coalesce(new.changed, session.changed)"
        f"{check} FROM new WHERE session.client_id = new.client_id"
    )
