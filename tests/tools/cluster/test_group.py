"""A primary and its standbys: what was acknowledged is there after a failover, and nothing is left behind."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from dpe_tools.cluster.group import Group, running
from dpe_tools.cluster.instance import DATABASE, USER, Instance, own

ROWS = "SELECT count(*) FROM kept"
INSERT = "INSERT INTO kept VALUES (1)"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where whoever the servers run as may go."""
    with tempfile.TemporaryDirectory(prefix="dpe-pg-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def group(postgresql_programs: Path) -> Iterator[Group]:
    with (
        tempfile.TemporaryDirectory(prefix="dpe-pg-") as made,
        running(postgresql_programs, Path(made), standbys=2) as group,
    ):
        group.primary.sql("CREATE TABLE kept (number int)")
        yield group


@pytest.fixture
def rows(group: Group) -> int:
    """How many there are at the beginning."""
    ((count,),) = group.primary.sql(ROWS)
    return int(count)


def test_what_was_acknowledged_outlives_the_primary(group: Group, rows: int) -> None:
    first = group.primary
    first.sql(INSERT)
    first.kill()
    assert not first.runs
    second = group.fail_over()
    assert second is not first
    assert second.sql(ROWS) == [[str(rows + 1)]]
    second.sql(INSERT)  # the other standby acknowledges it
    group.rejoin(first)
    assert len(group.standbys) == 2
    assert first.sql("SELECT pg_is_in_recovery()") == [["t"]]


def test_a_primary_that_hung_acknowledges_nothing_when_it_goes_on(group: Group, rows: int) -> None:
    hung = group.primary
    hung.freeze()
    group.fail_over().sql(INSERT)
    hung.thaw()
    assert hung.sql("SELECT pg_is_in_recovery()") == [["f"]], "it takes itself for the primary"
    commit = hung.spawn("psql", "-h", hung.folder, "-U", USER, "-d", DATABASE, "-c", INSERT)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    while hung.sql(waiting) != [["1"]]:
        assert commit.poll() is None
    hung.kill()
    assert commit.wait() != 0
    group.rejoin(hung)
    assert hung.sql(ROWS) == group.primary.sql(ROWS) == [[str(rows + 1)]]


def test_nothing_of_it_is_left(postgresql_programs: Path, folder: Path) -> None:
    with suppress(KeyboardInterrupt), running(postgresql_programs, folder, standbys=1) as group:
        pids = [pid for member in group.members for pid in member.pids()]
        memory = [(member.data / "postmaster.pid").read_text().splitlines()[6].split()[1] for member in group.members]
        assert len(pids) > 6
        assert _shared_memory() >= set(memory)
        assert group.primary.processor > 0
        group.primary.freeze()
        raise KeyboardInterrupt
    assert [pid for pid in pids if _runs(pid)] == []
    assert _shared_memory().isdisjoint(memory)


def _shared_memory() -> set[str]:
    lines = subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[1] for line in lines if line.startswith("0x")}


def _runs(pid: int) -> bool:
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except FileNotFoundError:
        return False
    return "postgres" in name and rest.split()[0] != "Z"


def test_a_server_that_does_not_start_says_why(postgresql_programs: Path, folder: Path) -> None:
    own(folder)
    with Instance(postgresql_programs, folder, {"no_such_setting": "1"}) as instance:
        instance.make()
        with pytest.raises(LocalError, match="no_such_setting"):
            instance.start()
    with pytest.raises(LocalError, match="psql: error: connection to server"):
        instance.sql("SELECT 1")
