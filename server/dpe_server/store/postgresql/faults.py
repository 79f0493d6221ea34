"""What errors of PostgreSQL mean, without the statement, the values or the URL that they may show."""

import re

import psycopg

from dpe_server.store.contract import StoreError

_SILENT = (
    "the database does not answer",
    "check that PostgreSQL runs, can be reached from here, and has its synchronous standby: dpe doctor STATE says more",
)
_OTHERS = ("others change the same devices all the time", "try again")

_FAULTS = {
    "08": _SILENT,
    "57": _SILENT,
    "40": _OTHERS,
    "25006": ("the database only lets itself be read", "name the primary in the store's URL, or all hosts"),
    "28": ("the database refuses the user", "check the user in the store's URL, and pg_hba.conf"),
    "3D000": ("there is no such database", "make it, or check its name in the store's URL"),
    "42501": (
        "the database's user may not do that",
        "make the user the owner of the database and of its tables",
    ),
    "42P01": ("the database is not a DPE store", "give the URL of another database"),
    "53100": ("the disk of the database is full", "free space on it"),
    "53300": ("the database has no connection left", "raise max_connections in PostgreSQL's configuration"),
    "23": ("a row is not as the store wants it", "this is a defect of dpe-coap: report it"),
    "22": ("a value is not as the store wants it", "this is a defect of dpe-coap: report it"),
}
"""By SQLSTATE or its class (PostgreSQL's appendix A)."""

_PASSFILE = "put it into a file that only the server reads (mode 0600), named by PGPASSFILE"
_SIGNS = (
    (
        ("the database refuses the password", "check it, for this host, database and user, in the file of PGPASSFILE"),
        ("password authentication failed",),
    ),
    (
        ("the database refuses the user", "check the user in the store's URL, and pg_hba.conf, which may ask for TLS"),
        ("no pg_hba.conf entry", "authentication failed", 'role ".*" does not exist', "permission denied"),
    ),
    (
        ("TLS with the database fails", "check sslmode, sslrootcert and the host's name in the store's URL"),
        ("SSL", "certificate", "sslmode"),
    ),
    (_FAULTS["3D000"], ('database ".*" does not exist',)),
    (_FAULTS["25006"], ("session is read-only", "server is in hot standby mode")),
    (_FAULTS["53300"], ("too many clients", "remaining connection slots", "too many connections")),
    (
        ("there is no such host", "check the names of the hosts in the store's URL"),
        ("could not translate host name", "failed to resolve host"),
    ),
    (
        ("nobody listens at the database's host and port", "start PostgreSQL, or check the hosts in the store's URL"),
        ("Connection refused", "No such file or directory"),
    ),
    (
        ("the store's URL has an option that is wrong", "see PostgreSQL's documentation of connection strings"),
        ("^invalid ", "bad value"),
    ),
)
"""What words of the server or of libpq mean, the first that fits: none of them is shown, as they have names in them."""


def said(error: psycopg.Error) -> StoreError:
    """Return what is told of an error of a statement."""
    state = error.sqlstate
    if state is None:
        what, hint = _SILENT
        return StoreError(what, hint=hint)
    what, hint = _FAULTS.get(state) or _FAULTS.get(state[:2]) or ("the database has an error", "look in its log")
    return StoreError(f"{what} (SQLSTATE {state})", hint=hint)


def said_at_connect(error: psycopg.Error) -> StoreError:
    """Return what is told of a connection that was not made: libpq passes on no SQLSTATE, only words."""
    words = str(error)
    if error.pgconn is not None and error.pgconn.needs_password:
        return StoreError("the database wants a password", hint=_PASSFILE)
    for (what, hint), signs in _SIGNS:
        if any(re.search(sign, words) for sign in signs):
            return StoreError(what, hint=hint)
    what, hint = _SILENT
    return StoreError(what, hint=hint)
