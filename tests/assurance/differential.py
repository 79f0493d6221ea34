"""The lane and the aiocoap endpoint: the same generated datagrams to both must get the same bytes."""

import argparse
from collections.abc import Sequence

from tests.differential.pair import compare, compare_batches


def main(arguments: Sequence[str]) -> int:
    """Compare at length; return the exit status: 0 no difference, 1 a difference, which is printed."""
    parser = argparse.ArgumentParser(prog="./tools/assure differential", description=__doc__)
    parser.add_argument("requests", type=int, help="how many datagrams one by one, and how many in batches")
    parser.add_argument("--seed", type=int, default=1, help="what they are drawn from (default: 1)")
    options = parser.parse_args(arguments)
    for how, run in (("one by one", compare), ("in batches", compare_batches)):
        try:
            counts = run(options.requests, options.seed)
        except AssertionError as difference:
            print(f"{how}: {difference}")
            return 1
        taken, protected = counts.pop("lane"), counts.pop("protected")
        print(
            f"{options.requests} datagrams {how}, seed {options.seed}: no difference;"
            f" the lane took {taken}, {protected} of them under OSCORE"
        )
        print("answers:", ", ".join(f"{count} x {code}" for code, count in sorted(counts.items())), flush=True)
    return 0
