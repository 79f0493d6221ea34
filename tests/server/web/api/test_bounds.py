"""Each request reads a bounded number of rows by a plan without a scan, however many sessions there are."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from dpe_server.store.contract import Store
from dpe_server.web.api import health
from tests.server.web.api.held import IMEIS, Held, report
from tests.server.web.bounds import FEW, MANY, MOST, check_plans, fill, watched

REASON = {"reason": "a reason"}
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "sessions": ("GET", "/sessions?limit=200", None),
    "sessions of a rare rule": ("GET", "/sessions?rule=rare&firmware=x&silent_for=1&properties=true", None),
    "further sessions": ("GET", "/sessions?rule=rare&cursor=00000000000900", None),
    "session": ("GET", "/sessions/{}", None),
    "end": ("DELETE", "/sessions/{}", None),
    "device": ("GET", "/devices/{}", None),
    "find": ("POST", "/devices/find", REASON | {"imei": IMEIS[0]}),
    "imei": ("POST", "/devices/{}/imei", REASON),
    "override": ("PUT", "/devices/{}/override", {"report": {}}),
    "clear": ("DELETE", "/devices/{}/override", None),
    "revoke": ("POST", "/revoke", {"imei": IMEIS[0]}),
    "lift": ("POST", "/lift", {"imei": IMEIS[0]}),
    "policy": ("GET", "/policy", None),
    "explain": ("GET", "/policy/explain?version=1.0&model=49015420", None),
    "audit log": ("GET", "/audit?event=nothing", None),
    "all that there is": ("GET", "/changes", None),
    "more of it": ("GET", "/changes?since={history}-1-00000000000900", None),
    "changes": ("GET", "/changes?since={history}-0", None),
    "health": ("GET", "/health", None),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_reads_few_rows_and_scans_nothing(
    held: Held, store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(health, "HOLDS", 0.0)
    for number in range(2, 300):  # that there be changes, too
        report(store, held.sessions[1], number, battery=number)
    method, path, body = REQUESTS[name]
    path = path.replace("{history}", store.standing().history.hex()).replace("{}", held.name(0))
    works = []
    for count in (FEW, MANY):
        fill(held.opened, count)
        with closing(sqlite3.connect(held.opened.store_path)) as database:
            # As in every store that is served: with statistics, SQLite may read all to make a Bloom filter.
            database.execute("DELETE FROM sqlite_stat1")
            database.commit()
        held.site.stores.close()  # what was opened before is not watched
        with watched(monkeypatch) as watch:
            answer = held.client.request(
                method, f"/api/v1{path}", json=body, headers={"Authorization": f"Bearer {held.operator}"}
            )
        assert answer.status_code in (200, 404), "a session is ended only once"
        works.append(watch.work)
        assert watch.rows <= MOST
        check_plans(held.opened, watch)
    assert works[1] <= 1.1 * works[0] + 200
