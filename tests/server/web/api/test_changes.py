"""What changes, as JSON in parts and as a stream: from any cursor, with the errors that a consumer must know."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.types import Message, Scope

from dpe_server.operation.access import Role
from dpe_server.store.contract import End, Store
from dpe_server.web.api import changes, places, stream
from dpe_server.web.api.places import Place
from dpe_tools.cli import main
from tests.server.web.api.held import Held, report

LATE = 2**40


def told(part: Any) -> list[dict[str, Any]]:
    return list(part["changes"])


def values(one: dict[str, Any]) -> dict[str, Any]:
    return {name: entry["value"] for name, entry in one["properties"].items()}


def test_all_that_there_is_and_then_what_changes(held: Held, store: Store) -> None:
    part = held.get("/changes", access=held.reader)
    history = store.standing().history.hex()
    begin, *devices, end = told(part)
    assert begin == {"snapshot": "begin"}
    assert [(one["client_id"], values(one)) for one in devices] == [
        (held.name(0), {"battery": 86, "firmware": "4.2"}),
        (held.name(1), {"battery": 20}),
    ]
    assert [one["cursor"] for one in devices] == [f"{history}-2-{held.name(number)}" for number in (0, 1)]
    assert end == {"snapshot": "end", "cursor": f"{history}-2"}
    assert (part["cursor"], part["more"]) == (f"{history}-2", False)
    assert held.get(f"/changes?since={part['cursor']}") == {"changes": [], "cursor": f"{history}-2", "more": False}
    report(store, held.sessions[2], 1, battery=5)
    store.commit([End(held.sessions[1].device, 1)])
    part = held.get(f"/changes?since={part['cursor']}")
    changed, ended = told(part)
    assert (changed["client_id"], values(changed), changed["cursor"]) == (held.name(2), {"battery": 5}, f"{history}-3")
    assert (ended["client_id"], ended["ended"], ended["cursor"]) == (held.name(1), True, f"{history}-4")
    assert part["cursor"] == f"{history}-4"


def test_the_lines_are_those_of_the_command(held: Held, store: Store) -> None:
    report(store, held.sessions[0], 2, battery=1)
    start = f"{store.standing().history.hex()}-0"
    result = CliRunner().invoke(main, ["properties", str(held.opened.path), "--json", "--since", start])
    assert told(held.get(f"/changes?since={start}")) == [json.loads(line) for line in result.stdout.splitlines()]


def test_all_that_there_is_comes_in_parts_and_misses_nothing_that_happens_between_them(
    held: Held, store: Store
) -> None:
    first = held.get("/changes?limit=1")
    assert first["more"] is True
    assert first["cursor"].endswith(held.name(0))
    report(store, held.sessions[0], 2, battery=85)
    store.commit([End(held.sessions[1].device, 1)])
    second = held.get(f"/changes?limit=2&since={first['cursor']}")
    history = store.standing().history.hex()
    assert told(second) == [{"snapshot": "end", "cursor": f"{history}-2"}], "one has ended, one has not reported"
    third = held.get(f"/changes?since={second['cursor']}")
    kept = apply(apply(apply({}, first), second), third)
    assert {name: values(one) for name, one in kept.items()} == {held.name(0): {"battery": 85, "firmware": "4.2"}}


def apply(kept: dict[str, Any], part: Any) -> dict[str, Any]:
    for one in told(part):
        if one.get("snapshot") == "begin":
            kept = {}
        if "client_id" in one:
            kept.pop(one["client_id"], None)
            if one.get("properties"):
                kept[one["client_id"]] = one
    return kept


def test_many_changes_come_in_parts_that_end_with_a_commit(held: Held, store: Store) -> None:
    start = f"{store.standing().history.hex()}-2"
    for number in range(2, 30):
        report(store, held.sessions[0], number, battery=number)
    store.commit([End(one.device, 1) for one in held.sessions])
    cursor, parts = start, []
    while True:
        part = held.get(f"/changes?limit=1&since={cursor}")
        parts.append(part)
        cursor = part["cursor"]
        if not part["more"]:
            break
    assert cursor.endswith(f"-{store.standing().newest}")
    last = [part for part in parts if any("ended" in one for one in told(part))][-1]
    assert [one["client_id"] for one in told(last)] == [held.name(number) for number in range(3)], "a commit is whole"
    assert held.get(f"/changes?since={cursor}&limit=1")["more"] is False


def test_the_header_counts_before_the_query(held: Held, store: Store) -> None:
    history = store.standing().history.hex()
    headers = {"Last-Event-ID": f"{history}-2"}
    assert told(held.get(f"/changes?since={history}-0", headers=headers)) == []


@pytest.mark.parametrize("cursor", ["", "1", "0123456789abcdef", "0123456789abcdef-01", "0123456789ABCDEF-1", "x-1"])
def test_what_is_no_cursor_is_refused(held: Held, cursor: str) -> None:
    held.get(f"/changes?since={cursor}", status=422)
    if cursor:
        held.get("/changes", headers={"Last-Event-ID": cursor}, status=422)


def test_cursors_that_say_nothing_any_more(held: Held, store: Store) -> None:
    history = store.standing().history.hex()

    def refused(cursor: str) -> str:
        texts = set()
        for accept in ("application/json", "text/event-stream"):
            answer = held.get(f"/changes?since={cursor}", headers={"Accept": accept}, status=410)
            assert answer["hint"] == "begin anew, without a cursor: what there is is told as a whole"
            texts.add(answer["detail"])
        (text,) = texts
        return str(text)

    assert refused("0123456789abcdef-1").startswith("the cursor is of another store, or of the time before this one")
    assert refused(f"0123456789abcdef-1-{held.name(0)}").startswith("the cursor is of another store")
    assert refused(f"{history}-3").endswith("does not have: was it put back?")
    store.drop_changes(0, LATE)
    assert refused(f"{history}-0") == "the cursor is too old: changes are kept for 7 days"
    assert refused(f"{history}-0-{held.name(0)}") == "the cursor is too old: changes are kept for 7 days"


def test_a_place_is_read_as_it_was_written() -> None:
    for text in ("0123456789abcdef-0", "0123456789abcdef-42-00000000000000"):
        assert str(Place.parse(text)) == text
    for wrong in ("0123456789abcdef-42-0", "0123456789abcdef-01-00000000000000", "-1", ""):
        with pytest.raises(ValueError, match="not a cursor"):
            Place.parse(wrong)


# The stream, without a socket: a test says when the client takes what is sent, and when it leaves.


class Client:
    """A client of a stream."""

    def __init__(self, held: Held, access: str, query: str, **headers: str) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.blocked = asyncio.Event()
        self.gone = asyncio.Event()
        self.scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/api/v1/changes",
            "raw_path": b"/api/v1/changes",
            "root_path": "",
            "query_string": query.encode(),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"accept", b"text/event-stream"),
                (b"authorization", f"Bearer {access}".encode()),
                *((name.encode(), value.encode()) for name, value in headers.items()),
            ],
        }
        self.task: asyncio.Task[None] = asyncio.create_task(held.client.app(self.scope, self._receive, self._send))  # type: ignore[arg-type]
        self._events: list[dict[str, Any]] = []
        self._text = ""

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self.reads.is_set():
            self.blocked.set()
        await self.reads.wait()
        await self.sent.put(message)

    async def start(self) -> Message:
        """Return how the answer begins."""
        return await asyncio.wait_for(self.sent.get(), 20)

    async def event(self) -> dict[str, Any]:
        """Return the next event, with its id and its kind; {} at the end."""
        while not self._events:
            message = await asyncio.wait_for(self.sent.get(), 20)
            self._text += message["body"].decode()
            *blocks, self._text = self._text.split("\n\n")
            for block in blocks:
                fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
                if fields:
                    self._events.append(fields | {"data": json.loads(fields["data"])})
            if not message["more_body"]:
                return {}
        return self._events.pop(0)

    async def over(self) -> None:
        """Wait for the end."""
        await asyncio.wait_for(self.task, 20)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "INTERVAL", 0.01)


def run(held: Held, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(50):
            await test()

    asyncio.run(whole())


@asynccontextmanager
async def following(held: Held, query: str = "", access: str = "", **headers: str) -> AsyncIterator[Client]:
    client = Client(held, access or held.reader, query, **headers)
    try:
        yield client
    finally:
        client.gone.set()
        client.reads.set()
        await client.over()


def test_a_stream_tells_all_that_there_is_and_then_what_changes(held: Held, store: Store, quick: None) -> None:
    async def test() -> None:
        async with following(held) as client:
            start = await client.start()
            headers = {name.decode(): value.decode() for name, value in start["headers"]}
            assert start["status"] == 200
            assert headers["content-type"].startswith("text/event-stream")
            assert headers["cache-control"] == "no-store"
            assert "content-length" not in headers
            whole = [await client.event() for _ in range(4)]
            assert [one["data"].get("snapshot") for one in whole] == ["begin", None, None, "end"]
            assert [one.get("id", "") for one in whole] == [one["data"].get("cursor", "") for one in whole]
            report(store, held.sessions[2], 1, battery=5)
            one = await client.event()
            assert values(one["data"]) == {"battery": 5}
            assert one["id"] == one["data"]["cursor"]
            store.commit([End(held.sessions[2].device, 1)])
            assert (await client.event())["data"]["ended"] is True

    run(held, test)


def test_a_stream_is_taken_up_again_where_it_was(held: Held, store: Store, quick: None) -> None:
    async def test() -> None:
        async with following(held) as client:
            await client.start()
            seen = [await client.event() for _ in range(2)]
        report(store, held.sessions[2], 1, battery=5)
        async with following(held, **{"last-event-id": seen[1]["id"]}) as client:
            await client.start()
            rest = [await client.event() for _ in range(3)]
        assert [one["data"].get("client_id") for one in rest] == [held.name(1), held.name(2), None]

    run(held, test)


def test_streams_end_when_the_process_ends(held: Held, quick: None) -> None:
    async def test() -> None:
        async with following(held) as client:
            await client.start()
            for _ in range(4):
                await client.event()
            held.site.ending.set()
            assert await client.event() == {}
            await client.over()

    run(held, test)


def test_a_stream_ends_when_its_access_token_is_revoked(held: Held, quick: None) -> None:
    async def test() -> None:
        async with following(held) as client:
            await client.start()
            for _ in range(4):
                await client.event()
            held.opened.access.revoke("billing")
            one = await client.event()
            assert (one["event"], one["data"]["status"]) == ("problem", 401)
            assert await client.event() == {}
            await client.over()

    run(held, test)


def test_a_stream_ends_with_a_problem_when_it_cannot_go_on(held: Held, store: Store, quick: None) -> None:
    async def test() -> None:
        async with following(held) as client:
            await client.start()
            for _ in range(4):
                await client.event()
            store.recover([], 1)
            one = await client.event()
            assert (one["event"], one["data"]["status"]) == ("problem", 410)
            assert await client.event() == {}

    run(held, test)


def test_a_stream_goes_on_when_the_store_answers_again(
    held: Held, store: Store, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpe_server.store.contract import StoreError

    failed = 0
    good = places.read_on

    def sometimes(*arguments: Any) -> Any:
        nonlocal failed
        if arguments[1] is not None and failed < 3:
            failed += 1
            raise StoreError("gone")
        return good(*arguments)

    monkeypatch.setattr(changes, "read_on", sometimes)

    async def test() -> None:
        async with following(held) as client:
            await client.start()
            for _ in range(4):
                await client.event()
            report(store, held.sessions[2], 1, battery=5)
            assert values((await client.event())["data"]) == {"battery": 5}

    run(held, test)
    assert failed == 3


def test_who_reads_slowly_is_waited_for_and_nothing_is_read_ahead(
    held: Held, store: Store, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = 0
    good = places.read_on

    def counted(*arguments: Any) -> Any:
        nonlocal parts
        parts += 1
        return good(*arguments)

    monkeypatch.setattr(changes, "read_on", counted)

    async def test() -> None:
        async with following(held) as client:
            await client.start()
            for _ in range(4):
                await client.event()
            client.reads.clear()
            for number in range(2, 6):
                report(store, held.sessions[0], number, battery=number)
            await client.blocked.wait()
            before = parts
            for _ in range(1_000):
                await asyncio.sleep(0)
            assert parts == before, "it waits for the client"
            for number in range(6, 9):
                report(store, held.sessions[0], number, battery=number)
            client.reads.set()
            last = 0
            while last != 8:
                last = values((await client.event())["data"])["battery"]

    run(held, test)


def test_who_does_not_read_at_all_is_left(held: Held, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PATIENCE", 0.05)

    async def test() -> None:
        async with following(held) as client:
            await client.start()
            for _ in range(4):
                await client.event()
            client.reads.clear()
            held.ask("DELETE", f"/sessions/{held.name(0)}")
            await client.over()
            assert open_streams(held) == 0

    run(held, test)


def open_streams(held: Held) -> int:
    programs: Any = held.client.app.state.programs  # type: ignore[attr-defined]
    return int(programs._inner.state.streams.open.total())


def test_a_comment_comes_if_nothing_else_does(held: Held, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ALIVE", 0.02)

    async def test() -> None:
        async with following(held) as client:
            await client.start()
            for _ in range(4):
                await client.event()
            message = await asyncio.wait_for(client.sent.get(), 20)
            assert message["body"] == b": alive\n\n"

    run(held, test)


def test_there_are_not_too_many_streams(held: Held, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "EACH", 2)
    monkeypatch.setattr(stream, "STREAMS", 3)
    held.opened.access.create("third", Role.READER, int(time.time()), None)

    async def test() -> None:
        async with following(held) as one, following(held) as two:
            await one.start()
            await two.start()
            refused = held.ask("GET", "/changes", access=held.reader, headers={"Accept": stream.EVENTS}, status=429)
            assert refused.headers["Retry-After"] == "10"
            held.get("/changes", access=held.reader)
            async with following(held, access=held.operator) as three:
                await three.start()
                assert open_streams(held) == 3
                held.ask("GET", "/changes", headers={"Accept": stream.EVENTS}, status=429)
                assert open_streams(held) == 3
        assert open_streams(held) == 0
        held.get("/changes?since=0123456789abcdef-1", headers={"Accept": stream.EVENTS}, status=410)
        assert open_streams(held) == 0, "what was refused holds nothing"

    run(held, test)
