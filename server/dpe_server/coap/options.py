"""The options that this server reads or writes: their numbers, the sizes of their values, and what a value means.

A path or a query stays bytes, as it stands in the options: nothing here needs it decoded.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple


class Option(IntEnum):
    """Option numbers (RFC 7252 section 5.10, RFC 7959, RFC 8613, RFC 9175)."""

    URI_HOST = 3
    URI_PORT = 7
    OSCORE = 9
    URI_PATH = 11
    CONTENT_FORMAT = 12
    MAX_AGE = 14
    URI_QUERY = 15
    ACCEPT = 17
    BLOCK2 = 23
    BLOCK1 = 27
    PROXY_URI = 35
    PROXY_SCHEME = 39
    SIZE1 = 60
    REQUEST_TAG = 292


LENGTHS: dict[int, tuple[int, int]] = {
    Option.URI_HOST: (1, 255),
    Option.URI_PORT: (0, 2),
    Option.OSCORE: (0, 255),
    Option.URI_PATH: (0, 255),
    Option.CONTENT_FORMAT: (0, 2),
    Option.URI_QUERY: (0, 255),
    Option.ACCEPT: (0, 2),
    Option.BLOCK2: (0, 3),
    Option.BLOCK1: (0, 3),
    Option.PROXY_URI: (1, 1034),
    Option.PROXY_SCHEME: (1, 255),
    Option.SIZE1: (0, 4),
    Option.REQUEST_TAG: (0, 8),
}
"""The least and the most bytes of a value, by the number of each option that a request may have."""
REPEATABLE = (Option.URI_PATH, Option.URI_QUERY, Option.REQUEST_TAG)
MOST_OPTIONS = 64
"""A datagram with more is not processed: it could have 65,000, which cost 50 ms to read and a megabyte to keep."""


class Block(NamedTuple):
    """The value of a Block option (RFC 7959 section 2.2)."""

    number: int
    more: bool
    exponent: int
    """The block's size is 2^(exponent + 4) bytes; 7 is reserved."""

    @property
    def size(self) -> int:
        """Bytes of a full block."""
        return 1 << (self.exponent + 4)


def uri_path(segments: Iterable[str]) -> tuple[bytes, ...]:
    """Return a path, one string a segment, as the Uri-Path options of a request have it."""
    return tuple(segment.encode() for segment in segments)
