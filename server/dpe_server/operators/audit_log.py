"""Reads the audit log: from its end backwards, in bounded steps, or what has come since.

A line is found again by the file that it is in and where it begins. A file keeps its number when it is renamed, so
that holds while the log is rotated.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

BLOCK = 1 << 16
"""Bytes that are read at once."""
MOST_BLOCKS = 64
"""The most blocks that one look reads: 4 MiB, some 20,000 lines."""
MOST_FILES = 100
"""The most files that are looked for."""
LONGEST = 1 << 14
"""Bytes of a line that is believed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Between two lines of the log."""

    file: int
    """The number that the file system knows the file by."""
    offset: int

    def __str__(self) -> str:
        """Write it as people and programs keep it."""
        return f"{self.file}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read what ``str`` has written. ValueError if it is no place."""
        found = re.fullmatch(r"([0-9]{1,20})-([0-9]{1,19})", text)
        if found is None:
            raise ValueError("not a place in the audit log")
        return cls(int(found[1]), int(found[2]))


class Wanted(NamedTuple):
    """Which lines are asked for: those that fit all that is given."""

    event: str = ""
    device: str = ""
    """The first 16 hex digits of the keyed hash."""
    registration: int | None = None
    client_id: str = ""
    """14 hex digits."""

    def fits(self, line: dict[str, Any]) -> bool:
        """Say whether a line is wanted."""
        return (
            self.event in ("", line.get("event"))
            and self.device in ("", line.get("device"))
            and self.registration in (None, line.get("registration"))
            and (not self.client_id or self.client_id in (line.get("client_id"), line.get("by")))
        )


class Lines(NamedTuple):
    """What was found."""

    lines: list[dict[str, Any]]
    """Each as it was written, by its names: ``time``, ``event`` and what belongs to it."""
    place: Place | None
    """Where to go on; None: that was all there is."""


def newest(path: Path, wanted: Wanted, *, before: Place | None = None, most: int) -> Lines:
    """Return the last lines before a place, or of all, the newest first; ``most`` of them at most.

    If ``place`` of the answer is not None, there may be more, even if no line was found. LookupError: the file of
    ``before`` is gone. OSError: the log cannot be read.
    """
    files = _files(path)
    if before is not None:
        numbers = [number for number, _ in files]
        if before.file not in numbers:
            raise LookupError("that part of the audit log is gone")
        files = files[numbers.index(before.file) :]
    found: list[dict[str, Any]] = []
    left = MOST_BLOCKS
    for number, file in files:
        with _opened(file) as descriptor:
            end = os.fstat(descriptor).st_size
            if before is not None and before.file == number:
                end = min(end, before.offset)
            while end:
                if not left:
                    return Lines(found, Place(number, end))
                left -= 1
                end, texts = _block_before(descriptor, end)
                for start, text in reversed(texts):
                    line = _parsed(text)
                    if line is not None and wanted.fits(line):
                        found.append(line)
                        if len(found) == most:
                            return Lines(found, Place(number, start))
    return Lines(found, None)


def end_of(path: Path) -> Place:
    """Return the place behind the last line; OSError."""
    files = _files(path)
    return Place(files[0][0], files[0][1].stat().st_size) if files else Place(0, 0)


def since(path: Path, wanted: Wanted, place: Place, *, most: int) -> Lines:
    """Return lines that have come since ``place``, the oldest first, and where to go on; OSError.

    At most ``most`` lines are returned and MOST_BLOCKS read. If the file of ``place`` is gone, it begins with the
    oldest that there is.
    """
    files = list(reversed(_files(path)))
    numbers = [number for number, _ in files]
    if place.file in numbers:
        files = files[numbers.index(place.file) :]
    found: list[dict[str, Any]] = []
    left = MOST_BLOCKS
    for number, file in files:
        at = place.offset if number == place.file else 0
        with _opened(file) as descriptor:
            while left:
                left -= 1
                data = os.pread(descriptor, BLOCK, at)
                whole = data.rfind(b"\n") + 1
                for text in data[:whole].splitlines(keepends=True):
                    at += len(text)
                    line = _parsed(text)
                    if line is not None and wanted.fits(line):
                        found.append(line)
                        if len(found) == most:
                            return Lines(found, Place(number, at))
                if not whole:
                    at += len(data) if len(data) == BLOCK else 0  # no line is that long
                    if len(data) < BLOCK:
                        break
        place = Place(number, at)
        if not left:
            break
    return Lines(found, place)


def _files(path: Path) -> list[tuple[int, Path]]:
    """Return the files of the log with their numbers, the newest first."""
    found = []
    for file in (path, *(path.with_name(f"{path.name}.{older}") for older in range(1, MOST_FILES))):
        try:
            found.append((file.stat().st_ino, file))
        except FileNotFoundError:
            if file != path:  # the newest is missing for a moment while it is rotated
                break
    return found


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _block_before(descriptor: int, end: int) -> tuple[int, list[tuple[int, bytes]]]:
    """Return where the whole lines of the last block before ``end`` begin, and these, each with its offset."""
    start = max(0, end - BLOCK)
    data = os.pread(descriptor, end - start, start)
    if start:
        cut = data.find(b"\n") + 1
        if not 0 < cut < len(data):  # no line is that long
            return start, []
        data = data[cut:]
        start += cut
    lines, at = [], start
    for text in data.splitlines(keepends=True):
        lines.append((at, text))
        at += len(text)
    return start, lines


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return what a line says; None if it is no whole line of an audit log."""
    if not text.endswith(b"\n") or len(text) > LONGEST:
        return None
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("event"), str) else None
