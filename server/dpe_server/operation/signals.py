"""Signals until the server can obey them. This imports next to nothing, so that it can be done first.

A signal that is held is not lost and does not kill, even if this is the first process of a container (PID 1), for which
the kernel drops a signal that nobody handles and nobody holds.
"""

import os
import signal
from contextlib import suppress

HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
"""They mean nothing to this server and must not end it."""


def hold() -> None:
    """Hold SIGTERM, SIGINT and SIGHUP back until ``release``."""
    for number in IGNORED:
        if signal.getsignal(number) is signal.SIG_DFL:  # a profiler may have taken one before
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def release() -> None:
    """Let in what was held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def open_standard_streams() -> None:
    """Open what is closed of the descriptors 0 to 2, on nothing, so that no database or socket gets one of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest that is free
