"""Several connections, threads and processes on one file."""

import math
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from dpe_server.store.contract import (
    COMMIT_PATIENCE,
    OPERATOR_PATIENCE,
    Outcome,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Stats,
    StoreError,
)
from dpe_server.store.opening import examine
from dpe_server.store.questions import Questions, Restriction
from dpe_server.store.sqlite import copying_back, database
from dpe_server.store.sqlite.store import SqliteStore

Make = Callable[..., Session]
BATCH = 40


def test_reads_go_on_and_show_the_old_while_another_writes(
    store: SqliteStore, make: Make, now: int, path: Path
) -> None:
    old = make()
    store.commit([old])
    with closing(SqliteStore(path)) as other:
        with other._database.transaction(1.0) as writer:
            writer.execute("DELETE FROM session")
            assert store.look(Questions(holders={old.client_id})).holders == {old.client_id: old.device}
            assert store.session_of(old.device) == old
            assert store.stats(now).live == 1
        assert store.stats(now).live == 0


def test_what_another_process_writes_holds_for_the_next_batch(
    store: SqliteStore, make: Make, now: int, path: Path
) -> None:
    session = make()
    with closing(SqliteStore(path)) as command:
        command.commit([Revoke(session.device, now), SetMinimumEpoch(9)])
    facts = store.look(Questions(restrictions={session.device}))
    assert facts.minimum_epoch == 9
    assert facts.restrictions[session.device].revoked
    assert store.commit([session]) == [Outcome.REVOKED]


def test_no_reader_sees_half_a_batch(store: SqliteStore, make: Make, now: int, path: Path) -> None:
    batches = [[make() for _ in range(BATCH)] for _ in range(30)]
    replacements = [[make(device=session.device) for session in batch] for batch in batches]
    done = threading.Event()
    failed: list[BaseException] = []

    def commit_all() -> None:
        try:
            for outcome, each in ((Outcome.COMMITTED, batches), (Outcome.REPLACED, replacements)):
                for batch in each:
                    assert store.commit(batch) == [outcome] * BATCH
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=commit_all)
    thread.start()
    seen = set()
    with closing(SqliteStore(path)) as other:
        while not done.is_set():
            for reader in (store, other):
                seen.add(reader.stats(now).live % BATCH)
                facts = store.look(Questions(client_ids_of={s.device for s in batches[0]}))
                seen.add(len(facts.client_ids_of) % BATCH)
    thread.join()
    assert failed == []
    assert seen == {0}
    assert store.stats(now).live == 30 * BATCH


def test_no_look_shows_half_a_commit_of_several_kinds(store: SqliteStore, make: Make, path: Path) -> None:
    """The epoch of all, and of what is laid on a device, rise together; so do they in what is seen."""
    device = make().device
    done = threading.Event()

    def commit_all() -> None:
        try:
            for epoch in range(1, 256):
                store.commit([RestrictEpoch(device, epoch), make(), SetMinimumEpoch(epoch)])
        finally:
            done.set()

    thread = threading.Thread(target=commit_all)
    thread.start()
    with closing(SqliteStore(path)) as other:
        while not done.is_set():
            for reader in (store, other):
                facts = reader.look(Questions(restrictions={device}))
                assert facts.restrictions.get(device, Restriction()).minimum_epoch == facts.minimum_epoch
    thread.join()
    assert store.look(Questions(restrictions={device})).minimum_epoch == 255


def test_threads_may_commit_and_end_sessions_at_once(store: SqliteStore, make: Make, now: int) -> None:
    batches = [[make(expires_at=now - 1) for _ in range(BATCH)] for _ in range(20)]
    ended: list[int] = []
    threads = [threading.Thread(target=store.commit, args=(batch,)) for batch in batches]
    threads += [threading.Thread(target=lambda: ended.append(len(store.expire(now)))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended += [len(store.expire(now)), len(store.expire(now))]
    assert sum(ended) == 20 * BATCH


def test_writers_on_one_file_wait_for_each_other(make: Make, now: int, path: Path) -> None:
    outcomes: list[Outcome] = []

    def write(store: SqliteStore) -> None:
        for _ in range(25):
            outcomes.extend(store.commit([make(), make()], patience=math.inf))  # the machine may be slow
            outcomes.extend(store.commit([Revoke(make().device, now)], patience=math.inf))

    with ExitStack() as stack:
        stores = [stack.enter_context(closing(SqliteStore(path))) for _ in range(4)]
        threads = [threading.Thread(target=write, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == [Outcome.COMMITTED] * 300
        assert stores[0].stats(now) == Stats(live=200, ended=0, revoked=100)


class Clock:
    """Shows what was slept; calls ``later`` when that is ``at`` seconds."""

    def __init__(self, later: Callable[[], object] = lambda: None, at: float = math.inf) -> None:
        self.slept = 0.0
        self._later = later
        self._at = at

    def monotonic(self) -> float:
        return 1000.0 + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        if self.slept >= self._at:
            self._later()
            self._at = math.inf


WRITES: dict[str, tuple[float, Callable[[SqliteStore], object]]] = {
    "a registration": (COMMIT_PATIENCE, lambda store: store.commit([SetMinimumEpoch(1)])),
    "an operator": (OPERATOR_PATIENCE, lambda store: store.commit([SetMinimumEpoch(1)], patience=OPERATOR_PATIENCE)),
    "who does not wait": (0.0, lambda store: store.commit([SetMinimumEpoch(1)], patience=0.0)),
    "housekeeping": (COMMIT_PATIENCE, lambda store: store.prune(0)),
}


@pytest.mark.parametrize(("patience", "write"), WRITES.values(), ids=WRITES.keys())
def test_a_commit_waits_for_another_writer_as_long_as_its_patience(
    store: SqliteStore,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
    write: Callable[[SqliteStore], object],
) -> None:
    clock = Clock()
    monkeypatch.setattr(database, "time", clock)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process is writing"):
            write(store)
    assert abs(clock.slept - patience) <= 2 * database.POLL


def test_a_commit_goes_on_as_soon_as_the_other_writer_is_done(
    store: SqliteStore, make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        clock = Clock(lambda: other.execute("ROLLBACK"), at=1.0)
        monkeypatch.setattr(database, "time", clock)
        other.execute("BEGIN IMMEDIATE")
        assert store.commit([session]) == [Outcome.COMMITTED]
    assert abs(clock.slept - 1.0) <= 2 * database.POLL


WRITER = """
import itertools, sys
from dpe_coap.messages import Version
from dpe_server.store.contract import Session
from dpe_server.store.sqlite import copying_back
from dpe_server.store.sqlite.store import SqliteStore

store = SqliteStore(sys.argv[1])
first, size, copying_back.ROWS = map(int, sys.argv[2:])
for batch in itertools.count(first):
    store.commit([
        Session(
            client_id=batch * size + n, device=(batch * size + n).to_bytes(16), sealed_imei=b"x" * 35,
            version=Version(1, 0), firmware=None, suite=1, rule="r", ordinal=batch, established_at=batch,
            lifetime=None, expires_at=None, th3=bytes(32), success_hash=bytes(32), confirm=b"c" * 23,
            sealed_keys=b"k" * 52,
        )
        for n in range(size)
    ])
    print(batch, flush=True)
"""


@pytest.mark.parametrize(
    ("stop_after", "copied_at"), [(1, copying_back.ROWS), (7, BATCH), (60, copying_back.ROWS), (60, 90)]
)
def test_a_killed_process_leaves_each_batch_whole_or_not_at_all(path: Path, stop_after: int, copied_at: int) -> None:
    """Killed in the middle of whatever it does after so many commits; what it has reported must be there.

    It copies its log back when so many rows have changed (``copied_at``).
    """
    reported: list[int] = []
    first = 1
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(path), str(first), str(BATCH), str(copied_at)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(stop_after):
                reported.append(int(child.stdout.readline()))
            child.send_signal(signal.SIGKILL)
            reported += [int(line) for line in child.stdout if line.endswith("\n")]
        assert child.returncode == -signal.SIGKILL
        with closing(SqliteStore(path)) as store:
            assert examine(f"sqlite:{path}", thorough=True).faults == []
            rows = store._database._reader.execute("SELECT ordinal, count(*) FROM session GROUP BY ordinal").fetchall()
            assert {count for _, count in rows} == {BATCH}
            there = [batch for batch, _ in rows]
            assert there == list(range(1, len(there) + 1))
            assert set(reported) <= set(there)
            assert len(there) <= len(reported) + 4  # at most one unreported batch of each child
            assert store.last_ordinal() == there[-1]
        first = there[-1] + 1
