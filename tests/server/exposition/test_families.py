"""What Prometheus is told."""

import re
from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from dpe_server.exposition.families import DISTRIBUTIONS, METRICS, MOST_VALUES, Families, Found
from dpe_server.operation.snapshots import Sum

NOTHING = Found({}, [])


class Said(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def told(total: Sum, found: Found = NOTHING, families: Families | None = None) -> dict[str, float]:
    """By name and labels, each number as it is read."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Said(list((families or Families()).all(total, found))))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_names_are_told_once_and_are_as_prometheus_wants_them() -> None:
    names = [one.name for one in (*METRICS, *DISTRIBUTIONS)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("dpe(_[a-z]+)+", name) and not name.endswith("_total") for name in names)


def test_a_server_that_has_done_nothing() -> None:
    shown = told(Sum())
    assert shown.pop("dpe_processes") == 0
    assert all(value == 0 for name, value in shown.items() if not name.startswith("dpe_build_info"))
    assert "dpe_declines_total" in shown
    assert not any(name.startswith(("dpe_store_sessions", "dpe_start_time")) for name in shown)


def test_events_are_counted_by_their_labels() -> None:
    events: Counter[tuple[str, ...]] = Counter({
        ("response", "ok", "a"): 3, ("response", "refused", 'say "b"'): 1, ("established", "a"): 2, ("declined",): 4,
        ("unauthenticated", "unknown handle"): 5, ("malformed", "not-cbor"): 6, ("limited", "fresh"): 7,
        ("store-failed",): 8, ("unheard of",): 9, ("session-ended", "expired"): 10, ("first-contact",): 11,
    })  # fmt: skip
    shown = told(Sum(events=events))
    for name, value in {
        'dpe_responses_total{rule="a",status="ok"}': 3, r'dpe_responses_total{rule="say \"b\"",status="refused"}': 1,
        'dpe_registrations_total{rule="a"}': 2, "dpe_declines_total": 4,
        'dpe_refusals_total{kind="unauthenticated",reason="unknown handle"}': 5,
        'dpe_refusals_total{kind="malformed",reason="not-cbor"}': 6,
        'dpe_refusals_total{kind="limited",reason="fresh"}': 7, "dpe_store_failures_total": 8,
        'dpe_sessions_ended_total{why="expired"}': 10, "dpe_first_contacts_total": 11,
    }.items():  # fmt: skip
        assert shown[name] == value
    assert not any("unheard" in name for name in shown)


def test_numbers_that_processes_count() -> None:
    numbers = Counter(
        lane=2, endpoint=3, resent_registration=5, resent_session=7, resent_endpoint=11, hits=13, derived=17,
        suppressed=19, turned_away=23, failed_commits=29, waiting=31, transactions=37, session_keys=41,
    )  # fmt: skip
    shown = told(Sum(numbers=numbers))
    for name, value in {
        'dpe_exchanges_total{by="lane"}': 2, 'dpe_exchanges_total{by="endpoint"}': 3,
        'dpe_requests_resent_total{by="registration"}': 5, 'dpe_requests_resent_total{by="session"}': 7,
        'dpe_requests_resent_total{by="endpoint"}': 11, "dpe_session_keys_hits_total": 13,
        "dpe_session_keys_derived_total": 17, "dpe_audit_suppressed_total": 19, "dpe_requests_turned_away_total": 23,
        "dpe_commit_failures_total": 29, "dpe_requests_waiting": 31, "dpe_transactions": 37,
        "dpe_session_keys_cached": 41,
    }.items():  # fmt: skip
        assert shown[name] == value


def test_a_histogram_is_cumulative() -> None:
    shown = told(Sum(batches=([1, 2, 0, 0, 0, 0, 0, 0, 0, 4], 2000.0)))
    of_batches = {name: value for name, value in shown.items() if name.startswith("dpe_batch_requests")}
    assert of_batches['dpe_batch_requests_bucket{le="1.0"}'] == 1
    assert of_batches['dpe_batch_requests_bucket{le="256.0"}'] == 3
    assert of_batches['dpe_batch_requests_bucket{le="+Inf"}'] == of_batches["dpe_batch_requests_count"] == 7
    assert of_batches["dpe_batch_requests_sum"] == 2000


def test_a_label_has_a_hundred_values_and_then_others() -> None:
    families = Families()
    some: Counter[tuple[str, ...]] = Counter(
        {("established", f"rule {number}"): 1 for number in range(MOST_VALUES - 1)}
    )
    more: Counter[tuple[str, ...]] = some + Counter({("established", f"new {number}"): 2 for number in range(3)})
    assert len([name for name in told(Sum(events=some), families=families) if "registrations" in name]) == 99
    shown = told(Sum(events=more), families=families)
    assert shown['dpe_registrations_total{rule="new 0"}'] == 2
    assert shown['dpe_registrations_total{rule="other"}'] == 4
    assert len([name for name in shown if "registrations" in name]) == MOST_VALUES + 1


def test_what_is_found_elsewhere() -> None:
    shown = told(Sum(), Found({"master": 2}, ["ab"], live=5, ended=1, revoked=3, size=4096))
    assert shown['dpe_key_generation{key="master"}'] == 2
    assert shown['dpe_policy_info{fingerprint="ab"}'] == 1
    assert shown['dpe_store_sessions{state="live"}'] == 5
    assert shown['dpe_store_sessions{state="ended"}'] == 1
    assert (shown["dpe_store_revoked_devices"], shown["dpe_store_bytes"]) == (3, 4096)
