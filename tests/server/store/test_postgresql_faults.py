"""What is told of a database that cannot be used: what to do, and nothing of what is in the URL."""

import psycopg
import pytest

from dpe_server.store.postgresql.faults import said, said_at_connect

AT = 'connection failed: connection to server at "127.0.0.1", port 55432 failed: '


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (f'{AT}FATAL:  password authentication failed for user "dpe"', "refuses the password", "PGPASSFILE"),
        (f'{AT}FATAL:  role "dpe" does not exist', "refuses the user", "check the user"),
        (f'{AT}FATAL:  Peer authentication failed for user "dpe"', "refuses the user", "pg_hba.conf"),
        (
            f'{AT}FATAL:  no pg_hba.conf entry for host "::1", user "dpe", database "dpe", no encryption',
            "refuses the user",
            "TLS",
        ),
        (f'{AT}FATAL:  permission denied for database "dpe"', "refuses the user", "check the user"),
        (f'{AT}FATAL:  database "dpe" does not exist', "there is no such database", "check its name"),
        (
            f'{AT}root certificate file "/dpe/root.crt" does not exist',
            "TLS with the database fails",
            "sslrootcert",
        ),
        (f"{AT}SSL error: certificate verify failed", "TLS with the database fails", "sslrootcert"),
        (
            f'{AT}server certificate for "localhost" does not match host name "dpe"',
            "TLS with the database fails",
            "name in the store's URL",
        ),
        (f"{AT}server does not support SSL, but SSL was required", "TLS with the database fails", "sslmode"),
        ('connection is bad: invalid sslmode value: "dpe"', "TLS with the database fails", "sslmode"),
        (
            "failed to resolve host 'dpe': [Errno -2] Name or service not known",
            "there is no such host",
            "names of the hosts",
        ),
        (f"{AT}Connection refused", "nobody listens", "start PostgreSQL"),
        (
            'connection to server on socket "/tmp/dpe/.s.PGSQL.5432" failed: No such file or directory',
            "nobody listens",
            "start PostgreSQL",
        ),
        (f"{AT}session is read-only", "only lets itself be read", "name the primary"),
        (f"{AT}FATAL:  sorry, too many clients already", "no connection left", "max_connections"),
        (
            'invalid integer value "dpe" for connection option "connect_timeout"',
            "an option that is wrong",
            "documentation",
        ),
        ("connection timeout expired", "does not answer", "synchronous standby"),
        (f"{AT}FATAL:  the database system is starting up", "does not answer", "check that PostgreSQL runs"),
    ],
)
def test_what_keeps_from_connecting(words: str, what: str, hint: str) -> None:
    told = said_at_connect(psycopg.OperationalError(words))
    assert what in str(told)
    assert hint in told.hint
    assert '"dpe"' not in f"{told}{told.hint}"


def test_a_statement_that_gets_no_answer() -> None:
    told = said(psycopg.OperationalError("wait timeout expired"))
    assert str(told) == "the database does not answer"
    assert "dpe doctor STATE" in told.hint
