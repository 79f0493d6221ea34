"""The exit statuses of every `dpe` command, and the two errors that have an exit status of their own."""

from enum import IntEnum

from dpe_coap.errors import DpeError


class Exit(IntEnum):
    """An exit status. ``meaning`` says in words when a command ends with it."""

    meaning: str

    def __new__(cls, status: int, meaning: str) -> "Exit":
        """Make a member from its number and its meaning."""
        member = int.__new__(cls, status)
        member._value_ = status
        member.meaning = meaning
        return member

    DONE = 0, "the command did what was asked; a reader that stops early (`| head`) is no fault"
    FAILED = 1, "it failed, a check found a fault, or a file or one entry of a list is at fault"
    USAGE = 2, "the command line is wrong"
    NO_ANSWER = 3, "no server answered"
    REFUSED = 4, "the server refused the device"
    INTERRUPTED = 130, "the command was interrupted by Ctrl-C"
    TERMINATED = 143, "the command was ended by SIGTERM"


class NoAnswer(DpeError):
    """Nothing came back from the server: exit status 3."""


class Refused(DpeError):
    """The server answered, and refused the device: exit status 4."""


def status_of(error: DpeError) -> Exit:
    """Return the exit status for an error."""
    if isinstance(error, NoAnswer):
        return Exit.NO_ANSWER
    return Exit.REFUSED if isinstance(error, Refused) else Exit.FAILED
