"""Times and durations as people read them, in UTC only."""

import re
from datetime import UTC, datetime

UNITS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}


def parse_span(text: str) -> int:
    """Read a duration such as 90, 15min, 36h or 7d, in seconds. ValueError says what was expected."""
    found = re.fullmatch(r"([0-9]{1,9}) ?(s|min|h|d|)", text)
    if found is None:
        raise ValueError("a duration is a number with s, min, h or d, such as 90s, 15min, 36h or 7d")
    return int(found[1]) * UNITS[found[2]]


def span(seconds: int) -> str:
    """Return a duration for a person, as in ``5 min``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def ago(seconds: int, now: int) -> str:
    """Return how long ago a time was; the time itself if it is still to come. Both are in seconds since 1970."""
    return f"{span(now - seconds)} ago" if seconds <= now else moment(seconds)


def moment(seconds: int) -> str:
    """Return a time for a person, in UTC. ``seconds`` are since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
