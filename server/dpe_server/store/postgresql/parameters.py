"""Arrays as parameters of a statement: a whole batch in one, as PostgreSQL reads it.

psycopg chooses the type of a list by what is in it. A statement would then be prepared once for each mixture of types,
and an array of nothing but NULL would have none. Here the type is that of the column.
"""

from collections.abc import Iterable
from struct import Struct

import psycopg
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = Struct(">iiIii")
_EMPTY = Struct(">iiI")
_SIZE = Struct(">i")
_INTEGER = Struct(">iq")
_NULL = _SIZE.pack(-1)

_BYTEA, _INT8, _TEXT = 17, 20, 25
_BYTEAS, _INT8S, _TEXTS = 1001, 1016, 1009
"""The numbers of PostgreSQL's own types, which never change."""


class Integers(list[int | None]):
    """An ``int8[]``."""


class ByteStrings(list[bytes | None]):
    """A ``bytea[]``."""


class Texts(list[str | None]):
    """A ``text[]``."""


def register(connection: psycopg.Connection) -> None:
    """Have a connection take these arrays."""
    for array, dumper in ((Integers, _Integers), (ByteStrings, _ByteStrings), (Texts, _Texts)):
        connection.adapters.register_dumper(array, dumper)


class _Integers(Dumper):
    format = Format.BINARY
    oid = _INT8S

    def __init__(self, cls: type, context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)

    def dump(self, obj: Integers) -> bytes:
        pack = _INTEGER.pack
        return _array(_INT8, len(obj), [_NULL if value is None else pack(8, value) for value in obj])


class _ByteStrings(Dumper):
    format = Format.BINARY
    oid = _BYTEAS

    def dump(self, obj: ByteStrings) -> bytes:
        return _array(_BYTEA, len(obj), _sized(obj))


class _Texts(Dumper):
    format = Format.BINARY
    oid = _TEXTS

    def dump(self, obj: Texts) -> bytes:
        return _array(_TEXT, len(obj), _sized(None if value is None else value.encode() for value in obj))


def _sized(values: Iterable[bytes | None]) -> Iterable[bytes]:
    for value in values:
        if value is None:
            yield _NULL
        else:
            yield _SIZE.pack(len(value))
            yield value


def _array(element: int, count: int, elements: Iterable[bytes]) -> bytes:
    """Return an array of one dimension: whether there may be a NULL is said, where it begins is 1."""
    if not count:
        return _EMPTY.pack(0, 0, element)
    return _HEAD.pack(1, 1, element, count, 1) + b"".join(elements)
