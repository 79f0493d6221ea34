"""A flood of requests under OSCORE: other devices' reports are answered all the same, and what is kept has its bounds.

Sources have addresses of their own in 127.0.0.0/8, which all are this machine's on Linux.
"""

import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from dpe_coap import oscore
from dpe_coap.binding import Code
from dpe_coap.client_ids import client_id_bytes
from dpe_server.coap.aiocoap_endpoint import TURN
from dpe_server.handling.batching import WAITING
from dpe_server.net import mmsg
from dpe_server.operation.state_dir import StateDir
from dpe_server.session.sessions import Sessions
from dpe_server.store.opening import open_store
from dpe_server.store.record import entries
from tests.coap import ACK, CON, POST, URI_HOST, Message
from tests.end_to_end.running import Running, running_on
from tests.in_session import BATTERY, OSCORE, InSession, put, report
from tests.links import never_separate

pytestmark = pytest.mark.skipif(not mmsg.AVAILABLE, reason="this machine has no batches of datagrams")

FULL = 32
"""A full batch in these tests: the whole flood is in the socket before the server reads."""
BATCHES = 8
SOURCES = 16
HONEST = 20
KEPT = 12
"""Contexts and answers that the server may keep in these tests: fewer than there are devices."""
TRIES = 200
REFUSAL_SIZE = 8
UNAUTHORIZED = bytes([0x64, Code.UNAUTHORIZED])
"""How 4.01 begins: piggybacked, with a CoAP token of 4 bytes."""

NOT_PLAIN = "forged for one Client ID and not plain, from many sources"
"""These go to the endpoint behind the lane."""

Make = Callable[[int], tuple[int, bytes]]
"""The source and the datagram of a flood by its number."""


def forged(chance: random.Random, client_id: int, number: int, *outside: tuple[int, bytes]) -> bytes:
    """A request under a session's Client ID that its device has not made; ``outside`` it has further options."""
    options = [*outside, (OSCORE, oscore.option(client_id_bytes(client_id), number))]
    return bytes(Message(CON, POST, number & 0xFFFF, chance.randbytes(4), options, chance.randbytes(28)))


class Sources:
    """Sockets with addresses of their own."""

    def __init__(self, uri: str, count: int) -> None:
        host, port = uri.removeprefix("coap://").rsplit(":", 1)
        self._cleanup = ExitStack()
        self.sockets = []
        for number in range(count):
            end = self._cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            end.bind((f"127.9.{number >> 8}.{number & 255}", 0))
            end.connect((host, int(port)))
            end.settimeout(20)
            self.sockets.append(end)

    def __enter__(self) -> Sequence[socket.socket]:
        return self.sockets

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()


@contextmanager
def held(running: Running) -> Iterator[None]:
    """Let the server do nothing until the end of the block, as if it had too much to do."""
    at_rest, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        at_rest.set()
        go_on.wait(30)

    running.loop.loop.call_soon_threadsafe(hold)
    assert at_rest.wait(30)
    try:
        yield
    finally:
        go_on.set()


def kinds(chance: random.Random, device: InSession) -> dict[str, Make]:
    """Floods by what they are made of, each by one who has overheard a device, or who is one."""
    return {
        "forged for one Client ID, from many sources": lambda n: (
            n % SOURCES,
            forged(chance, device.client_id, n + 1),
        ),
        NOT_PLAIN: lambda n: (n % SOURCES, forged(chance, device.client_id, n + 1, (URI_HOST, b"localhost"))),
        "forged for made-up Client IDs, from one source": lambda n: (0, forged(chance, chance.getrandbits(56), n + 1)),
        "valid reports of one device, from many sources": lambda n: (
            n % SOURCES,
            device.request(n + 1, report(n % 24)),
        ),
        "repeats of one report, from many sources": lambda n: (n % SOURCES, device.request(1, report(1))),
    }


@pytest.mark.parametrize("kind", list(kinds(random.Random(1), None)))  # type: ignore[arg-type]  # only their names
def test_other_devices_have_their_turn_before_the_flood(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """At the end of each full batch there is an honest report: it need not wait for what came before it."""
    monkeypatch.setattr(mmsg, "BATCH", FULL)
    monkeypatch.setattr(mmsg.Mmsg, "full", FULL)
    decided: list[bytes] = []
    read = Sessions.read

    def noted(self: Sessions, payloads: Sequence[bytes], now: float) -> Any:
        decided.extend(payloads)
        return read(self, payloads, now)

    monkeypatch.setattr(Sessions, "read", noted)
    chance = random.Random(1)
    flooder, *honest = put(state, 1 + BATCHES, chance)
    make = kinds(chance, flooder)[kind]
    flood = [make(number) for number in range((FULL - 1) * BATCHES)]
    with never_separate(), running_on(state) as running, Sources(running.uri, SOURCES + BATCHES) as sources:
        with held(running):
            for number, device in enumerate(honest):
                for source, datagram in flood[number * (FULL - 1) : (number + 1) * (FULL - 1)]:
                    sources[source].send(datagram)
                sources[SOURCES + number].send(device.request(1, report(7)))
        for number, device in enumerate(honest):
            answer = Message.parse(sources[SOURCES + number].recv(2048))
            opened = device.opened(1, answer.payload)
            assert opened is not None, answer
            assert opened[0] == Code.CHANGED
        answers = [sources[source].recv(2048) for source, _ in flood]
    names = [client_id_bytes(device.client_id) for device in honest]
    places = [next(at for at, payload in enumerate(decided) if name in payload[:9]) for name in names]
    assert len(decided) == FULL * BATCHES, "all were decided in the end"
    turns = TURN if kind == NOT_PLAIN else 1
    assert max(places) < (2 + turns) * BATCHES, "of the flood, so many had their turn with each batch"
    unprotected = [answer for answer in answers if Message.parse(answer).option(OSCORE) is None]
    refused = [answer for answer in unprotected if answer[1] == Code.UNAUTHORIZED]
    assert {len(answer) for answer in refused} <= {REFUSAL_SIZE}
    assert {answer[1] for answer in unprotected} <= {Code.UNAUTHORIZED, Code.SERVICE_UNAVAILABLE}
    accepted = [answer for answer in answers if answer not in unprotected]
    if kind.startswith("forged"):
        assert not accepted
        assert len(refused) == len(flood)
    elif kind.startswith("valid"):
        # At least one: where a high number has its turn early, the lower ones that come after it are refused.
        assert 1 <= len(accepted) < len(flood) // 2, "beyond its share, a device hears 5.03"
    else:
        assert len({Message.parse(answer).payload for answer in accepted}) == 1, "a number has one answer"


class Flood(threading.Thread):
    """Sends until it is told to end, and reads no answers but counts their sizes."""

    def __init__(self, sources: Sequence[socket.socket], makes: Sequence[Make]) -> None:
        super().__init__()
        self._sources = sources
        self._makes = makes
        self.over = threading.Event()
        self.sent = 0
        self.refusals: set[int] = set()
        """Sizes of 4.01."""

    def run(self) -> None:
        for end in self._sources:
            end.setblocking(False)
        while not self.over.is_set():
            source, datagram = self._makes[self.sent % len(self._makes)](self.sent)
            self._sources[source].send(datagram)
            self.sent += 1
            if self.sent % 64 == 0:
                self._hear()

    def _hear(self) -> None:
        for source in self._sources:
            while True:
                try:
                    answer = source.recv(2048)
                except BlockingIOError:
                    break
                if answer[:2] == UNAUTHORIZED:
                    self.refusals.add(len(answer))


def ask(end: socket.socket, device: InSession, value: int) -> bytes:
    """Report as a device does, again and again: under the same number, and after 5.03 or 4.01 under a new one."""
    end.settimeout(0.1)
    number = 1
    for _ in range(TRIES):
        end.send(device.request(number, report(value)))
        try:
            answer = Message.parse(end.recv(2048))
        except TimeoutError:
            continue
        if answer.option(OSCORE) is None:
            number += 1
            continue
        opened = device.opened(int.from_bytes(answer.coap_token, "big"), answer.payload)
        assert opened is not None
        assert answer.type == ACK
        return opened
    raise AssertionError("an honest device was pushed out")


@pytest.mark.timeout(180)
def test_reports_are_answered_through_a_flood_and_what_is_kept_has_its_bounds(
    state: StateDir, running: Running
) -> None:
    sessions = running.server._sessions
    sessions._contexts._total = sessions._answers._total = KEPT
    chance = random.Random(1)
    flooder, *honest = put(state, 1 + HONEST, chance)
    makes = list(kinds(chance, flooder).values())
    most = {"contexts": 0, "answers": 0, "shares": 0, "pending": 0, "waiting": 0}

    def look() -> None:
        sizes = {
            "contexts": len(sessions._contexts),
            "answers": len(sessions._answers),
            "shares": len(sessions._shares._new) + len(sessions._shares._old),
            "pending": len(sessions._pending),
            "waiting": len(running.server._batcher),
        }
        for name, size in sizes.items():
            most[name] = max(most[name], size)

    with Sources(running.uri, SOURCES + HONEST) as sources:
        flood = Flood(sources[:SOURCES], makes)
        flood.start()
        try:
            for value, (device, end) in enumerate(zip(honest, sources[SOURCES:], strict=True)):
                assert ask(end, device, value)[0] == Code.CHANGED
                running.loop.call(look)
        finally:
            flood.over.set()
            flood.join()
    assert flood.sent > 0
    assert flood.refusals == {REFUSAL_SIZE}
    assert most["contexts"] == most["answers"] == KEPT
    assert most["shares"] <= 2 * (1 + HONEST), "only who has proved its key is counted"
    assert most["pending"] <= most["waiting"] < WAITING + mmsg.BATCH
    store = open_store(state.store_url)
    try:
        for value, device in enumerate(honest):
            session = store.session(device.client_id)
            assert session is not None
            assert {entry.property: entry.value[-1] & 0x1F for entry in entries(session.record)} == {BATTERY: value}
    finally:
        store.close()
