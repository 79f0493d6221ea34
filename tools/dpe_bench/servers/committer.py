"""A process that commits sessions to a store: python -m dpe_bench.servers.committer URL BATCHES.

Prints "ready" when it has made them, commits them when a line comes on standard input, one batch after the other, and
prints what it took as JSON.
"""

import json
import os
import sys
import time
from contextlib import closing

from dpe_coap.messages import Version
from dpe_server.store.contract import Outcome, Session
from dpe_server.store.opening import open_store

BATCH = 100
PATIENCE = 60.0
"""Seconds for a commit: nobody waits for it but this process."""


def session() -> Session:
    """Return a session of a new device, with values as long as a real one's."""
    return Session(
        client_id=int.from_bytes(os.urandom(7), "big"),
        device=os.urandom(16),
        sealed_imei=os.urandom(35),
        version=Version(1, 0),
        firmware=None,
        suite=1,
        rule="all",
        ordinal=1,
        established_at=int(time.time()),
        lifetime=604_800,
        expires_at=int(time.time()) + 604_800,
        th3=os.urandom(32),
        success_hash=os.urandom(32),
        confirm=os.urandom(23),
        sealed_keys=os.urandom(52),
    )


def main(url: str, count: int) -> None:
    """Commit so many batches."""
    batches = [[session() for _ in range(BATCH)] for _ in range(count)]
    with closing(open_store(url)) as store:
        store.commit([session()], patience=PATIENCE)  # so that everything is there
        print("ready", flush=True)
        sys.stdin.readline()
        times = []
        processor = time.process_time()
        began = time.monotonic()
        for batch in batches:
            start = time.perf_counter()
            outcomes = store.commit(batch, patience=PATIENCE)
            times.append(time.perf_counter() - start)
            if any(outcome is not Outcome.COMMITTED for outcome in outcomes):
                raise SystemExit(f"not all sessions were committed: {set(outcomes)}")
        told = {"began": began, "ended": time.monotonic(), "cpu": time.process_time() - processor, "times": times}
        wrong = sum(store.session(batch[0].client_id) != batch[0] for batch in batches)
    print(json.dumps({**told, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
