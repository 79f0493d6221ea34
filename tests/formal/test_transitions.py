"""The Spin models move as the tables in the code do, and within bounds that are the code's or smaller."""

import re
import runpy
from pathlib import Path

import pytest

from dpe_server.handling import batching
from dpe_server.registration import transactions
from dpe_server.registration.transaction_table import PER_DEVICE
from dpe_server.registration.transactions import State
from tests.formal.spin import FOLDER

Table = set[tuple[str, str, str]]

TEXT = (FOLDER / "registration.pml").read_text(encoding="utf-8")
SESSION = (FOLDER / "session.pml").read_text(encoding="utf-8")
OTHERWISE = {
    ("BACKOFF", "confirmed", "READY"),
    ("READY", "exhausted", "REFUSED"),
    ("READY", "start", "IDLE"),
    ("REPORTING", "start", "IDLE"),
    ("ENDING", "start", "IDLE"),
}
"""What the model of the session leaves out: a late CONFIRM, the end of the counter, and a wish to register anew."""
IN_SHORT = {
    ("IDLE", "step", "REQUESTING"),
    ("BACKOFF", "step", "REQUESTING"),
    ("REQUESTING", "accepted", "CONFIRMING"),
    ("REQUESTING", "failed", "BACKOFF"),
    ("CONFIRMING", "repeated", "CONFIRMING"),
    ("CONFIRMING", "failed", "BACKOFF"),
}
"""What it has of a registration."""


def moves(model: str, machine: str) -> Table:
    """Return the transitions that a model makes: state, event, next state."""
    return set(re.findall(rf"\bMOVE\({machine}(?:\[\w\])?, (\w+), (\w+), (\w+)\)", model))


def assigned(model: str, machine: str) -> set[str]:
    """Return the states that a model sets beside its transitions."""
    return set(re.findall(rf"\b{machine}(?:\[\w+\])? = (\w+)", model))


@pytest.fixture(scope="module")
def client(root: Path) -> Table:
    """The table in the docstring of dpe_device.registration; a test of the device holds it against what happens."""
    table: list[tuple[str, str, str]] = runpy.run_path(str(root / "tools" / "generate.py"))["client_transitions"]()
    return set(table)


@pytest.fixture(scope="module")
def server() -> Table:
    return {
        (state.name, event.name, following.name)
        for (state, event), following in transactions.TRANSITIONS.items()
    }  # fmt: skip


def test_the_client_moves_as_its_table(client: Table) -> None:
    assert len(client) == 24
    assert moves(TEXT, "client") == client


def test_a_transaction_moves_as_its_table(server: Table) -> None:
    assert len(server) == 6
    assert moves(TEXT, "transaction") == server


def test_a_device_in_its_session_moves_as_its_table(root: Path, client: Table) -> None:
    table = runpy.run_path(str(root / "tools" / "generate.py"))
    session: Table = set(table["client_transitions"](table["session"]))
    assert session > OTHERWISE
    assert client > IN_SHORT
    assert moves(SESSION, "device") == (session - OTHERWISE) | IN_SHORT
    assert assigned(SESSION, "device") == {"REQUESTING", "CONFIRMING", "READY"}  # at first, and after a reboot


def test_beside_them_the_model_only_begins_forgets_and_boots() -> None:
    assert assigned(TEXT, "client") == {"IDLE", "CONFIRMING", "REGISTERED"}  # a reboot
    assert assigned(TEXT, "transaction") == {"ANSWERED", "PENDING", "GONE", "transaction"}  # the last: it moves up


def test_the_model_has_the_states_of_the_code(client: Table) -> None:
    declared = dict(re.findall(r"^mtype:(\w+) = \{ (.*?) \};$", TEXT, re.MULTILINE))
    assert set(declared["client"].split(", ")) == {state for row in client for state in (row[0], row[2])}
    assert set(declared["transaction"].split(", ")) == {state.name for state in State} | {"GONE"}


@pytest.mark.parametrize("machine", ["client", "transaction"])
def test_a_difference_is_found(machine: str) -> None:
    written = re.findall(rf"\bMOVE\({machine}\[\w\], \w+, \w+, \w+\)", TEXT)
    table = moves(TEXT, machine)
    for move in set(written):
        state, event, following = re.findall(r"\w+", move.split(",", 1)[1])
        assert moves(TEXT.replace(move, "skip"), machine) == table - {(state, event, following)}
        other = move.replace(f", {following})", ", ELSEWHERE)")
        assert (state, event, "ELSEWHERE") in moves(TEXT.replace(move, other), machine)
    assert len(assigned(TEXT + f"{machine}[t] = LOST;", machine)) > len(assigned(TEXT, machine))


def test_bounds_that_the_model_shares_with_the_code(root: Path) -> None:
    registration = (root / "device" / "dpe_device" / "registration.py").read_text(encoding="utf-8")
    defined = dict(re.findall(r"#define (\w+) +(\d+)", TEXT))
    assert re.findall(r"_EXCHANGES = const\((\d+)\)", registration) == [defined["EXCHANGES"]]
    assert int(defined["PER_DEVICE"]) <= PER_DEVICE
    assert f"the code has {PER_DEVICE} */" in TEXT
    assert int(defined["BATCH"]) <= batching.BATCH
    assert f"the code has up to {batching.BATCH} */" in TEXT
    session = (root / "device" / "dpe_device" / "session.py").read_text(encoding="utf-8")
    defined = dict(re.findall(r"#define (\w+) +(\d+)", SESSION))
    for name in ("PATIENCE", "EXCHANGES"):
        assert re.findall(rf"_{name} = const\((\d+)(?: << 1)?\)", session) == [defined[name]]
    assert re.findall(r"_BLOCK = const\((\d+)\)", session) == re.findall(r"one save; the code has (\d+)", SESSION)
