"""The schema of the PostgreSQL store, step by step, and the way from any step to the newest.

A step is never edited once released: a change is a new step at the end. Nodes are upgraded one by one, so a step must
leave the program of the version before at work. A step is one transaction, under a lock that only steps take.
"""

# ruff: noqa: S608  # statements are put together from constants of this file

from collections.abc import Sequence
from typing import Any

import psycopg

from dpe_server.store.contract import NOBODY, StoreError

Connection = psycopg.Connection[tuple[Any, ...]]
Step = Sequence[str]

LOCK = 0x44504531
"""The advisory lock of whoever changes the schema: the letters DPE1."""
SLOTS = 64
"""Rows of ``reached``: a commit writes in one of them, so that commits of several connections need not wait there."""

STEPS: Sequence[Step] = (
    (
        # One row for a device: a revocation in a table of its own would not stop a commit whose snapshot is older.
        # Firmware is bytes: it comes from a device, and PostgreSQL's text cannot have the character U+0000.
        # A report moves no index entry, and finds room in its page for the next version of its row.
        f"""
        CREATE TABLE device (
            client_id int8 CONSTRAINT device_client_id UNIQUE CHECK (client_id BETWEEN 0 AND {2**56 - 1}),
            ordinal int8 CHECK (ordinal > 0),
            established_at int8,
            lifetime int8,
            expires_at int8,
            check_at int8,
            mark int8 CHECK (mark BETWEEN 0 AND {2**40 - 1}),
            seen_at int8,
            ended_at int8,
            revoked_at int8,
            version_major int4,
            version_minor int4,
            suite int2,
            minimum_epoch int2 NOT NULL DEFAULT 0 CHECK (minimum_epoch BETWEEN 0 AND 255),
            epoch int2 CHECK (epoch BETWEEN 0 AND 255),
            changed int8,
            replaced int8,
            device bytea CONSTRAINT device_pkey PRIMARY KEY CHECK (length(device) = 16),
            sealed_imei bytea,
            firmware bytea,
            rule text,
            th3 bytea,
            success_hash bytea CHECK (length(success_hash) = 32),
            confirm bytea,
            sealed_keys bytea,
            attempt bytea CHECK (length(attempt) = 16),
            record bytea,
            policies bytea,
            CHECK (CASE WHEN client_id IS NOT NULL THEN
                ended_at IS NULL AND revoked_at IS NULL AND ordinal IS NOT NULL AND sealed_imei IS NOT NULL
                    AND version_major IS NOT NULL AND version_minor IS NOT NULL AND suite IS NOT NULL
                    AND rule IS NOT NULL AND established_at IS NOT NULL AND th3 IS NOT NULL
                    AND success_hash IS NOT NULL AND confirm IS NOT NULL AND sealed_keys IS NOT NULL
                    AND record IS NOT NULL AND (mark IS NULL) = (attempt IS NULL)
                ELSE num_nonnulls(sealed_imei, version_major, version_minor, firmware, suite, rule, established_at,
                    lifetime, expires_at, check_at, th3, success_hash, confirm, sealed_keys, mark, attempt, seen_at,
                    record, epoch, changed, replaced) = 0 AND (ordinal IS NULL) = (ended_at IS NULL) END)
        ) WITH (fillfactor = 90)
        """,
        # Not by the end: each report moves that.
        "CREATE INDEX device_by_check ON device (check_at) WHERE check_at IS NOT NULL",
        "CREATE INDEX device_ended ON device (ended_at) WHERE ended_at IS NOT NULL",
        """
        CREATE INDEX device_restricted ON device (device)
            WHERE revoked_at IS NOT NULL OR minimum_epoch > 0 OR policies IS NOT NULL
        """,
        f"INSERT INTO device (device) VALUES ('\\x{NOBODY.hex()}')",
        # One row: what holds for all. Each new connection writes in it before it reads anything.
        """
        CREATE TABLE server (
            one int2 PRIMARY KEY CHECK (one = 1),
            minimum_epoch int2 NOT NULL CHECK (minimum_epoch BETWEEN 0 AND 255),
            connections int8 NOT NULL,
            history bytea NOT NULL CHECK (length(history) = 8),
            dropped int8 NOT NULL,
            shift int8 NOT NULL
        )
        """,
        "INSERT INTO server VALUES (1, 0, 0, substr(uuid_send(gen_random_uuid()), 9), 0, 0)",
        # What commits have changed: see changes.py. The number is that of the transaction, and `shift` more.
        """
        CREATE TABLE change (
            number int8 PRIMARY KEY CHECK (number > 0),
            at int8 NOT NULL,
            changed bytea NOT NULL CHECK (length(changed) % 7 = 0),
            ended bytea NOT NULL CHECK (length(ended) % 7 = 0)
        )
        """,
        # The highest ordinals that were committed. They outlive every session.
        f"CREATE TABLE reached (slot int4 PRIMARY KEY CHECK (slot BETWEEN 0 AND {SLOTS - 1}), ordinal int8 NOT NULL)",
        f"INSERT INTO reached SELECT slot, 0 FROM generate_series(0, {SLOTS - 1}) AS slot",
        # Numbers of batches of REQUESTs: see ordinals.py.
        "CREATE SEQUENCE ordinal AS int8",
        """
        CREATE TABLE beat (
            number int8 PRIMARY KEY CHECK (number > 0),
            random bytea NOT NULL CHECK (length(random) = 8)
        )
        """,
        # One row, made last: to whom the store belongs.
        """
        CREATE TABLE binding (one int2 PRIMARY KEY CHECK (one = 1), realm text NOT NULL, at_rest text NOT NULL)
        """,
        # Whose acts are in a database that was put back and recovered: the digests of their journals.
        """
        CREATE TABLE recovery (beat int8, journal text, PRIMARY KEY (beat, journal))
        """,
        # Of keys there are fingerprints only.
        """
        CREATE TABLE generation (
            kind text NOT NULL CHECK (kind IN ('master', 'handle')),
            number int2 NOT NULL CHECK (number BETWEEN 1 AND 255),
            fingerprint text NOT NULL,
            active bool NOT NULL,
            PRIMARY KEY (kind, number)
        )
        """,
        """
        CREATE TABLE node (
            name text PRIMARY KEY,
            made_at int8 NOT NULL,
            started_at int8,
            seen_at timestamptz,
            stopped bool NOT NULL DEFAULT false,
            ahead int8 NOT NULL DEFAULT 0,
            instance bytea CHECK (length(instance) = 8),
            version text NOT NULL DEFAULT '',
            policy text NOT NULL DEFAULT '',
            keys text NOT NULL DEFAULT '{}'
        )
        """,
    ),
)

# One statement: another node may be making the store. to_regclass sees what is committed when it is called.
_WHAT_IT_IS = """
    SELECT current_schema(), EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace),
        to_regclass('migrated') IS NOT NULL
"""


def version_of(connection: Connection) -> int:
    """Return how many steps the database has taken; 0 for an empty one. StoreError if it is not a DPE store."""
    place, used, migrated = _row(connection, _WHAT_IT_IS)
    if place is None:
        raise StoreError(
            "the database has no schema for the store's tables",
            hint="make one that the user may use, and name it in the user's search_path",
        )
    if migrated:
        return int(_row(connection, "SELECT max(step) FROM migrated")[0])
    if used:
        raise StoreError("the database is not a DPE store", hint="give the URL of another database, or of an empty one")
    return 0


def check(version: int, newest: int = len(STEPS)) -> None:
    """Refuse, with StoreError, a store that is newer than this program."""
    if version > newest:
        raise StoreError(
            f"the store has schema version {version}; this program knows up to {newest}",
            hint="run the newer dpe-coap that made it",
        )


def check_is_store(version: int) -> None:
    """Refuse, with StoreError, an empty database, or a store that is newer than this program."""
    check(version)
    if version == 0:
        raise StoreError(
            "there is no store in the database yet",
            hint="make one: dpe init STATE --store URL; or give the URL of the database that has one",
        )


def check_is_newest(version: int) -> None:
    """Refuse, with StoreError, a store that is older than this program, or newer."""
    check_is_store(version)
    if version < len(STEPS):
        raise StoreError(
            f"the store has schema version {version}, and this program works with {len(STEPS)}",
            hint="start this version's server once: it brings the store up to date, and older ones go on with it",
        )


def migrate(connection: Connection, steps: Sequence[Step] = STEPS) -> None:
    """Bring the database, empty or of any older version, to the newest in one transaction."""
    check(version_of(connection), len(steps))
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        version = version_of(connection)  # another node may have been faster
        check(version, len(steps))
        if version == 0:
            connection.execute("CREATE TABLE migrated (step int4 PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
        for number, step in enumerate(steps[version:], version + 1):
            for statement in step:
                connection.execute(statement)
            connection.execute("INSERT INTO migrated (step) VALUES (%s)", (number,))


def _row(connection: Connection, sql: str) -> tuple[Any, ...]:
    (row,) = connection.execute(sql).fetchall()
    return row
