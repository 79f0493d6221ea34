"""An audit log as tests read it. Its lines come some time after the replies, from another thread."""

import fcntl
import json
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, for 30 s at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be so"
        select.select([], [], [], 0.01)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the current lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def first_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """Wait for ``count`` lines or more, and return them."""
    until(lambda: path.exists() and path.read_bytes().count(b"\n") >= count)
    return lines(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's lock, as another process could."""
    with path.open("ab") as file:
        path.chmod(0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
