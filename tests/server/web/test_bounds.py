"""Each query of the page reads a bounded number of rows by a plan without a scan, however many sessions there are."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import searching
from dpe_server.store.contract import Session
from dpe_server.web.site import Site
from tests.server.web.bounds import FEW, MANY, MOST, check_plans, fill, watched

DEVICE = "0" * 32
PAGES = {
    "overview": "/",
    "health": "/health",
    "sessions": "/sessions",
    "sessions of a Client ID": "/sessions?id=00000000000001",
    "sessions of a rare rule": "/sessions?rule=rare&version=1.0&firmware=x&silent=1s",
    "further sessions": "/sessions?rule=rare&after=00000000000900",
    "device": "/devices/00000000000001",
    "device by its hash": f"/devices/{DEVICE}",
    "to end": "/devices/00000000000001/end",
    "policy": "/policy?version=1.0",
    "audit log": "/audit?event=nothing",
}
ACTS = ("end", "revoke", "lift", "override", "clear", "imei")


def ask(client: TestClient, site: Site, path: str) -> None:
    site.stores.close()  # what was opened before is not watched
    site.findings._at = float("-inf")
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_few_rows_and_scans_nothing(
    client: TestClient,
    site: Site,
    put: Callable[..., Session],
    opened: StateDir,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    put(1)
    works = []
    for count in (FEW, MANY):
        fill(opened, count)
        with watched(monkeypatch) as watch:
            ask(client, site, PAGES[name])
        works.append(watch.work)
        assert watch.rows <= MOST
        check_plans(opened, watch)
    if name not in ("sessions of a rare rule", "further sessions"):  # which look at ROUNDS times 200 sessions
        assert works[1] <= 1.1 * works[0] + 100
    assert works[1] < 400 * searching.AT_ONCE * searching.ROUNDS


@pytest.mark.parametrize("act", ACTS)
def test_an_act_reads_few_rows_and_scans_nothing(
    post: Callable[..., Any],
    site: Site,
    put: Callable[..., Session],
    opened: StateDir,
    monkeypatch: pytest.MonkeyPatch,
    act: str,
) -> None:
    put(1)
    fill(opened, FEW)
    site.stores.close()
    with watched(monkeypatch) as watch:
        answer = post(f"/devices/00000000000001/{act}", reason="a reason", report="[report]\n")
    assert answer.status_code in (200, 303)
    assert watch.rows <= MOST
    check_plans(opened, watch)


def test_the_check_sees_a_scan_and_many_rows(opened: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(opened, 500)
    with watched(monkeypatch) as watch, closing(opened.open_store()) as store:
        assert len(list(store.live(0))) == 500
        store.stats(0)
    assert watch.rows == 500
    assert watch.work > 500
    with pytest.raises(AssertionError, match="SCAN session"):
        check_plans(opened, watch)


def test_the_audit_log_is_not_read_as_a_whole(
    client: TestClient, opened: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is not there is looked for in 4 MiB at most."""
    monkeypatch.setattr("dpe_server.operators.audit_log.MOST_BLOCKS", 3)
    read = 0
    pread = os.pread

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal read
        found = pread(descriptor, size, offset)
        read += len(found)
        return found

    monkeypatch.setattr("dpe_server.operators.audit_log.os.pread", counted)
    line = '{"time":"2026-01-01T00:00:00.000+00:00","event":"response","rule":"everyone"}\n'
    with opened.audit_path.open("a") as file:
        file.write(line * (10 * (1 << 16) // len(line)))
    assert "Search on" in client.get("/audit?event=nothing").text
    assert 0 < read <= 3 << 16
    assert Path(opened.audit_path).stat().st_size > 9 << 16
