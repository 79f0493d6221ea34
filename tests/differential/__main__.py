"""``python -m tests.differential REQUESTS [SEED]``: compares the server with its lane and without it, at length."""

import sys

from tests.differential.pair import compare, compare_batches

requests = int(sys.argv[1])
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
for how, run in (("one by one", compare), ("in batches", compare_batches)):
    counts = run(requests, seed)
    print(f"{requests} datagrams {how}, seed {seed}: no difference; the lane took {counts.pop('lane')}")
    print("answers:", ", ".join(f"{count} x {code}" for code, count in sorted(counts.items())), flush=True)
