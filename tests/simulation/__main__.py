"""Run the simulation for more seeds than the tests do, or one seed again with a trace:

python -m tests.simulation --count 10000 --first 1000
python -m tests.simulation --first 1234 --trace
"""

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from tests.simulation.simulation import Simulation


def replay(seed: int) -> str:
    """Return the command that repeats a seed."""
    return f"python -m tests.simulation --first {seed} --trace"


def main() -> int:
    """Return the exit status: 1 if a seed failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Runs the simulation for some seeds."
    )
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="tell what happens")
    arguments = parser.parse_args()
    failed = 0
    for seed in range(arguments.first, arguments.first + arguments.count):
        with tempfile.TemporaryDirectory(prefix="dpe-simulation-") as directory:
            try:
                Simulation(seed, Path(directory), print if arguments.trace else None).run()
            except Exception:
                failed += 1
                traceback.print_exc()
                print(f"seed {seed} failed; again: {replay(seed)}", file=sys.stderr)
    print(f"{arguments.count} seeds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
