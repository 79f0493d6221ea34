"""Where a device that this machine plays keeps its state: files beside its credential, for one command at a time."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from dpe_coap.errors import LocalError
from dpe_server.operation.locking import locked

option = click.option(
    "--state", metavar="FILE", show_default="CREDENTIAL.state", help="The file in which the device keeps its state."
)


def writable(state: str) -> str:
    """Return the path of the state file. Raises LocalError if its directory is not writable."""
    directory = Path(state).absolute().parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise LocalError(
            f"cannot write {state}", hint="a device needs a place for its state; name one with --state FILE"
        )
    return state


@contextmanager
def held(state: str) -> Iterator[None]:
    """Keep the state file to this process: two that read it at a time would send under the same numbers.

    LocalError: another one has it. If the file cannot be written at all, the device will find that out.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(Path(state), os.O_RDWR | os.O_CREAT))
        except BlockingIOError:
            raise LocalError(
                f"{state}: another command is this device just now", hint="wait until it has ended"
            ) from None
        except OSError:
            pass
        yield
