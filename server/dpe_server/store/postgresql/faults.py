"""What errors of PostgreSQL mean, without the statement, the values or the URL that they may show."""

import psycopg

from dpe_server.store.contract import StoreError

_SILENT = ("the database does not answer", "check that PostgreSQL runs and can be reached from here")
_OTHERS = ("others change the same devices all the time", "try again")

_FAULTS = {
    "08": _SILENT,
    "57": _SILENT,
    "40": _OTHERS,
    "25006": ("the database only lets itself be read", "name the primary in the store's URL, or all hosts"),
    "28": ("the database refuses the user", "check the user in the store's URL, and pg_hba.conf"),
    "3D000": ("there is no such database", "make it, or check its name in the store's URL"),
    "42501": ("the database's user may not do that", "make the user the owner of the store's tables"),
    "42P01": ("the database is not a DPE store", "give the URL of another database"),
    "53100": ("the disk of the database is full", "free space on it"),
    "53300": ("the database has no connection left", "raise max_connections in PostgreSQL's configuration"),
    "23": ("a row is not as the store wants it", "this is a defect of dpe-coap: report it"),
    "22": ("a value is not as the store wants it", "this is a defect of dpe-coap: report it"),
}
"""By SQLSTATE or its class (PostgreSQL's appendix A)."""


def said(error: psycopg.Error) -> StoreError:
    """Return what is told of an error of a statement."""
    state = error.sqlstate
    if state is None:
        what, hint = _SILENT
        return StoreError(what, hint=hint)
    what, hint = _FAULTS.get(state) or _FAULTS.get(state[:2]) or ("the database has an error", "look in its log")
    return StoreError(f"{what} (SQLSTATE {state})", hint=hint)


def said_at_connect(error: psycopg.Error) -> StoreError:
    """Return what is told of a connection that was not made: libpq passes on no SQLSTATE, only the server's words."""
    words = str(error)
    if error.pgconn is not None and error.pgconn.needs_password:
        return StoreError(
            "the database wants a password", hint="put it into a file that only the server reads, named by PGPASSFILE"
        )
    for state, signs in (
        ("28", ("password authentication failed", "no pg_hba.conf entry", "Peer authentication failed")),
        ("3D000", ('" does not exist',)),
        ("25006", ("session is read-only", "server is in hot standby mode")),
        ("53300", ("too many clients", "remaining connection slots")),
    ):
        if any(sign in words for sign in signs):
            what, hint = _FAULTS[state]
            return StoreError(what, hint=hint)
    what, hint = _SILENT
    return StoreError(what, hint=hint)
