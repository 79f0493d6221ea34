"""The `dpe` command as a process: `dpe`, or `python -m dpe_tools`."""

import sys

from dpe_server.operation import signals


def run() -> None:
    """Run the command line of this process, and end the process with an exit status."""
    if sys.argv[1:2] == ["serve"]:
        signals.hold()  # before the imports, which take a while: a signal must not end a server that starts
    try:
        from dpe_tools import cli, streams

        streams.prepare()
        cli.main(prog_name="dpe")
    except KeyboardInterrupt:  # before the command line had begun
        sys.exit(130)


if __name__ == "__main__":
    run()
