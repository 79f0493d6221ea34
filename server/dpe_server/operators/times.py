"""Times and durations as people read them, in UTC only."""

from datetime import UTC, datetime


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
