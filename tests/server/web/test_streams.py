"""What comes by itself: figures from the metrics or the audit log, lines of the log, and that all of it ends."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.gauging import Gauge
from dpe_server.operators.scraping import NoMetricsError, Reading
from dpe_server.store.contract import Session
from dpe_server.web import sampling, streams
from dpe_server.web.app import build
from dpe_server.web.faults import Fault
from dpe_server.web.pages import audit, device, overview
from dpe_server.web.sampling import Sampler
from dpe_server.web.site import Site

HOST = b"127.0.0.1:8064"


def request_of(site: Site, path: str, *, cookie: str | None = None, query: str = "", **names: str) -> Request:
    """Return a request of somebody who has come in."""
    if cookie is None:
        entered = site.door.enter(site.door.new_link())
        assert entered is not None
        cookie = entered[0]
    headers = [(b"host", HOST), (b"cookie", f"dpe-8064={cookie}".encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": headers,
        "path_params": names,
        "scheme": "http",
        "server": ("127.0.0.1", 8064),
        "app": build(site),
    }
    return Request(scope)


async def first(events: AsyncIterator[Any], count: int) -> list[Any]:
    """Return the data of so many events."""
    found: list[Any] = []
    async for one in events:
        if "data: " in one:
            found.append(json.loads(one.partition("data: ")[2]))
        if len(found) == count:
            break
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "EVERY", 0.02)
    monkeypatch.setattr(device, "EVERY", 0.02)
    pause = streams.pause
    monkeypatch.setattr(audit, "pause", lambda site, _: pause(site, 0.02))


def reading(at: float, **values: float) -> Reading:
    made = {
        "dpe_start_time_seconds": {(): 1.0},
        "dpe_changes_total": {("registration", "committed"): values.get("made", 0.0)},
        "dpe_refusals_total": {("malformed", "cbor"): values.get("malformed", 0.0)},
        "dpe_responses_total": {("rule", "ok"): values.get("ok", 0.0), ("rule", "refused"): values.get("refused", 0.0)},
        "dpe_requests_waiting": {(): 3.0},
    }
    return Reading(at, made)  # type: ignore[arg-type]


def test_points_are_made_of_the_metrics(opened: StateDir) -> None:
    sampler = Sampler(opened.path, opened.audit_path, "http://127.0.0.1:1/metrics")
    readings = iter([reading(0.0), reading(2.0, made=10, malformed=4, ok=10, refused=2)])
    sampler._gauge = Gauge(lambda: next(readings))
    assert sampler.look() is None
    point = sampler.look()
    assert point is not None
    assert (point.made, point.refused, point.waiting, point.sessions) == (5.0, 3.0, 3, None)
    assert sampler.why == ""


def test_without_metrics_they_are_made_of_the_audit_log_and_it_says_why(
    opened: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("dpe_server.web.sampling.time.monotonic", lambda: now)
    sampler = Sampler(opened.path, opened.audit_path, None)
    assert sampler.look() is None
    assert "no server runs" in sampler.why
    assert "dpe serve" in sampler.hint
    with opened.audit_path.open("a") as file:
        for event in ("established", "established", "malformed", "first-contact"):
            file.write(f'{{"time":"x","event":"{event}"}}\n')
        file.write(
            '{"time":"x","event":"response","status":"refused"}\n{"time":"x","event":"response","status":"ok"}\n'
        )
    now = 102.0
    point = sampler.look()
    assert point is not None
    assert (point.made, point.refused) == (1.0, 1.0)
    assert point.p50 is point.waiting is point.sessions is None
    now = 104.0
    point = sampler.look()
    assert point is not None
    assert point.made == 0.5  # over four seconds
    now = 110.0
    point = sampler.look()
    assert point is not None
    assert point.made == 0.0


def test_metrics_that_are_gone_are_looked_for_again(opened: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(opened.path, opened.audit_path, "http://127.0.0.1:1/metrics")

    def gone() -> Reading:
        raise NoMetricsError("nobody answers", hint="look at the server")

    sampler._gauge = Gauge(gone)
    sampler.look()
    assert (sampler.why, sampler.hint) == ("nobody answers", "look at the server")
    monkeypatch.setattr(sampling, "read", lambda _: reading(1.0))
    sampler.look()
    assert sampler.why == ""


def test_the_overview_streams_points_and_looks_only_while_somebody_watches(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "WATCHED", 0.05)

    async def act() -> None:
        site = make_site()
        answer = await overview.stream(request_of(site, "/overview/stream"))
        events = answer.body_iterator  # type: ignore[attr-defined]
        points: list[dict[str, Any]] = []
        while len(points) < 3:
            (told,) = await first(events, 1)
            points += told["points"]
        assert "no server runs" in told["why"]
        assert [point["at"] for point in points] == sorted(point["at"] for point in points)
        task = site.sampler._task
        assert task is not None
        await asyncio.wait_for(task, 20)

    asyncio.run(act())


def test_the_audit_log_streams_lines_from_where_the_page_ends(make_site: Callable[..., Site], opened: StateDir) -> None:
    opened.audit_path.write_text('{"time":"2026-01-01T00:00:00","event":"before"}\n')
    opened.audit_path.chmod(0o600)
    place = f"{opened.audit_path.stat().st_ino}-{opened.audit_path.stat().st_size}"
    number = 2**60 + 1

    async def act() -> None:
        site = make_site()
        answer = await audit.stream(request_of(site, "/audit/stream", query=f"since={place}&event=after"))
        with opened.audit_path.open("a") as file:
            file.write(f'{{"time":"2026-01-01T00:00:01","event":"after","registration":{number},"rule":"<b>"}}\n')
            file.write('{"time":"2026-01-01T00:00:02","event":"other"}\n')
        (lines,) = await first(answer.body_iterator, 1)  # type: ignore[attr-defined]
        assert [(line["event"], line["registration"], line["rest"]) for line in lines] == [
            ("after", str(number), "rule <b>")
        ]
        with pytest.raises(Fault):
            await audit.stream(request_of(site, "/audit/stream", query="since=x"))

    asyncio.run(act())


def test_a_device_streams_what_changes_until_its_session_ends(
    make_site: Callable[..., Site], put: Callable[..., Session], opened: StateDir
) -> None:
    made = put(1)

    async def act() -> None:
        site = make_site()
        answer = await device.stream(request_of(site, "/devices/00000000000001/stream", name=f"{1:014x}"))
        events = answer.body_iterator  # type: ignore[attr-defined]
        (now,) = await first(events, 1)
        assert [(one["name"], one["value"]) for one in now["properties"]] == [("battery", "86 %"), ("roaming", "true")]
        put(1, imei=f"{35 * 10**12 + 1}", record=b"", ordinal=made.ordinal + 1)
        (now,) = await first(await _again(device, site), 1)
        assert now == {"session": True, "seen": "", "properties": []}

    async def _again(page: Any, site: Site) -> Any:
        answer = await page.stream(request_of(site, "/devices/00000000000001/stream", name=f"{1:014x}"))
        return answer.body_iterator

    asyncio.run(act())


@pytest.mark.parametrize("how", ["leaves", "ends"])
def test_a_stream_ends_when_its_visitor_leaves_and_when_the_process_ends(
    make_site: Callable[..., Site], how: str
) -> None:
    async def act() -> None:
        site = make_site()
        entered = site.door.enter(site.door.new_link())
        assert entered is not None
        request = request_of(site, "/overview/stream", cookie=entered[0])
        events = (await overview.stream(request)).body_iterator  # type: ignore[attr-defined]
        await first(events, 1)
        assert len(site.streams) == 1
        if how == "leaves":
            site.door.leave(entered[0])
        else:
            site.ending.set()
        async with asyncio.timeout(20):
            assert [one async for one in events if "data" in one] == []
        assert site.streams == set()

    asyncio.run(act())


def test_there_are_not_too_many_streams(make_site: Callable[..., Site]) -> None:
    async def act() -> None:
        site = make_site()
        site.streams.update(range(streams.MOST))
        with pytest.raises(Fault) as fault:
            await overview.stream(request_of(site, "/overview/stream"))
        assert fault.value.status_code == 503

    asyncio.run(act())


def test_an_event_is_one_and_no_more_whatever_is_in_it() -> None:
    text = streams.event({"a": "x\n\ndata: y"}, name="n", number="7")
    assert text == 'event: n\nid: 7\ndata: {"a":"x\\n\\ndata: y"}\n\n'


def test_points_say_when_they_were(opened: StateDir, tmp_path: Path) -> None:
    sampler = Sampler(opened.path, tmp_path / "none", None)
    before = time.time()
    sampler.look()
    point = sampler.look()
    assert point is not None
    assert before <= point.at <= time.time()
    assert sampling.in_json(point)["at"] == point.at
