"""``python -m tests.differential REQUESTS [SEED]``: compares the server with its lane and without it, at length."""

import sys

from tests.differential.pair import compare

requests = int(sys.argv[1])
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
counts = compare(requests, seed)
print(f"{requests} datagrams, seed {seed}: no difference; the lane took {counts.pop('lane')}")
print("answers:", ", ".join(f"{count} x {code}" for code, count in sorted(counts.items())))
