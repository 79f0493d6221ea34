"""`dpe sessions`: a table that streams, in which no Client ID is cut, and what is true after a jump of the clock."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from dpe_coap.client_ids import client_id_text
from dpe_coap.messages import Version
from dpe_server.operators.sessions import describe
from dpe_server.store.contract import Session
from dpe_tools import session_list, streams
from tests.tools.conftest import Invoke, Running
from tests.tools.test_terminal import on_terminal

NOW = 1_800_000_000
FIRST = 0x10000000000000


def session(number: int, *, began: int = NOW - 5, rule: str = "DPE 1.x", seen_at: int | None = None) -> Session:
    return Session(
        client_id=FIRST + number,
        device=bytes(16),
        sealed_imei=b"",
        version=Version(1, 0),
        firmware="fw" if number % 2 else None,
        suite=1,
        rule=rule,
        ordinal=number + 1,
        established_at=began,
        lifetime=None,
        expires_at=None,
        th3=b"",
        success_hash=b"",
        confirm=b"",
        sealed_keys=b"",
        seen_at=seen_at,
    )


def test_the_table_is_printed_as_the_sessions_come(capsys: pytest.CaptureFixture[str]) -> None:
    given = 2 * session_list.LOOK_AHEAD

    def found() -> Iterator[Session]:
        yield from map(session, range(given))
        raise RuntimeError("the rest has not come")

    with pytest.raises(RuntimeError):
        session_list.print_table(found(), NOW)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[1:]] == [client_id_text(FIRST + number) for number in range(given)]


def _print_json(found: Iterable[Session], now: int) -> None:
    session_list.print_array(describe(one, now) for one in found)


@pytest.mark.parametrize("show", [session_list.print_table, _print_json])
def test_nothing_more_is_read_when_nobody_reads(
    show: Callable[[Iterable[Session], int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def found() -> Iterator[Session]:
        for number in range(10 * session_list.LOOK_AHEAD):
            asked.append(number)
            yield session(number)

    monkeypatch.setattr(streams, "is_read", lambda: False)
    show(found(), NOW)
    assert 1 <= len(asked) <= session_list.LOOK_AHEAD


def test_columns_are_as_wide_as_their_cells(capsys: pytest.CaptureFixture[str]) -> None:
    session_list.print_table([session(0, rule="a"), session(1, rule="a longer name"), session(2, rule="東京")], NOW)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "Client",
        "ID",
        "version",
        "state",
        "suite",
        "age",
        "seen",
        "ends",
        "in",
        "reported",
        "rule",
        "firmware",
    ]
    assert {row.index("ESTABLISHED") for row in rows} == {head.index("state")}
    assert [row[head.index("rule") :] for row in rows] == ["a", 'a longer name  "fw"', "東京"]


def test_an_age_that_the_clock_contradicts_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    ahead = session(1, began=NOW + 2_527_343_254)
    session_list.print_table([session(0), ahead], NOW)
    told = capsys.readouterr()
    assert re.search(r" +5 s +never +never ", told.out.splitlines()[1])
    assert re.search(r" +\? +never +never ", told.out.splitlines()[2])
    assert told.err == (
        "1 of these began later than it is now, 2027-01-15 08:00:00Z: the clock was ahead then, or it is behind now\n"
    )
    assert describe(ahead, NOW)["age"] is None
    assert describe(session(0), NOW)["age"] == 5


def test_the_last_contact_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    session_list.print_table([session(0, seen_at=NOW - 300), session(1, seen_at=NOW + 5)], NOW)
    rows = capsys.readouterr().out.splitlines()[1:]
    assert "  5 min ago    never  " in rows[0]
    assert "  2027-01-15 08:00:05Z    never  " in rows[1], "the clock was ahead then"
    assert describe(session(0, seen_at=NOW - 300), NOW)["seen_at"] == NOW - 300
    assert describe(session(0), NOW)["seen_at"] is None


def test_a_narrow_terminal_cuts_nothing(dpe: Invoke, server: Running, credential: Path) -> None:
    client_id = json.loads(dpe("register", credential, "--json").stdout)["client_id"]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal("sessions", server.state, COLUMNS="20"))
    assert re.fullmatch(rf"Client ID .* firmware\s+{client_id}  1\.0 .*  DPE 1\.x\s+", shown), shown
