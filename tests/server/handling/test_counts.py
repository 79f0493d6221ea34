"""The numbers of a server process."""

import pytest

from dpe_server.handling.counts import Counts, Histogram
from dpe_server.handling.records import AuditRecord
from dpe_server.store.contract import Deregister, Outcome


@pytest.mark.parametrize(("value", "place"), [(0, 0), (1, 0), (1.5, 1), (2, 1), (3, 2)])
def test_a_value_is_counted_at_the_first_bound_that_is_not_below_it(value: float, place: int) -> None:
    histogram = Histogram((1, 2))
    histogram.add(value)
    histogram.add(value)
    assert histogram.counts == [2 * (number == place) for number in range(3)]
    assert histogram.total == 2 * value


def test_a_batch_is_counted_by_outcome_and_by_what_has_few_values() -> None:
    counts = Counts()
    change = Deregister(1, 1, 1)
    records = [
        AuditRecord("response", {"device": "secret", "status": "ok", "rule": "a"}),
        AuditRecord("response", {"device": "other", "status": "ok", "rule": "a"}),
        AuditRecord("declined", {"client_id": "1"}),
        AuditRecord("unauthenticated", {"reason": "bad handle"}),
    ]
    counts.completed([change, change], [Outcome.SESSION_ENDED, Outcome.NOT_ACCEPTED], records)
    counts.completed([change], None, [])
    assert counts.outcomes == {(Deregister, Outcome.SESSION_ENDED): 1, (Deregister, Outcome.NOT_ACCEPTED): 1}
    assert counts.events == {("response", "ok", "a"): 2, ("declined",): 1, ("unauthenticated", "bad handle"): 1}
