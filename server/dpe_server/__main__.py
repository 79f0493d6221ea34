"""``python -m dpe_server STATE [HOST:PORT ...]``: the server without the ``dpe`` command."""

import sys
from pathlib import Path

from dpe_coap.errors import DpeError
from dpe_server.operation.app import serve

if __name__ == "__main__":
    if len(sys.argv) < 2:
        print("usage: python -m dpe_server STATE [HOST:PORT ...]", file=sys.stderr)
        sys.exit(2)
    try:
        serve(Path(sys.argv[1]), sys.argv[2:])
    except DpeError as error:
        print(f"dpe: error: {error}", f"hint: {error.hint}" if error.hint else "", sep="\n", end="", file=sys.stderr)
        sys.exit(1)
