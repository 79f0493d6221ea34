"""Several connections, threads and processes on one file."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.store.contract import Outcome, Session
from dpe_server.store.sqlite.store import SqliteStore

Make = Callable[..., Session]
BATCH = 40


def test_reads_go_on_and_show_the_old_while_another_writes(
    store: SqliteStore, make: Make, now: int, path: Path
) -> None:
    old = make()
    store.commit([old])
    with closing(SqliteStore(path)) as other:
        with other._transaction(1.0) as writer:
            writer.execute("DELETE FROM session")
            assert store.sessions([old.client_id]) == {old.client_id: old}
            assert store.count(now) == 1
        assert store.count(now) == 0


def test_what_another_process_writes_holds_for_the_next_batch(
    store: SqliteStore, make: Make, now: int, path: Path
) -> None:
    session = make()
    with closing(SqliteStore(path)) as command:
        command.revoke(session.device, now)
        command.set_minimum_epoch(9)
    assert store.minimum_epoch() == 9
    assert store.restrictions([session.device])[session.device].revoked
    assert store.commit([session]) == [Outcome.REVOKED]


def test_no_reader_sees_half_a_batch(store: SqliteStore, make: Make, now: int, path: Path) -> None:
    batches = [[make() for _ in range(BATCH)] for _ in range(30)]
    replacements = [[make(device=session.device) for session in batch] for batch in batches]
    done = threading.Event()
    failed: list[BaseException] = []

    def commit_all() -> None:
        try:
            for batch in (*batches, *replacements):
                assert store.commit(batch) == [Outcome.COMMITTED] * BATCH
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
                seen.add(reader.count(now) % BATCH)
                seen.add(len(store.sessions_of([s.device for s in batches[0]])) % BATCH)
    thread.join()
    assert failed == []
    assert seen == {0}
    assert store.count(now) == 30 * BATCH


def test_threads_may_commit_and_prune_at_once(store: SqliteStore, make: Make, now: int) -> None:
    batches = [[make(expires_at=now - 1) for _ in range(BATCH)] for _ in range(20)]
    pruned = []
    threads = [threading.Thread(target=store.commit, args=(batch,)) for batch in batches]
    threads += [threading.Thread(target=lambda: pruned.append(store.prune(now))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pruned += [store.prune(now), store.prune(now)]
    assert sum(pruned) == 20 * BATCH


def test_writers_on_one_file_wait_for_each_other(make: Make, now: int, path: Path) -> None:
    stores = [SqliteStore(path) for _ in range(4)]
    outcomes: list[Outcome] = []

    def write(store: SqliteStore) -> None:
        for _ in range(25):
            outcomes.extend(store.commit([make(), make()]))
            store.revoke(make().device, now)

    threads = [threading.Thread(target=write, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Outcome.COMMITTED] * 200
    assert stores[0].count(now) == 200
    for store in stores:
        store.close()


WRITER = """
import itertools, sys
from dpe_coap.messages import Version
from dpe_server.store.contract import Session
from dpe_server.store.sqlite.store import SqliteStore

store = SqliteStore(sys.argv[1])
first, size = int(sys.argv[2]), int(sys.argv[3])
for batch in itertools.count(first):
    store.commit([
        Session(
            client_id=(batch * size + n).to_bytes(7), device=(batch * size + n).to_bytes(16), sealed_imei=b"x" * 35,
            version=Version(1, 0), firmware=None, suite=1, rule="r", ordinal=batch, established_at=batch,
            expires_at=None, th3=bytes(32), success_hash=bytes(32), confirm=b"c" * 23, sealed_keys=b"k" * 52,
            properties="{}", policies="{}",
        )
        for n in range(size)
    ])
    print(batch, flush=True)
"""


@pytest.mark.parametrize("stop_after", [1, 7, 60])
def test_a_killed_process_leaves_each_batch_whole_or_not_at_all(path: Path, stop_after: int) -> None:
    """Killed in the middle of whatever it does after so many commits; what it has reported must be there."""
    reported: list[int] = []
    first = 1
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(path), str(first), str(BATCH)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(stop_after):
                reported.append(int(child.stdout.readline()))
            child.send_signal(signal.SIGKILL)
            reported += [int(line) for line in child.stdout if line.endswith("\n")]
        assert child.returncode == -signal.SIGKILL
        with closing(SqliteStore(path)) as store:
            assert store.integrity_check() == []
            rows = store._read("SELECT ordinal, count(*) FROM session GROUP BY ordinal")
            assert {count for _, count in rows} == {BATCH}
            there = [batch for batch, _ in rows]
            assert there == list(range(1, len(there) + 1))
            assert set(reported) <= set(there)
            assert len(there) <= len(reported) + 4  # at most one unreported batch of each child
            assert store.last_ordinal() == there[-1]
        first = there[-1] + 1
