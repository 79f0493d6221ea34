"""``python -m dpe_server STATE [HOST:PORT ...]``: the server without the ``dpe`` command."""

import sys
from pathlib import Path

from dpe_server.operation import signals


def main() -> None:
    """Run the server; end the process with status 1 if that is impossible, and 2 if the arguments are wrong."""
    if len(sys.argv) < 2:
        print("usage: python -m dpe_server STATE [HOST:PORT ...]", file=sys.stderr)
        sys.exit(2)
    signals.hold()  # before the imports, which take a while: a signal must not end a server that starts
    from dpe_coap.errors import DpeError
    from dpe_server.operation import app

    try:
        app.serve(Path(sys.argv[1]), sys.argv[2:])
    except DpeError as error:
        print(f"dpe: error: {error}", f"hint: {error.hint}" if error.hint else "", sep="\n", end="", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
