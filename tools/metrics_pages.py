"""What is made from the list of metrics: docs/reference/metrics.md and the dashboard for Grafana.

Used by tools/generate.py.
"""

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from prometheus_client.core import CounterMetricFamily

from dpe_server.exposition.families import DISTRIBUTIONS, METRICS

PAGE = """\
# Metrics

What `dpe serve --metrics` serves; see [Monitor a server](../how-to/monitor.md). Made from the code by
`tools/generate.py`; a test fails when this page and the code differ. No label names a device. A label has at most 100
values while a server runs: what comes later is counted as `other`.

| metric | type | labels | |
|---|---|---|---|
{rows}
"""

PANELS: Sequence[tuple[str, Sequence[tuple[str, str, str, Sequence[tuple[str, str]]]]]] = (
    ("Registration", (
        ("Registrations", "per second, by rule", "ops",
         [("sum by (rule) (rate(dpe_registrations_total[$__rate_interval]))", "{{rule}}")]),
        ("Responses", "per second, by status", "ops",
         [("sum by (status) (rate(dpe_responses_total[$__rate_interval]))", "{{status}}")]),
        ("Refusals", "per second, by reason", "ops",
         [("sum by (kind, reason) (rate(dpe_refusals_total[$__rate_interval]))", "{{kind}} {{reason}}")]),
        ("Under way", "transactions", "short", [("sum(dpe_transactions)", "transactions")]),
    )),
    ("Sessions", (
        ("Changes", "per second, by outcome", "ops",
         [("sum by (change, outcome) (rate(dpe_changes_total[$__rate_interval]))", "{{change}} {{outcome}}")]),
        ("Sessions", "in the store", "short", [("sum by (state) (dpe_store_sessions)", "{{state}}")]),
        ("Ended", "per second, by why", "ops",
         [("sum by (why) (rate(dpe_sessions_ended_total[$__rate_interval]))", "{{why}}")]),
        ("Used for the first time", "sessions per second", "ops",
         [("sum(rate(dpe_first_contacts_total[$__rate_interval]))", "sessions")]),
    )),
    ("The server", (
        ("Requests", "per second, by what takes them", "ops",
         [("sum by (by) (rate(dpe_exchanges_total[$__rate_interval]))", "{{by}}")]),
        ("Sent again", "requests per second, by what knows them again", "ops",
         [("sum by (by) (rate(dpe_requests_resent_total[$__rate_interval]))", "{{by}}")]),
        ("Commits", "seconds, p50 and p99", "s",
         [("histogram_quantile(0.5, sum by (le) (rate(dpe_commit_seconds_bucket[$__rate_interval])))", "p50"),
          ("histogram_quantile(0.99, sum by (le) (rate(dpe_commit_seconds_bucket[$__rate_interval])))", "p99")]),
        ("Requests in a batch", "mean", "short",
         [("sum(rate(dpe_batch_requests_sum[$__rate_interval]))"
           " / sum(rate(dpe_batch_requests_count[$__rate_interval]))",
           "requests")]),
        ("Waiting and turned away", "requests, and requests per second", "short",
         [("sum(dpe_requests_waiting)", "waiting"),
          ("sum(rate(dpe_requests_turned_away_total[$__rate_interval]))", "turned away")]),
        ("Faults", "per second", "ops",
         [("sum(rate(dpe_commit_failures_total[$__rate_interval]))", "commits that failed"),
          ("sum(rate(dpe_store_failures_total[$__rate_interval]))", "batches without an answer of the store"),
          ("sum(rate(dpe_audit_suppressed_total[$__rate_interval]))", "audit records without a line")]),
        ("Keys of sessions", "in memory; found there and derived, per second", "short",
         [("sum(dpe_session_keys_cached)", "in memory"),
          ("sum(rate(dpe_session_keys_hits_total[$__rate_interval]))", "found there"),
          ("sum(rate(dpe_session_keys_derived_total[$__rate_interval]))", "derived")]),
        ("Store", "bytes", "bytes", [("sum(dpe_store_bytes)", "size")]),
    )),
)  # fmt: skip
"""Rows of the dashboard: title, description and unit of each panel, and its expressions with their names."""


def page() -> str:
    """Return the text of metrics.md."""
    rows = []
    for one in METRICS:
        is_counter = one.kind is CounterMetricFamily
        name = f"{one.name}_total" if is_counter else one.name
        rows.append((name, "counter" if is_counter else "gauge", ", ".join(map("`{}`".format, one.labels)), one.help))
    rows += [(one.name, "histogram", "", one.help) for one in DISTRIBUTIONS]
    return PAGE.format(
        rows="\n".join(f"| `{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in rows)
    )


def dashboard() -> str:
    """Return the dashboard as JSON."""
    made = Dashboard("DPE Server").uid("dpe-server").tags(["dpe"]).refresh("10s").time("now-1h", "now")
    for title, panels in PANELS:
        made.with_row(Row(title))
        for name, description, unit, expressions in panels:
            panel: Any = timeseries.Panel().title(name).description(description).unit(unit).min(0)
            for letter, (expression, legend) in zip("ABC", expressions, strict=False):
                panel.with_target(prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter))
            made.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"
