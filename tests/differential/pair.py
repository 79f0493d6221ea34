"""The same traffic through two servers, one with the lane and one without it. Both must answer with the same bytes.

They have the same keys, the same randomness and the same clock, but each its own database. Datagrams come one by one,
because their order determines the random draws. In batches, from many peers, they go to a handler that draws nothing.
A long run: ``./tools/assure differential REQUESTS``.
"""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from dpe_coap.binding import CONTENT_FORMAT_PROBLEM, Code
from dpe_server import policy
from dpe_server.coap.aiocoap_endpoint import TURN, CoapServer
from dpe_server.coap.datagram import Type
from dpe_server.handling.batching import Batcher
from dpe_server.handling.handler import Batch, Completed, Handler
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.keys.ring import KeyRing
from dpe_server.operation import resources
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.store.contract import Outcome, Store
from dpe_server.store.questions import Facts, Questions
from dpe_server.store.sqlite.store import SqliteStore
from tests.differential.traffic import REALM, Traffic
from tests.links import FakeLink, never_separate, settle
from tests.server.registration.double import POLICY

WALL = 1_800_000_000.0


@dataclass(slots=True)
class _Mirrored(Batch):
    replies: list[Reply] = field(default_factory=list)


class _Mirror:
    """A handler that answers each payload by itself, in every possible way."""

    def read(self, payloads: Sequence[bytes], now: float) -> _Mirrored:
        return _Mirrored(replies=[self._reply(payload) for payload in payloads])

    def decide(self, batch: _Mirrored, facts: Facts | None, now: float, wall: float) -> Questions | None:
        return None

    def complete(self, batch: _Mirrored, outcomes: Sequence[Outcome] | None, now: float) -> Completed:
        return Completed(batch.replies, [])

    def abandon(self, batch: _Mirrored) -> None:
        pass

    def _reply(self, payload: bytes) -> Reply:
        choice = sum(payload) % 5
        if choice == 0:
            return UNAUTHORIZED
        if choice == 1:
            return busy(len(payload))
        if choice == 2:
            return Reply.cbor(Code.SERVICE_UNAVAILABLE, payload[::-1], max_age=300)
        if choice == 3:
            return Reply(Code.BAD_REQUEST, payload[:20], CONTENT_FORMAT_PROBLEM)
        return Reply.cbor(Code.CHANGED, payload[::-1])


class _ProtectedMirror(_Mirror):
    """The same for requests under OSCORE, whose answers are protected or have no payload."""

    def _reply(self, payload: bytes) -> Reply:
        choice = sum(payload) % 3
        if choice == 0:
            return UNAUTHORIZED
        if choice == 1:
            return busy(len(payload))
        return Reply(Code.CHANGED, payload[::-1], protected=True)


class Server:
    """A whole server, from its link inwards."""

    def __init__(self, handler: Handler[Any], store: Store, clock: Callable[[], float], *, lane: bool) -> None:
        self.link = FakeLink()
        self._handler = handler
        self._sessions = _ProtectedMirror()
        self._batcher = Batcher(store, retry_after=60, clock=clock, wall=lambda: WALL + clock())
        self.by_lane = self.protected_by_lane = 0
        takes = [partial(self._take, one) for one in (handler, self._sessions)]
        links = [resources.lane(self.link, *takes)] if lane else [self.link]
        submits = [partial(self._batcher.submit, one) for one in (handler, self._sessions)]
        self._coap = CoapServer(links, resources.router(*submits), retry_after=60)
        for interface in self._coap._interfaces:
            interface._manager.message_id = 0
        self._coap.start()

    def _take(
        self, handler: Handler[Any], payloads: Sequence[bytes], deliver: Callable[[Sequence[Reply]], None]
    ) -> None:
        self.by_lane += len(payloads)
        self.protected_by_lane += len(payloads) if handler is self._sessions else 0
        self._batcher.take(handler, payloads, deliver)

    async def answer(self, *datagrams: bytes, network: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Send datagrams, each from its own peer. Return the answers and their peers, in the order of the peers."""
        self.link.received(datagrams, [network + bytes([number]) for number in range(len(datagrams))])
        await settle()
        await self._batcher._idle.wait()
        return sorted(self.link.taken(), key=itemgetter(1))

    async def close(self) -> None:
        await self._coap.stop()
        await self._batcher.close()
        await self._coap.close()


def compare(requests: int, seed: int) -> Counter[str]:
    """Send so many datagrams one by one; return how many the lane took, and how often each code was answered.

    Raises AssertionError at the first difference.
    """
    with tempfile.TemporaryDirectory() as directory, never_separate():
        return asyncio.run(_one_by_one(Path(directory), requests, seed))


def compare_batches(requests: int, seed: int) -> Counter[str]:
    """Do the same as ``compare``, with batches of datagrams."""
    with tempfile.TemporaryDirectory() as directory, never_separate():
        return asyncio.run(_in_batches(Path(directory), requests, seed))


def _keys(source: random.Random) -> KeyRing:
    return KeyRing({1: source.randbytes(32)}, {1: source.randbytes(32)}, source.randbytes(32))


def _unnumbered(sent: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Leave out a message ID of the server's own: in a batch, answers of two handlers may change places."""
    answer, peer = sent
    return (answer if answer[0] >> 4 & 3 == Type.ACK else answer[:2] + answer[4:]), peer


def _count(seen: Counter[str], answer: bytes) -> None:
    seen[f"{answer[1] >> 5}.{answer[1] & 31:02d}"] += 1


async def _one_by_one(directory: Path, requests: int, seed: int) -> Counter[str]:
    keys = _keys(random.Random(seed))
    now = 0.0
    servers = []
    sources = [random.Random(), random.Random()]
    stores = [SqliteStore(directory / name) for name in ("lane.sqlite", "site.sqlite")]
    for store, source, lane in zip(stores, sources, (True, False), strict=True):
        source.seed(seed)
        registrar = Registrar(
            realm=REALM,
            keys=keys,
            policy=policy.parse(POLICY),
            random=source.randbytes,
            ordinals=Ordinals.after(0, now, WALL),
        )
        servers.append(Server(registrar, store, lambda: now, lane=lane))
    traffic = Traffic(seed, keys)
    seen: Counter[str] = Counter()
    for number in range(requests):
        now += 100 / requests  # all within the life of a transaction
        datagram = traffic.next()
        for source in sources:  # the lane decides a duplicate again, which draws once more
            source.seed(f"{seed} {number}")
        answers, expected = [await server.answer(datagram) for server in servers]
        assert answers == expected, f"datagram {number} of seed {seed}: {datagram.hex()}, {answers} not {expected}"
        assert len(answers) <= 1
        for answer, _ in answers:
            _count(seen, answer)
            traffic.answered(answer)
    seen["lane"], seen["protected"] = servers[0].by_lane, servers[0].protected_by_lane
    for server, store in zip(servers, stores, strict=True):
        await server.close()
        store.close()
    return seen


async def _in_batches(directory: Path, requests: int, seed: int) -> Counter[str]:
    source = random.Random(seed)
    traffic = Traffic(seed, _keys(source))
    store = SqliteStore(directory / "unused.sqlite")
    servers = [Server(_Mirror(), store, lambda: 0.0, lane=lane) for lane in (True, False)]
    seen: Counter[str] = Counter()
    sent = 0
    while sent < requests:
        datagrams = [traffic.next() for _ in range(source.randint(1, TURN))]
        sent += len(datagrams)
        answers, expected = [await server.answer(*datagrams) for server in servers]
        assert list(map(_unnumbered, answers)) == list(map(_unnumbered, expected)), (
            f"batch before datagram {sent} of seed {seed}: {[d.hex() for d in datagrams]}"
        )
        for answer, _ in answers:
            _count(seen, answer)
    seen["lane"], seen["protected"] = servers[0].by_lane, servers[0].protected_by_lane
    for server in servers:
        await server.close()
    store.close()
    return seen
