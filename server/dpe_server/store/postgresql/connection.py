"""A connection to PostgreSQL that never cancels a commit, and what must be so before one is used.

A commit that is cancelled while it waits for the standby says that it succeeded, and is lost with the primary. So
nothing here sends a cancellation: at its deadline, or at Ctrl-C, a connection is shut, and what becomes of its commit
is unknown. psycopg would cancel.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from dpe_coap.errors import LocalError
from dpe_server.store.contract import StoreError
from dpe_server.store.postgresql import parameters

_Result = TypeVar("_Result")

DEFAULTS: Mapping[str, str] = {
    "application_name": "dpe-coap",
    "client_encoding": "UTF8",
    "connect_timeout": "2",
    "target_session_attrs": "read-write",
    "tcp_user_timeout": "2000",
}
"""What a URL may say otherwise: seconds to wait for a host, that it must be the primary, and milliseconds that its
network has to take what was sent."""
SECRETS = ("password", "sslpassword")

_SETTINGS = (
    # A plan is kept, and the table may have been small when it was made. So nothing but the number of rows counts:
    # statements look for a batch's keys one by one, even where going through the few rows that there are costs less.
    "SET plan_cache_mode = force_generic_plan; SET jit = off;"
    " SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
    " SET random_page_cost = 0; SET seq_page_cost = 0; SET cpu_index_tuple_cost = 0; SET cpu_operator_cost = 0;"
    # Nobody but the server of the database may end a commit.
    " SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
    " SET default_transaction_isolation = 'read committed'; SET client_min_messages = warning"
)
_DURABILITY = ("fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names")
_SYNCHRONOUS = ("on", "remote_apply")


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose answers are waited for until ``deadline``, a time of the monotonic clock."""

    deadline = math.inf
    patience = math.inf
    begun = -math.inf
    """When what is under way was begun."""
    acknowledged = -math.inf
    """When the last write was begun that the standby has acknowledged."""
    warned = False
    """Whether a warning came: the standby may not have what was committed."""
    committed = False
    """Whether something was committed already of what is under way."""

    def begin(self, deadline: float) -> None:
        """Begin something that is over at ``deadline``."""
        self.begun = time.monotonic()
        self.deadline = deadline
        self.patience = deadline - self.begun
        self.warned = self.committed = False

    def go_on(self) -> None:
        """Wait anew as long as when it was begun: what takes long by itself has come further."""
        self.deadline = time.monotonic() + self.patience

    def wait(self, gen: PQGen[_Result], interval: float = 0.1, timeout: float | None = None) -> _Result:
        """Wait for an answer; if none came in time, or Ctrl-C came, shut the connection."""
        left = None if self.deadline == math.inf else max(0.0, self.deadline - time.monotonic())
        try:
            return waiting.wait(gen, self.pgconn.socket, interval=interval, timeout=left)
        except BaseException:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise


def places_of(url: str) -> list[dict[str, Any]]:
    """Return how to connect to each host of a URL. LocalError if it is none, or holds a password; it never shows it."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        raise LocalError(
            "the store's URL cannot be read", hint="write it as postgresql://USER@HOST,HOST/DATABASE"
        ) from None
    if any(name in given for name in SECRETS):
        raise LocalError(
            "the store's URL holds a password",
            hint="put it into a file that only the server reads, named by PGPASSFILE",
        )
    given = {**DEFAULTS, **given}
    lists = {name: str(given[name]).split(",") for name in ("host", "hostaddr", "port") if given.get(name)}
    count = max(map(len, lists.values()), default=1)
    for name, values in lists.items():
        if len(values) != count:
            if name != "port" or len(values) != 1:
                raise LocalError(
                    "the store's URL has not as many ports as hosts", hint="name one port, or one for each"
                )
            lists[name] = values * count
    return [{**given, **{name: values[n] for name, values in lists.items()}} for n in range(count)]


def connect(place: Mapping[str, Any]) -> Connection:
    """Connect to a host, and say how statements are to be planned; psycopg.Error."""
    connection = Connection.connect(**place, autocommit=True)
    try:
        parameters.register(connection)
        connection.add_notice_handler(lambda said: _notice(connection, said))
        connection.execute(_SETTINGS)
    except BaseException:
        connection.close()
        raise
    return connection


def check_durability(connection: Connection, *, one_machine: bool) -> None:
    """Raise StoreError unless a commit is on two machines' disks when it has succeeded; on one, if ``one_machine``."""
    if faults := durability_faults(connection, one_machine=one_machine):
        raise StoreError(
            f"what is committed may be lost: {'; '.join(faults)}",
            hint="set a synchronous standby up in PostgreSQL; or say that one machine is enough, with `durability` in"
            " config.toml, or dpe init --one-machine"
            if not one_machine and len(faults) == 1 and faults[0].startswith("there is no")
            else "change that in PostgreSQL's configuration",
        )


def durability_faults(connection: Connection, *, one_machine: bool) -> list[str]:
    """Return which settings of the database let it lose what it has acknowledged."""
    fsync, full_page_writes, synchronous_commit, standbys = durability(connection).values()
    faults = [
        f"{name} is {value}"
        for name, value in (("fsync", fsync), ("full_page_writes", full_page_writes))
        if value != "on"
    ]
    if synchronous_commit not in ((*_SYNCHRONOUS, "local", "remote_write") if one_machine else _SYNCHRONOUS):
        faults.append(f"synchronous_commit is {synchronous_commit}")
    if not standbys and not one_machine:
        faults.append("there is no synchronous standby (synchronous_standby_names is empty)")
    return faults


def durability(connection: Connection) -> dict[str, str]:
    """Return the settings of the database by which it keeps or loses what it has acknowledged."""
    names = ", ".join(f"current_setting('{name}')" for name in _DURABILITY)
    ((*values,),) = connection.execute(f"SELECT {names}").fetchall()
    return dict(zip(_DURABILITY, values, strict=True))


def _notice(connection: Connection, said: psycopg.errors.Diagnostic) -> None:
    if said.severity_nonlocalized == "WARNING":
        connection.warned = True
