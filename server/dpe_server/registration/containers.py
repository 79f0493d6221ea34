"""Containers for a million small records, with nothing that the garbage collector must visit.

None of them grows by much at once: one dict of 700,000 entries takes 25 ms to grow.
"""

from collections import deque
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Generic, TypeVar

SIZE_TH1 = 32

Key = TypeVar("Key", int, bytes)


class Map(Generic[Key]):
    """A dict from keys to bytes, in 256 parts."""

    def __init__(self) -> None:
        self._parts: list[dict[Key, bytes]] = [{} for _ in range(256)]

    def part(self, key: Key) -> dict[Key, bytes]:
        """Return the part that ``key`` belongs to."""
        return self._parts[hash(key) >> 32 & 0xFF]  # the lowest bits are for the dict itself


class Recent:
    """Remembers ``total`` keys at most, each with some bytes that may be changed; those used last are among them.

    Each of 256 parts has two generations. When the young one is full, the old one is forgotten at once.
    """

    def __init__(self, total: int) -> None:
        self._full = max(1, total // 512)
        self._young: list[dict[bytes, bytearray]] = [{} for _ in range(256)]
        self._old: list[dict[bytes, bytearray]] = [{} for _ in range(256)]

    def __len__(self) -> int:
        """How many keys it remembers."""
        return sum(map(len, self._young)) + sum(map(len, self._old))

    def get(self, key: bytes) -> bytearray | None:
        """Return what is remembered with ``key``, or None."""
        part = hash(key) >> 32 & 0xFF
        found = self._young[part].get(key)
        if found is None:
            found = self._old[part].pop(key, None)
            if found is not None:
                self._add(part, key, found)
        return found

    def add(self, key: bytes, value: bytearray) -> None:
        """Remember ``value`` with ``key``, which is new."""
        self._add(hash(key) >> 32 & 0xFF, key, value)

    def _add(self, part: int, key: bytes, value: bytearray) -> None:
        young = self._young[part]
        young[key] = value
        if len(young) >= self._full:
            self._old[part], self._young[part] = young, {}


class MultiMap(Map[Key]):
    """A map from keys to one TH1 or a few, in the order in which they came."""

    def get(self, key: Key) -> list[bytes]:
        """Return the TH1s of ``key``."""
        th1s = self.part(key).get(key, b"")
        if len(th1s) <= SIZE_TH1:
            return [th1s] if th1s else []
        return [th1s[n : n + SIZE_TH1] for n in range(0, len(th1s), SIZE_TH1)]

    def add(self, key: Key, th1: bytes) -> int:
        """Append ``th1`` to the TH1s of ``key``; return how many there are now."""
        part = self.part(key)
        if key not in part:
            part[key] = th1
            return 1
        part[key] += th1
        return len(part[key]) // SIZE_TH1

    def discard(self, key: Key, th1: bytes) -> None:
        """Remove ``th1``, which is one of the TH1s of ``key``."""
        part = self.part(key)
        if part[key] == th1:
            del part[key]
        else:
            part[key] = b"".join(other for other in self.get(key) if other != th1)


class Queue:
    """TH1s with a time each, first in, first out. ``holds`` says whether an entry still means something."""

    _ENTRY = Struct(">32sd")
    PIECE = 4_096
    """Entries in one piece of memory."""

    def __init__(self, holds: Callable[[bytes, float], bool]) -> None:
        self._holds = holds
        self._pieces = deque([bytearray()])
        self._sifted = 0

    def __len__(self) -> int:
        """How many entries there are."""
        return sum(map(len, self._pieces)) // self._ENTRY.size

    def append(self, th1: bytes, time: float) -> bool:
        """Append an entry; return whether that has filled a piece."""
        if len(self._pieces[-1]) >= self.PIECE * self._ENTRY.size:
            self._pieces.append(bytearray())
        self._pieces[-1] += self._ENTRY.pack(th1, time)
        return len(self._pieces[-1]) >= self.PIECE * self._ENTRY.size

    def sift(self) -> None:
        """Drop meaningless entries from the next two pieces. Called for each new piece, it keeps up with any flood."""
        for _ in range(2):
            at = self._sifted if self._sifted < len(self._pieces) else 0
            piece = self._pieces[at]
            piece[:] = b"".join(
                [self._ENTRY.pack(*entry) for entry in self._ENTRY.iter_unpack(bytes(piece)) if self._holds(*entry)]
            )
            if piece or len(self._pieces) == 1:
                at += 1
            else:
                del self._pieces[at]
            self._sifted = at

    def first(self) -> tuple[bytes, float] | None:
        """Return the oldest entry, or None."""
        return self._ENTRY.unpack_from(self._pieces[0]) if self._pieces[0] else None

    def after(self, time: float) -> Iterator[bytes]:
        """Yield the TH1s of the entries with a later time, the youngest first."""
        for piece in reversed(self._pieces):
            for th1, its in reversed(list(self._ENTRY.iter_unpack(bytes(piece)))):
                if its <= time:
                    return
                yield th1

    def pop(self) -> None:
        """Remove the oldest entry."""
        del self._pieces[0][: self._ENTRY.size]
        if not self._pieces[0] and len(self._pieces) > 1:
            self._pieces.popleft()
