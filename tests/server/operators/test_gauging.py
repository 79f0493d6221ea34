"""What two readings of the metrics say of the time between them."""

from collections.abc import Mapping

import pytest

from dpe_server.operators.gauging import QUANTILES, Gauge, figures
from dpe_server.operators.scraping import Labels, Reading

Values = Mapping[str, Mapping[Labels, float]]

START: Values = {"dpe_start_time_seconds": {(): 1000.0}}


def reading(at: float, values: Values = START, **changed: float) -> Reading:
    return Reading(at, {**START, **values, **{name: {(): value} for name, value in changed.items()}})


def buckets(*cumulative: float) -> Values:
    bounds = ("0.001", "0.01", "0.1", "+Inf")
    return {"dpe_commit_seconds_bucket": {(bound,): count for bound, count in zip(bounds, cumulative, strict=True)}}


def test_rates_by_their_labels() -> None:
    before: Values = {
        "dpe_changes_total": {("registration", "committed"): 10, ("report", "committed"): 100},
        "dpe_responses_total": {("a", "ok"): 5, ("b", "ok"): 1, ("b", "refused"): 2},
    }
    after: Values = {
        "dpe_changes_total": {
            ("registration", "committed"): 30, ("registration", "replaced"): 4, ("report", "committed"): 200,
            ("report", "not-accepted"): 2, ("deregistration", "committed"): 8,
        },
        "dpe_responses_total": {("a", "ok"): 9, ("b", "ok"): 3, ("b", "refused"): 4},
        "dpe_refusals_total": {("malformed", "x"): 1, ("malformed", "y"): 2, ("unauthenticated", "z"): 5},
        "dpe_requests_resent_total": {("session",): 6},
        "dpe_store_sessions": {("live",): 77, ("ended",): 3},
    }  # fmt: skip
    found = figures(reading(10.0, before), reading(12.0, after, dpe_transactions=5, dpe_requests_waiting=7))
    assert found.seconds == 2
    assert found.registrations == {"committed": 10, "replaced": 2}
    assert found.responses == {"ok": 3, "refused": 1}
    assert found.reports == {"committed": 50, "not-accepted": 1}
    assert found.refusals == {"malformed": 1.5, "unauthenticated": 2.5}
    assert found.resent == {"session": 3}
    assert (found.sessions, found.transactions, found.waiting, found.started) == (77, 5, 7, 1000.0)


def test_numbers_and_shares() -> None:
    before = reading(0.0, dpe_batch_requests_sum=100, dpe_batch_requests_count=50, dpe_session_keys_hits_total=8)
    after = reading(
        4.0, dpe_batch_requests_sum=140, dpe_batch_requests_count=60, dpe_session_keys_hits_total=38,
        dpe_session_keys_derived_total=10, dpe_requests_turned_away_total=12, dpe_commit_seconds_count=20,
        dpe_commit_failures_total=4, dpe_audit_suppressed_total=2, dpe_processes=3,
    )  # fmt: skip
    found = figures(before, after)
    assert (found.requests, found.batch, found.hits) == (10, 4, 0.75)
    assert (found.turned_away, found.commits, found.failed_commits, found.suppressed) == (3, 5, 1, 0.5)
    assert found.processes == 3


def test_where_nothing_happens_nothing_is_made_up() -> None:
    found = figures(reading(0.0), reading(1.0))
    assert (found.batch, found.hits, found.sessions, found.commit_seconds) == (None, None, None, {})
    assert (found.requests, found.registrations, found.waiting) == (0, {}, 0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0, 0, 0, 0), (100, 100, 100, 100), (0.0005, 0.00095, 0.00099)),
        ((9, 9, 9, 9), (9, 109, 109, 109), (0.0055, 0.00955, 0.00991)),
        ((0, 0, 0, 0), (50, 90, 100, 100), (0.001, 0.055, 0.091)),
        ((0, 0, 0, 0), (0, 0, 10, 100), (0.1, 0.1, 0.1)),  # above the last bound: at least that
    ],
)
def test_quantiles_are_those_of_prometheus(
    before: tuple[float, ...], after: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    found = figures(reading(0.0, buckets(*before)), reading(1.0, buckets(*after)))
    assert [found.commit_seconds[quantile] for quantile in QUANTILES] == pytest.approx(expected)


def test_a_server_that_has_started_anew_has_counted_from_zero() -> None:
    before = reading(0.0, dpe_commit_seconds_count=5)
    after = Reading(2.0, {"dpe_start_time_seconds": {(): 2000.0}, "dpe_commit_seconds_count": {(): 8.0}})
    assert figures(before, after).commits == 4
    assert figures(before, reading(2.0, dpe_commit_seconds_count=8)).commits == 1.5
    assert figures(before, reading(2.0, dpe_commit_seconds_count=4)).commits == 2


def test_a_gauge_looks_back_some_seconds() -> None:
    readings = iter([(0.0, 0), (2.0, 4), (4.0, 4), (6.0, 4), (20.0, 18)])

    def read() -> Reading:
        at, commits = next(readings)
        return reading(at, dpe_commit_seconds_count=commits)

    gauge = Gauge(read, over=4.0)
    assert gauge.look() is None
    rates = []
    for _ in range(4):
        found = gauge.look()
        assert found is not None
        rates.append((found.seconds, found.commits))
    assert rates == [(2, 2), (4, 1), (4, 0), (14, 1)]
