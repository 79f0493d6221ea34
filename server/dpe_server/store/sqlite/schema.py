"""The schema of the SQLite store, version by version, and the way from any version to the newest.

A step is never edited once released: a change is a new step at the end.
"""

import sqlite3
from collections.abc import Sequence

from dpe_server.store.contract import StoreError

APPLICATION_ID = 0x44504531
"""Marks the file as a DPE store (PRAGMA application_id): the letters DPE1."""
COPY_ID = 0x44504542
"""Marks the file as a copy that was made as a backup: the letters DPEB. No program takes it for a store."""

Step = Sequence[str]

STEPS: Sequence[Step] = (
    (
        # Rows lie in the order in which they came, so a batch of new ones fills a few pages. Only the two indexes,
        # whose entries are small, are written all over.
        """
        CREATE TABLE session (
            client_id INTEGER NOT NULL UNIQUE CHECK (client_id BETWEEN 0 AND 0xffffffffffffff),
            device BLOB NOT NULL UNIQUE CHECK (length(device) = 16),
            sealed_imei BLOB NOT NULL,
            version_major INTEGER NOT NULL,
            version_minor INTEGER NOT NULL,
            firmware TEXT,
            suite INTEGER NOT NULL,
            rule TEXT NOT NULL,
            ordinal INTEGER NOT NULL,
            established_at INTEGER NOT NULL,
            expires_at INTEGER,
            th3 BLOB NOT NULL,
            success_hash BLOB NOT NULL CHECK (length(success_hash) = 32),
            confirm BLOB NOT NULL,
            sealed_keys BLOB NOT NULL,
            properties TEXT NOT NULL CHECK (json_valid(properties)),
            policies TEXT NOT NULL CHECK (json_valid(policies))
        ) STRICT
        """,
        "CREATE INDEX session_by_end ON session (expires_at) WHERE expires_at IS NOT NULL",
        """
        CREATE TABLE restriction (
            device BLOB PRIMARY KEY CHECK (length(device) = 16),
            revoked_at INTEGER,
            minimum_epoch INTEGER NOT NULL DEFAULT 0 CHECK (minimum_epoch BETWEEN 0 AND 255)
        ) STRICT, WITHOUT ROWID
        """,
        # One row: what holds for the whole server. The ordinal outlives the sessions that are pruned.
        """
        CREATE TABLE server (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            minimum_epoch INTEGER NOT NULL CHECK (minimum_epoch BETWEEN 0 AND 255),
            last_ordinal INTEGER NOT NULL
        ) STRICT
        """,
        "INSERT INTO server VALUES (1, 0, 0)",
    ),
    (
        # For NOBODY, without a restriction: looking up an unproved sender takes as long as a revoked device.
        "INSERT INTO restriction (device) VALUES (zeroblob(16))",
    ),
    (
        # The row of a session that ended keeps the device and the ordinal. SQLite cannot take NOT NULL from a column.
        "ALTER TABLE session RENAME TO session_2",
        "DROP INDEX session_by_end",
        """
        CREATE TABLE session (
            client_id INTEGER UNIQUE CHECK (client_id BETWEEN 0 AND 0xffffffffffffff),
            device BLOB NOT NULL UNIQUE CHECK (length(device) = 16),
            sealed_imei BLOB,
            version_major INTEGER,
            version_minor INTEGER,
            firmware TEXT,
            suite INTEGER,
            rule TEXT,
            ordinal INTEGER NOT NULL,
            established_at INTEGER,
            expires_at INTEGER,
            th3 BLOB,
            success_hash BLOB CHECK (length(success_hash) = 32),
            confirm BLOB,
            sealed_keys BLOB,
            properties TEXT CHECK (properties IS NULL OR json_valid(properties)),
            policies TEXT CHECK (policies IS NULL OR json_valid(policies)),
            ended_at INTEGER,
            CHECK (iif(ended_at IS NULL,
                client_id IS NOT NULL AND sealed_imei IS NOT NULL AND version_major IS NOT NULL
                    AND version_minor IS NOT NULL AND suite IS NOT NULL AND rule IS NOT NULL
                    AND established_at IS NOT NULL AND th3 IS NOT NULL AND success_hash IS NOT NULL
                    AND confirm IS NOT NULL AND sealed_keys IS NOT NULL AND properties IS NOT NULL
                    AND policies IS NOT NULL,
                coalesce(client_id, sealed_imei, version_major, version_minor, firmware, suite, rule, established_at,
                    expires_at, th3, success_hash, confirm, sealed_keys, properties, policies) IS NULL))
        ) STRICT
        """,
        "INSERT INTO session SELECT *, NULL FROM session_2 ORDER BY rowid",
        "DROP TABLE session_2",
        "CREATE INDEX session_by_end ON session (expires_at) WHERE expires_at IS NOT NULL",
        "CREATE INDEX session_ended ON session (ended_at) WHERE ended_at IS NOT NULL",
        # Proof that the database is the one that this server wrote last: see beats.py.
        """
        CREATE TABLE beat (
            number INTEGER PRIMARY KEY CHECK (number > 0),
            random BLOB NOT NULL CHECK (length(random) = 8)
        ) STRICT
        """,
    ),
    (
        # What a device says in its session: its record, and what keeps a request from being accepted twice.
        "ALTER TABLE session RENAME TO session_3",
        "DROP INDEX session_by_end",
        "DROP INDEX session_ended",
        """
        CREATE TABLE session (
            client_id INTEGER UNIQUE CHECK (client_id BETWEEN 0 AND 0xffffffffffffff),
            device BLOB NOT NULL UNIQUE CHECK (length(device) = 16),
            sealed_imei BLOB,
            version_major INTEGER,
            version_minor INTEGER,
            firmware TEXT,
            suite INTEGER,
            rule TEXT,
            ordinal INTEGER NOT NULL,
            established_at INTEGER,
            lifetime INTEGER,
            expires_at INTEGER,
            th3 BLOB,
            success_hash BLOB CHECK (length(success_hash) = 32),
            confirm BLOB,
            sealed_keys BLOB,
            mark INTEGER CHECK (mark BETWEEN 0 AND 0xffffffffff),
            attempt BLOB CHECK (length(attempt) = 16),
            seen_at INTEGER,
            record BLOB,
            epoch INTEGER CHECK (epoch BETWEEN 0 AND 255),
            changed INTEGER,
            check_at INTEGER,
            ended_at INTEGER,
            CHECK (iif(ended_at IS NULL,
                client_id IS NOT NULL AND sealed_imei IS NOT NULL AND version_major IS NOT NULL
                    AND version_minor IS NOT NULL AND suite IS NOT NULL AND rule IS NOT NULL
                    AND established_at IS NOT NULL AND th3 IS NOT NULL AND success_hash IS NOT NULL
                    AND confirm IS NOT NULL AND sealed_keys IS NOT NULL AND (mark IS NULL) = (attempt IS NULL)
                    AND record IS NOT NULL,
                coalesce(client_id, sealed_imei, version_major, version_minor, firmware, suite, rule, established_at,
                    lifetime, expires_at, th3, success_hash, confirm, sealed_keys, mark, attempt, seen_at,
                    record, epoch, changed, check_at) IS NULL))
        ) STRICT
        """,
        """
        INSERT INTO session
        SELECT client_id, device, sealed_imei, version_major, version_minor, firmware, suite, rule, ordinal,
            established_at, expires_at - established_at, expires_at, th3, success_hash, confirm, sealed_keys, NULL,
            NULL, NULL, iif(client_id IS NULL, NULL, x''), NULL, NULL, expires_at, ended_at
        FROM session_3 ORDER BY rowid
        """,
        "DROP TABLE session_3",
        # Not by the end: each report moves that, and to move an index entry costs as much as half a report.
        "CREATE INDEX session_by_check ON session (check_at) WHERE check_at IS NOT NULL",
        "CREATE INDEX session_ended ON session (ended_at) WHERE ended_at IS NOT NULL",
        # What an operator has a device report, encoded as in a dpe-answer.
        "ALTER TABLE restriction ADD COLUMN policies BLOB",
        # What commits have changed: see changes.py. Rows come at the end and go at the beginning.
        """
        CREATE TABLE change (
            number INTEGER PRIMARY KEY CHECK (number > 0),
            at INTEGER NOT NULL,
            changed BLOB NOT NULL CHECK (length(changed) % 7 = 0),
            ended BLOB NOT NULL CHECK (length(ended) % 7 = 0)
        ) STRICT
        """,
        "ALTER TABLE server ADD COLUMN history BLOB",
        "ALTER TABLE server ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0",
        "UPDATE server SET history = randomblob(8)",
    ),
)

# One statement, so that what it reads is of one moment: another process may be making the store.
_WHAT_IT_IS = """
    SELECT application_id, NOT EXISTS (SELECT 1 FROM sqlite_schema), user_version
    FROM pragma_application_id, pragma_user_version
"""


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of the database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_backup(connection: sqlite3.Connection) -> bool:
    """Say whether the database is a copy that was made as a backup."""
    return bool(connection.execute("PRAGMA application_id").fetchone() == (COPY_ID,))


def made_at(connection: sqlite3.Connection) -> int:
    """Return when a copy that was made as a backup was made, in Unix seconds."""
    return int(connection.execute("SELECT made_at FROM copy").fetchone()[0])


def has_beats(connection: sqlite3.Connection) -> bool:
    """Say whether the schema is new enough to have beats."""
    return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'beat'").fetchone())


def check(connection: sqlite3.Connection, newest: int = len(STEPS)) -> None:
    """Refuse, with StoreError, a database that is not a DPE store or is newer than this program. Changes nothing."""
    # In this order: between the two, another process may make an empty database a store.
    empty = not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    application, empty, version = connection.execute(_WHAT_IT_IS).fetchone()
    if application == COPY_ID:
        raise StoreError(
            "it is a copy that dpe backup made, not a store to serve from",
            hint="put it in place with dpe restore STATE FILE; if it is in its place already: dpe recover STATE",
        )
    if application != APPLICATION_ID and (application or not empty):
        raise StoreError("the database is not a DPE store", hint="give the path of another file, or move this one away")
    if version > newest:
        raise StoreError(
            f"the store has schema version {version}; this program knows up to {newest}",
            hint="run the newer dpe-coap that made it, or put a backup of the older store back: dpe restore STATE FILE",
        )


def check_is_newest(connection: sqlite3.Connection) -> None:
    """Refuse, with StoreError, a store whose schema is older than this program's."""
    if (version := version_of(connection)) < len(STEPS):
        raise StoreError(
            f"the store has schema version {version}, and this program works with {len(STEPS)}",
            hint="make a backup with dpe backup, then start this version's server once: it brings the store up to date",
        )


def migrate(connection: sqlite3.Connection, steps: Sequence[Step] = STEPS) -> None:
    """Bring the database, empty or of any older version, to the newest in one transaction."""
    check(connection, len(steps))
    if version_of(connection) == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:  # commits or rolls back
        check(connection, len(steps))  # another process may have been faster
        for step in steps[version_of(connection) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
