"""What a running server does just now: figures made of readings of its metrics, for people who watch it."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from dpe_server.operators.scraping import Labels, Reading

OVER = 10.0
"""Seconds over which figures are made. The server writes its numbers once a second, so over two they would be rough."""
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a server does now. Rates are per second, over the time between two readings."""

    seconds: float
    """Between the readings."""
    registrations: Mapping[str, float]
    """Rate by outcome of the commit; ``committed`` and ``replaced`` are sessions that were made."""
    responses: Mapping[str, float]
    """Rate of RESPONSEs by status."""
    refusals: Mapping[str, float]
    """Rate of requests that were refused before a policy was asked, by kind."""
    reports: Mapping[str, float]
    """Rate by outcome."""
    requests: float
    """Rate of requests that were decided."""
    resent: Mapping[str, float]
    """Rate of requests that came again, by what knew them again."""
    turned_away: float
    """Rate of requests that were told to come back, as too many waited."""
    commits: float
    """Rate of commits."""
    failed_commits: float
    """Rate of commits that failed."""
    commit_seconds: Mapping[float, float]
    """By quantile, what commits took; nothing if there was none."""
    batch: float | None
    """Requests in a batch, on average; None if there was none."""
    hits: float | None
    """The share of protected requests whose session's keys were in memory, from 0 to 1; None if there was none."""
    suppressed: float
    """Rate of audit records without a line."""
    waiting: int
    """Requests without a reply: the backlog."""
    transactions: int
    """Registrations under way, or over for less than 300 s."""
    sessions: int | None
    """Live sessions, as the store was last asked; None if it is not known."""
    processes: int
    """Processes that serve."""
    started: float | None
    """When the server started, in Unix time; None while that is not known."""


class Gauge:
    """Makes figures of what ``read`` reads now and has read before, at most ``over`` seconds ago or the time before."""

    def __init__(self, read: Callable[[], Reading], over: float = OVER) -> None:
        self._read = read
        self._over = over
        self._readings: deque[Reading] = deque()

    def look(self) -> Figures | None:
        """Read, and return the figures; None at the first time. Raises what ``read`` raises."""
        now = self._read()
        while len(self._readings) > 1 and now.at - self._readings[0].at > self._over:
            self._readings.popleft()
        before = self._readings[0] if self._readings else None
        self._readings.append(now)
        return None if before is None else figures(before, now)


def figures(before: Reading, after: Reading) -> Figures:
    """Return what the server did between two readings, of which the second is later."""
    seconds = after.at - before.at
    if before.one("dpe_start_time_seconds") != after.one("dpe_start_time_seconds"):
        before = Reading(before.at, {})  # it has begun anew, at 0

    def grown(name: str) -> dict[Labels, float]:
        return _grown(before.each(name), after.each(name))

    def rate(name: str) -> float:
        return sum(grown(name).values()) / seconds

    def rates(name: str, place: int, *first: str) -> Mapping[str, float]:
        """Return rates by the label at ``place``, of those whose labels begin with ``first``."""
        found: dict[str, float] = {}
        for labels, count in grown(name).items():
            if labels[: len(first)] == first:
                found[labels[place]] = found.get(labels[place], 0.0) + count
        return {label: count / seconds for label, count in found.items()}

    def whole(name: str, *labels: str) -> int | None:
        value = after.one(name, *labels)
        return None if value is None else int(value)

    hits, derived = rate("dpe_session_keys_hits_total"), rate("dpe_session_keys_derived_total")
    batches = rate("dpe_batch_requests_count")
    requests = rate("dpe_batch_requests_sum")
    return Figures(
        seconds=seconds,
        registrations=rates("dpe_changes_total", 1, "registration"),
        responses=rates("dpe_responses_total", 1),
        refusals=rates("dpe_refusals_total", 0),
        reports=rates("dpe_changes_total", 1, "report"),
        requests=requests,
        resent=rates("dpe_requests_resent_total", 0),
        turned_away=rate("dpe_requests_turned_away_total"),
        commits=rate("dpe_commit_seconds_count"),
        failed_commits=rate("dpe_commit_failures_total"),
        commit_seconds=_quantiles(grown("dpe_commit_seconds_bucket")),
        batch=requests / batches if batches else None,
        hits=hits / (hits + derived) if hits + derived else None,
        suppressed=rate("dpe_audit_suppressed_total"),
        waiting=whole("dpe_requests_waiting") or 0,
        transactions=whole("dpe_transactions") or 0,
        sessions=whole("dpe_store_sessions", "live"),
        processes=whole("dpe_processes") or 0,
        started=after.one("dpe_start_time_seconds"),
    )


def _grown(before: Mapping[Labels, float], after: Mapping[Labels, float]) -> dict[Labels, float]:
    """Return by how much counters have grown. One that is lower than before has begun anew, at 0."""
    found: dict[Labels, float] = {}
    for labels, value in after.items():
        last = before.get(labels, 0.0)
        found[labels] = value - last if value >= last else value
    return found


def _quantiles(buckets: Mapping[Labels, float]) -> Mapping[float, float]:
    """Return QUANTILES of a histogram as Prometheus does: evenly within a bucket, at most the last bound."""
    bounds = sorted((float(bound), count) for (bound,), count in buckets.items())
    total = bounds[-1][1] if bounds else 0
    if not total:
        return {}
    found = {}
    for quantile in QUANTILES:
        rank, lower, below = quantile * total, 0.0, 0.0
        for bound, count in bounds:
            if count >= rank:
                inside = (rank - below) / (count - below) if count > below else 0.0
                found[quantile] = lower if bound == inf else lower + (bound - lower) * inside
                break
            lower, below = bound, count
    return found
