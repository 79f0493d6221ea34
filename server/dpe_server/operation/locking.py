"""Locks (flock) on the files of the state directory, and who holds one."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 10.0
"""Seconds that a command waits for another one to let go of a lock."""
_PAUSE = 0.02


@contextmanager
def locked(path: Path, flags: int, *, patience: float = 0.0) -> Iterator[int]:
    """Hold an flock on a file or directory and give its descriptor.

    BlockingIOError if another process still holds it after ``patience`` seconds.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _lock(descriptor):
            if time.monotonic() >= deadline:
                raise BlockingIOError(errno.EWOULDBLOCK, "another program holds a lock on it", str(path))
            time.sleep(_PAUSE)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder(path: Path) -> int | None:
    """Return the process that holds an flock on a file, as this process numbers it.

    None when the kernel does not tell: it is in another container or on another machine, or this is not Linux.
    """
    try:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    # "1: FLOCK  ADVISORY  WRITE 4711 fe:00:123 0 EOF"; who waits for a lock has "->" after the number.
    locks = [fields for line in lines if (fields := line.split())[1:2] == ["FLOCK"]]
    pids = {int(fields[4]) for fields in locks if fields[5].rpartition(":")[2] == inode}
    return pids.pop() if len(pids) == 1 and min(pids) > 0 else None


def is_held(path: Path) -> bool:
    """Say whether any process, of this machine or another container, holds an flock on a file.

    It takes a shared lock itself for a moment, so others must not take theirs for granted at the first try.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
