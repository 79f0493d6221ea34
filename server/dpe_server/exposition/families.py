"""What is measured: names, labels and help, by the conventions of Prometheus; and where each number comes from.

No label is anything of a device. A label has 100 values at most: what comes later is ``other``.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from dpe_server.handling.counts import LABELS, SECONDS, SIZES
from dpe_server.operation.snapshots import Sum

MOST_VALUES = 100
"""Of one label."""
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Found:
    """What the state directory and the store say."""

    generations: Mapping[str, int]
    """By kind of key, the newest generation that each process has loaded."""
    policies: Sequence[str]
    """Fingerprints of the policies that processes have loaded: one, but for a moment."""
    live: int | None = None
    ended: int | None = None
    revoked: int | None = None
    size: int | None = None
    """Bytes of the store's files."""


Values = Mapping[tuple[str, ...], float | None]
"""By values of the labels; what is None is not known."""


class Metric(NamedTuple):
    """A counter or a gauge."""

    name: str
    kind: type[CounterMetricFamily | GaugeMetricFamily]
    labels: tuple[str, ...]
    help: str
    values: Callable[[Sum, Found], Values]


class Distribution(NamedTuple):
    """A histogram."""

    name: str
    help: str
    bounds: Sequence[float]
    values: Callable[[Sum], tuple[Sequence[int], float]]


def _number(name: str) -> Callable[[Sum, Found], Values]:
    return lambda total, _: {(): total.numbers[name]}


def _events(*wanted: str) -> Callable[[Sum, Found], Values]:
    """Count events by what LABELS names of them; by the event itself, too, if they are several."""

    def values(total: Sum, _: Found) -> Values:
        found: dict[tuple[str, ...], int] = {}
        if len(wanted) == 1 and wanted[0] not in LABELS:
            found[()] = 0
        for event, count in total.events.items():
            if event[0] in wanted:
                labels = event if len(wanted) > 1 else event[1:]
                found[labels] = found.get(labels, 0) + count
        return found

    return values


METRICS = (
    Metric("dpe_build_info", GaugeMetricFamily, ("version", "python"), "The program.",
           lambda _, __: {(version("dpe-coap"), platform.python_version()): 1}),
    Metric("dpe_start_time_seconds", GaugeMetricFamily, (), "When the server started, in Unix time.",
           lambda total, _: {(): total.started}),
    Metric("dpe_processes", GaugeMetricFamily, (), "Processes that serve.", lambda total, _: {(): total.processes}),
    Metric("dpe_exchanges", CounterMetricFamily, ("by",), "Requests, by what takes them: the lane or the endpoint.",
           lambda total, _: {(by,): total.numbers[by] for by in ("lane", "endpoint")}),
    Metric("dpe_requests_resent", CounterMetricFamily, ("by",), "Requests that came again, by what knew them.",
           lambda total, _: {
               (by,): total.numbers[f"resent_{by}"] for by in ("registration", "session", "endpoint")
           }),
    Metric("dpe_requests_waiting", GaugeMetricFamily, (), "Requests without a reply.", _number("waiting")),
    Metric("dpe_requests_turned_away", CounterMetricFamily, (), "Requests told to come back, as too many waited.",
           _number("turned_away")),
    Metric("dpe_commit_failures", CounterMetricFamily, (), "Commits that failed.", _number("failed_commits")),
    Metric("dpe_changes", CounterMetricFamily, ("change", "outcome"), "What was committed, and what became of it.",
           lambda total, _: total.outcomes),
    Metric("dpe_responses", CounterMetricFamily, ("status", "rule"), "RESPONSEs, by status and deciding rule.",
           _events("response")),
    Metric("dpe_registrations", CounterMetricFamily, ("rule",), "Sessions that were confirmed, by rule.",
           _events("established")),
    Metric("dpe_declines", CounterMetricFamily, (), "Offers that devices have declined.", _events("declined")),
    Metric("dpe_superseded", CounterMetricFamily, (), "Registrations that a newer one of the device has replaced.",
           _events("superseded")),
    Metric("dpe_refusals", CounterMetricFamily, ("kind", "reason"), "Requests refused before a policy was asked.",
           _events("unauthenticated", "malformed", "limited")),
    Metric("dpe_store_failures", CounterMetricFamily, (), "Batches that the store did not answer.",
           _events("store-failed")),
    Metric("dpe_transactions", GaugeMetricFamily, (), "Registrations under way, or over for less than 300 s.",
           _number("transactions")),
    Metric("dpe_first_contacts", CounterMetricFamily, (), "Sessions that were used for the first time.",
           _events("first-contact")),
    Metric("dpe_sessions_ended", CounterMetricFamily, ("why",), "Sessions that have ended.", _events("session-ended")),
    Metric("dpe_session_keys_derived", CounterMetricFamily, (), "Times that a session's keys were not in memory.",
           _number("derived")),
    Metric("dpe_session_keys_hits", CounterMetricFamily, (), "Protected requests whose session's keys were in memory.",
           _number("hits")),
    Metric("dpe_session_keys_cached", GaugeMetricFamily, (), "Sessions whose keys are in memory.",
           _number("session_keys")),
    Metric("dpe_store_sessions", GaugeMetricFamily, ("state",), "Sessions in the store.",
           lambda _, found: {("live",): found.live, ("ended",): found.ended}),
    Metric("dpe_store_revoked_devices", GaugeMetricFamily, (), "Devices on the revocation list.",
           lambda _, found: {(): found.revoked}),
    Metric("dpe_store_bytes", GaugeMetricFamily, (), "Size of the store's files.", lambda _, found: {(): found.size}),
    Metric("dpe_key_generation", GaugeMetricFamily, ("key",), "The newest generation of a key that is loaded.",
           lambda _, found: {(kind,): generation for kind, generation in found.generations.items()}),
    Metric("dpe_policy_info", GaugeMetricFamily, ("fingerprint",), "The policy that is loaded.",
           lambda _, found: {(policy,): 1 for policy in found.policies}),
    Metric("dpe_audit_suppressed", CounterMetricFamily, (), "Audit records that were counted and got no line.",
           _number("suppressed")),
)  # fmt: skip
DISTRIBUTIONS = (
    Distribution("dpe_batch_requests", "Requests that were decided together.", SIZES, lambda total: total.batches),
    Distribution("dpe_commit_seconds", "Seconds that commits took.", SECONDS, lambda total: total.commits),
)


class Families:
    """Makes what Prometheus reads. It knows which values each label has had, so it lives as long as the server."""

    def __init__(self) -> None:
        self._had: dict[tuple[str, str], set[str]] = {}

    def all(self, total: Sum, found: Found) -> Iterator[Family]:
        """Yield all metrics."""
        for metric in METRICS:
            values: dict[tuple[str, ...], float] = {}
            for labels, value in metric.values(total, found).items():
                if value is not None:
                    bounded = tuple(map(self._bounded, [metric.name] * len(labels), metric.labels, labels))
                    values[bounded] = values.get(bounded, 0) + value
            family = metric.kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
        for one in DISTRIBUTIONS:
            counts, value = one.values(total)
            histogram = HistogramMetricFamily(one.name, one.help)
            if counts:
                sums = [sum(counts[: place + 1]) for place in range(len(counts))]
                bounds = [*map(str, map(float, one.bounds)), "+Inf"]
                histogram.add_metric((), list(zip(bounds, sums, strict=True)), value)
            yield histogram

    def _bounded(self, metric: str, label: str, value: str) -> str:
        """Return the value of a label, or OTHER if the label has had enough of them."""
        had = self._had.setdefault((metric, label), set())
        if value not in had and len(had) >= MOST_VALUES:
            return OTHER
        had.add(value)
        return value
