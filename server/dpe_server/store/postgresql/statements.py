"""The SQL of the PostgreSQL store.

A look-up takes any number of keys as one array. ``test_plans`` reads how PostgreSQL would execute each of these
statements: none goes through a table or a whole index, but for those in ``OF_ALL``.
"""

# ruff: noqa: S608  # statements are put together from constants of this file

from dpe_server.store.listing import Listed, Wanted
from dpe_server.store.postgresql.schema import SLOTS
from dpe_server.store.questions import PLACE_BITS

LEAP_BY = 1_024
"""How many numbers are left out: the 32 of as many connections."""
SESSION_COLUMNS = {
    "client_id": "int8",
    "device": "bytea",
    "sealed_imei": "bytea",
    "version_major": "int8",
    "version_minor": "int8",
    "firmware": "bytea",
    "suite": "int8",
    "rule": "text",
    "ordinal": "int8",
    "established_at": "int8",
    "lifetime": "int8",
    "expires_at": "int8",
    "th3": "bytea",
    "success_hash": "bytea",
    "confirm": "bytea",
    "sealed_keys": "bytea",
    "mark": "int8",
    "seen_at": "int8",
    "record": "bytea",
    "epoch": "int8",
}
"""The columns of a session, with the type of their arrays: PostgreSQL makes smaller integers of int8 by itself."""

_COLUMNS = ", ".join(SESSION_COLUMNS)
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in SESSION_COLUMNS.values())
_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in (*SESSION_COLUMNS, "check_at") if name != "device")
_NOTHING = ", ".join(
    f"{name} = NULL"
    for name in (*SESSION_COLUMNS, "check_at", "attempt", "changed", "replaced")
    if name not in ("device", "ordinal")
)
_NOW = "floor(extract(epoch FROM clock_timestamp()))::int8"
_LIVE = f"(d.expires_at IS NULL OR d.expires_at > {_NOW})"
_SHIFT = "(SELECT shift FROM server WHERE one = 1)"
"""What is added to the number of a transaction: in a store that was made from another, its changes are lower."""
_NUMBER = f"(pg_current_xact_id()::text::int8 + {_SHIFT})"
"""Of the change that a transaction makes: its own number."""
_SETTLED = f"number < pg_snapshot_xmin(pg_current_snapshot())::text::int8 + {_SHIFT}"
"""Of changes that are followed by no lower number: all transactions before them have ended, seen or not."""
_PACKED = "SELECT coalesce(string_agg(substr(int8send(client_id), 2), ''), '') AS client_ids FROM"
_NOTE = (
    f"INSERT INTO change AS c SELECT {_NUMBER}, {_NOW}, changed.client_ids, ended.client_ids"
    f" FROM ({_PACKED} {{changed}} AS n) AS changed, ({_PACKED} {{ended}} AS n) AS ended"
    " WHERE changed.client_ids <> '' OR ended.client_ids <> ''"
    " ON CONFLICT (number) DO UPDATE SET changed = c.changed || excluded.changed, ended = c.ended || excluded.ended"
)
_NOBODY_CHANGED = "(SELECT NULL::int8 AS client_id WHERE false)"
_RESTRICTED = "revoked_at IS NOT NULL OR minimum_epoch > 0 OR policies IS NOT NULL"

# Looking

RESTRICTIONS = (
    "SELECT ''::bytea, false, minimum_epoch FROM server WHERE one = 1"
    " UNION ALL SELECT device, revoked_at IS NOT NULL, minimum_epoch FROM device"
    f" WHERE device = ANY(%s::bytea[]) AND ({_RESTRICTED} OR device = '\\x{bytes(16).hex()}')"
)
"""The minimum epoch of all devices is read too, under no name: both are of one moment."""
CLIENT_IDS_OF = "SELECT device, client_id FROM device WHERE device = ANY(%s::bytea[]) AND client_id IS NOT NULL"
HOLDERS = "SELECT client_id, device FROM device WHERE client_id = ANY(%s::int8[])"
IN_USE = (
    "SELECT first, last, ARRAY(SELECT client_id FROM device WHERE client_id BETWEEN first AND last)"
    " FROM unnest(%s::int8[], %s::int8[]) AS asked (first, last)"
)
_NEXT = (
    "FROM unnest(%s::int8[]) AS asked LEFT JOIN LATERAL"
    " (SELECT * FROM device WHERE client_id >= asked ORDER BY client_id LIMIT 1) AS d ON true"
)
CONFIRMED = (
    f"SELECT asked, CASE WHEN d.client_id = asked THEN success_hash ELSE '\\x{bytes(32).hex()}' END, expires_at,"
    f" coalesce(confirm, '') {_NEXT}"
)
"""Where no session has the Client ID, the next one's row is read: finding nothing must not be quicker."""
CONTEXTS = (
    f"SELECT asked, d.client_id IS NOT DISTINCT FROM asked, coalesce(device, '\\x{bytes(16).hex()}'), ordinal, mark,"
    f" expires_at, lifetime, rule, coalesce(d.client_id, asked), coalesce(sealed_keys, ''), policies {_NEXT}"
)
"""As ``CONFIRMED``."""
NUMBER = "SELECT nextval('ordinal')"
LEAP = f"SELECT max(nextval('ordinal')) FROM generate_series(1, {LEAP_BY})"
"""PostgreSQL makes 32 numbers durable at once, and gives out those after the first before they are. So a primary that
is lost may have given out some of which the next one knows nothing."""
CATCH_UP = (
    f"SELECT setval('ordinal', (SELECT max(ordinal) >> {PLACE_BITS} FROM reached) + {LEAP_BY})"
    f" WHERE (SELECT max(ordinal) >> {PLACE_BITS} FROM reached) > (SELECT last_value FROM ordinal)"
)
"""Numbers go on after all ordinals that were ever committed: some came from elsewhere, if the store was copied."""

# Committing

# Everybody locks in this order. By the column itself an index would be gone through, to save the sorting.
_LOCKED = "ORDER BY device || '' FOR UPDATE"
IN_SESSION = (
    f"SELECT {_NOW}, device, client_id, ordinal, mark, attempt, seen_at, lifetime, expires_at, record FROM device"
    " WHERE client_id = ANY(%s::int8[])"
)
"""The time, the device, and all that a commit must know of sessions that have accepted requests."""
IN_SESSION_LOCKED = f"{IN_SESSION} {_LOCKED}"
STORED_LOCKED = (
    "SELECT client_id, device, ordinal, success_hash, revoked_at IS NOT NULL FROM device"
    f" WHERE device = ANY(%s::bytea[]) OR client_id = ANY(%s::int8[]) {_LOCKED}"
)
"""All that a commit must know of devices and of who has the Client IDs, which stays so until it ends."""
_SAME = (
    "d.client_id = ANY(%s::int8[]) AND d.client_id = n.client_id AND d.ordinal = n.ordinal"
    f" AND d.mark IS NOT DISTINCT FROM n.was AND {_LIVE}"
)
"""The array again: without it, PostgreSQL would go through hardly any rows, and still do so when there are many."""
_NOTE_COMMIT = _NOTE.format(
    changed="(SELECT client_id FROM heard WHERE changed = 1)",
    ended="(SELECT replaced AS client_id FROM put WHERE replaced IS NOT NULL UNION ALL SELECT client_id FROM over)",
)
COMMIT = (
    f"WITH given AS (SELECT * FROM unnest({_ARRAYS}) AS given ({_COLUMNS})),"
    f" put AS (INSERT INTO device AS d ({_COLUMNS}, check_at, replaced)"
    f" SELECT {_COLUMNS}, expires_at, NULL FROM given WHERE NOT EXISTS (SELECT FROM given AS g WHERE"
    " (SELECT h.device FROM device AS h WHERE h.client_id = g.client_id) <> g.device) ORDER BY device"
    f" ON CONFLICT (device) DO UPDATE SET {_REPLACED}, attempt = NULL, changed = NULL, ended_at = NULL,"
    " replaced = d.client_id"
    " WHERE d.revoked_at IS NULL AND (d.ordinal IS NULL OR d.ordinal < excluded.ordinal)"
    " AND d.success_hash IS DISTINCT FROM excluded.success_hash"
    " RETURNING device, ordinal, replaced),"
    " heard AS (UPDATE device AS d SET mark = n.mark, attempt = n.attempt, seen_at = n.seen_at,"
    " lifetime = n.lifetime, expires_at = n.expires_at, record = n.record,"
    f" check_at = least(d.check_at, n.expires_at), changed = CASE n.changed WHEN 1 THEN {_NUMBER} ELSE d.changed END"
    " FROM unnest(%s::int8[], %s::int8[], %s::int8[], %s::int8[], %s::bytea[], %s::int8[], %s::int8[], %s::int8[],"
    " %s::bytea[], %s::int8[])"
    " AS n (client_id, ordinal, was, mark, attempt, seen_at, lifetime, expires_at, record, changed)"
    f" WHERE {_SAME} RETURNING d.device, n.client_id, n.changed),"
    f" over AS (UPDATE device AS d SET {_NOTHING}, ended_at = {_NOW}"
    " FROM unnest(%s::int8[], %s::int8[], %s::int8[]) AS n (client_id, ordinal, was)"
    f" WHERE {_SAME} RETURNING d.device, n.client_id),"
    " counted AS (UPDATE reached SET ordinal = (SELECT max(ordinal) FROM put)"
    f" WHERE slot = pg_backend_pid() %% {SLOTS} AND ordinal < (SELECT max(ordinal) FROM put)),"
    f" noted AS ({_NOTE_COMMIT})"
    " SELECT device, replaced FROM put UNION ALL SELECT device, NULL FROM heard UNION ALL SELECT device, NULL FROM over"
)
"""Puts sessions, brings others up to date and ends others, and notes that as a change.

Returns the devices of all that it has changed, and of new sessions the Client ID of the one that each replaces.

All sessions are put or none: none if another device has the Client ID of one. A session is not put if its device is
revoked, or not older. What requests change is not changed if the session is another or over, or has another mark than
was read. No two may be of one device.
"""
END_SESSIONS = f"UPDATE device SET {_NOTHING}, ended_at = %s WHERE client_id = ANY(%s::int8[])"
OF_DEVICE_LOCKED = (
    "SELECT client_id, ordinal IS NOT NULL, revoked_at IS NOT NULL, minimum_epoch > 0, policies IS NOT NULL"
    " FROM device WHERE device = %s FOR UPDATE"
)
END_OF_DEVICE = f"UPDATE device SET {_NOTHING}, ended_at = %s WHERE device = %s AND client_id IS NOT NULL"
DATE_TRACE = "UPDATE device SET ended_at = least(ended_at, %s) WHERE device = %s AND ended_at IS NOT NULL"
NOTE_ENDED = _NOTE.format(changed=_NOBODY_CHANGED, ended="(SELECT unnest(%s::int8[]) AS client_id)")
KNOW = "INSERT INTO device (device) VALUES (%s) ON CONFLICT DO NOTHING"
"""Has a row for a device, so that it can be locked."""
REVOKE = "UPDATE device SET revoked_at = coalesce(revoked_at, %s) WHERE device = %s"
UNREVOKE = "UPDATE device SET revoked_at = NULL WHERE device = %s"
RESTRICT = "UPDATE device SET minimum_epoch = %s WHERE device = %s"
OVERRIDE = "UPDATE device SET policies = %s WHERE device = %s"
IMPOSE_NO_MORE = "UPDATE device SET minimum_epoch = 0, policies = NULL WHERE device = %s"
TIDY = (
    f"DELETE FROM device WHERE device = %s AND ordinal IS NULL AND NOT ({_RESTRICTED})"
    f" AND device <> '\\x{bytes(16).hex()}'"
)
"""Drops the row of a device of which nothing is left; the row of NOBODY stays."""
SET_MINIMUM_EPOCH = "UPDATE server SET minimum_epoch = %s WHERE one = 1"

# Housekeeping, which any node may do: rows that another is at are left to it.

CHECK_LATER = (
    "UPDATE device SET check_at = expires_at WHERE device = ANY(ARRAY(SELECT device FROM device WHERE check_at <= %s"
    " AND (expires_at IS NULL OR expires_at > %s) LIMIT %s FOR UPDATE SKIP LOCKED))"
)
EXPIRE = (
    "WITH over AS MATERIALIZED (SELECT device, client_id, ordinal FROM device WHERE check_at <= %s AND expires_at <= %s"
    f" LIMIT %s FOR UPDATE SKIP LOCKED), ended AS (UPDATE device SET {_NOTHING}, ended_at = %s"
    " WHERE device = ANY(ARRAY(SELECT device FROM over))),"
    f" noted AS ({_NOTE.format(changed=_NOBODY_CHANGED, ended='over')}) SELECT client_id, device, ordinal FROM over"
)
PRUNE = (
    "WITH old AS MATERIALIZED (SELECT device FROM device WHERE ended_at < %s LIMIT %s FOR UPDATE SKIP LOCKED),"
    " kept AS (UPDATE device SET ordinal = NULL, ended_at = NULL"
    f" WHERE device = ANY(ARRAY(SELECT device FROM old)) AND ({_RESTRICTED})),"
    " gone AS (DELETE FROM device"
    f" WHERE device = ANY(ARRAY(SELECT device FROM old)) AND NOT ({_RESTRICTED})) SELECT count(*) FROM old"
)
"""What is imposed on a device outlives its trace."""

# Changes

STANDING = (
    f"SELECT history, coalesce((SELECT number FROM change WHERE {_SETTLED} ORDER BY number DESC LIMIT 1), 0), dropped"
    " FROM server WHERE one = 1"
)
CHANGES = f"SELECT number, at, changed, ended FROM change WHERE number > %s AND {_SETTLED} ORDER BY number LIMIT %s"
WITHHELD = f"SELECT at FROM change WHERE number > 0 AND NOT {_SETTLED} ORDER BY number LIMIT 1"
"""When the first of the changes was made that nobody is told yet."""
RECORDS = "SELECT client_id, record FROM device WHERE client_id = ANY(%s::int8[])"
CHANGED_LAST = "SELECT client_id, changed FROM device WHERE client_id = ANY(%s::int8[])"
DROP_CHANGES = "DELETE FROM change WHERE number = ANY(%s::int8[])"
CUT_CHANGE = "UPDATE change SET changed = %s WHERE number = %s"
DROPPED = "UPDATE server SET dropped = greatest(dropped, %s) WHERE one = 1"
NEW_HISTORY = "UPDATE server SET history = substr(uuid_send(gen_random_uuid()), 9), dropped = 0 WHERE one = 1"
FORGET_CHANGES = "DELETE FROM change WHERE number <> %s"
"""Whatever their numbers: a database that was dumped, and loaded elsewhere, gives lower ones from then on."""

# Filling

ANYTHING = (
    "SELECT EXISTS (SELECT FROM binding WHERE one = 1) OR EXISTS (SELECT FROM beat WHERE number > 0)"
    " OR EXISTS (SELECT FROM change WHERE number > 0)"
    f" OR EXISTS (SELECT FROM device WHERE device > '\\x{bytes(16).hex()}')"
    " OR EXISTS (SELECT FROM server WHERE one = 1 AND minimum_epoch > 0)"
)
TAKE_SERVER = (
    "UPDATE server SET minimum_epoch = %s, history = %s, dropped = %s, shift = greatest(0, %s::int8) WHERE one = 1"
)
REACH = "UPDATE reached SET ordinal = greatest(ordinal, %s) WHERE slot = 0"

# Beats

BARRIER = (
    "UPDATE server SET connections = connections + 1 WHERE one = 1"
    " RETURNING extract(epoch FROM clock_timestamp())::float8"
)
"""Returns the time of the database, too."""
ONE_BY_ONE = "SELECT FROM server WHERE one = 1 FOR UPDATE"
BEATS = (
    "SELECT (SELECT random FROM beat WHERE number = %s),"
    " (SELECT number FROM beat WHERE number > 0 ORDER BY number LIMIT 1),"
    " (SELECT number FROM beat WHERE number > 0 ORDER BY number DESC LIMIT 1)"
)
BEAT = "INSERT INTO beat VALUES (%s, %s)"
FORGET_BEATS = "DELETE FROM beat WHERE number <= %s"

# For operators

SESSION = f"SELECT {_COLUMNS} FROM device WHERE client_id = %s"
SESSION_OF = f"SELECT {_COLUMNS} FROM device WHERE device = %s AND client_id IS NOT NULL"
LIVE = (
    f"SELECT {_COLUMNS} FROM device WHERE client_id > %s AND (expires_at IS NULL OR expires_at > %s)"
    " ORDER BY client_id LIMIT %s"
)
NEXT = f"SELECT {', '.join(Listed._fields)} FROM device WHERE client_id > %s ORDER BY client_id LIMIT %s"
_CONDITIONS = {
    "rule": "rule = %s",
    "version": "(version_major, version_minor) = (%s, %s)",
    "firmware": "firmware = convert_to(%s, 'UTF8')",
    "epoch": "epoch = %s",
    "below_epoch": "epoch < %s",
    "unknown_epoch": "epoch IS NULL",
    "heard_before": "coalesce(seen_at, established_at) < %s",
}
"""By the fields of ``Wanted``."""
COUNT = (
    "SELECT (SELECT count(*) FROM device WHERE client_id IS NOT NULL),"
    " (SELECT count(*) FROM device WHERE check_at <= %s AND expires_at <= %s),"
    " (SELECT count(*) FROM device WHERE ended_at IS NOT NULL),"
    " (SELECT count(*) FROM device WHERE revoked_at IS NOT NULL)"
)
MEASURES = (
    "SELECT device, revoked_at, minimum_epoch, policies FROM device"
    f" WHERE device > %s AND ({_RESTRICTED}) ORDER BY device LIMIT %s"
)
MINIMUM_EPOCH = "SELECT minimum_epoch FROM server WHERE one = 1"
LAST_ORDINAL = "SELECT max(ordinal) FROM reached"
MOVE_ORDINAL = "UPDATE reached SET ordinal = (SELECT max(ordinal) FROM reached) + %s WHERE slot = 0"
MOVE_NUMBER = "SELECT setval('ordinal', nextval('ordinal') + %s)"
END_ALL = f"UPDATE device SET {_NOTHING}, ended_at = %s WHERE client_id IS NOT NULL"

OF_ALL = {"CATCH_UP", "COUNT", "END_ALL", "FORGET_CHANGES", "LAST_ORDINAL", "MOVE_ORDINAL"}
"""The statements that are about all sessions, or read all of the few rows of ``reached``."""


def listed(wanted: Wanted) -> tuple[str, list[int | str]]:
    """Return the statement that lists wanted sessions, and its values after the last Client ID and the time.

    Its last parameter is the most sessions that it may list.
    """
    where, values = _wanted(wanted)
    return f"SELECT {', '.join(Listed._fields)} FROM device WHERE {where} ORDER BY client_id LIMIT %s", values


def count(wanted: Wanted) -> tuple[str, list[int | str]]:
    """Return the statement that counts wanted sessions, and its values after the last Client ID and the time."""
    where, values = _wanted(wanted)
    return f"SELECT count(*) FROM device WHERE {where}", values


def _wanted(wanted: Wanted) -> tuple[str, list[int | str]]:
    where, values = ["client_id > %s AND (expires_at IS NULL OR expires_at > %s)"], list[int | str]()
    for name, value in wanted._asdict().items():
        if value is not None and value is not False:
            where.append(_CONDITIONS[name])
            values += [] if value is True else value if isinstance(value, tuple) else [value]
    return " AND ".join(where), values
