"""The same traffic through two servers, with the lane and without it. All that comes out must be the same bytes.

Both have the same keys, the same randomness and the same clock, and each its own database. Datagrams come one by one.
A long run: ``python -m tests.differential REQUESTS [SEED]``.
"""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

from aiocoap.numbers.constants import TransportTuning

from dpe_server import policy
from dpe_server.batching import Batcher
from dpe_server.key_ring import KeyRing
from dpe_server.lane import Lane
from dpe_server.registrar import Registrar
from dpe_server.reply import Reply
from dpe_server.resources import Resources
from dpe_server.site import CoapServer
from dpe_server.store.sqlite import SqliteStore
from tests.differential.traffic import REALM, Traffic
from tests.links import FakeLink, settle
from tests.server.registrar.double import POLICY

WALL = 1_800_000_000.0


class _Server:
    """A whole server from its link to its database."""

    def __init__(self, path: Path, keys: KeyRing, seed: int, clock: Callable[[], float], *, lane: bool) -> None:
        self.link = FakeLink()
        self._store = SqliteStore(path)
        registrar = Registrar(
            realm=REALM,
            keys=keys,
            policy=policy.parse(POLICY),
            store=self._store,
            random=random.Random(seed).randbytes,
        )
        self._batcher = Batcher(registrar, self._store.commit, retry_after=60, clock=clock, wall=lambda: WALL + clock())
        self.by_lane = 0
        links = [Lane(self.link, self._offer)] if lane else [self.link]
        self._coap = CoapServer(links, Resources(self._batcher.submit), retry_after=60)
        for interface in self._coap._interfaces:
            interface._manager.message_id = 0
        self._coap.start()

    def _offer(self, payloads: Sequence[bytes], answer: Callable[[Sequence[Reply]], None]) -> None:
        self.by_lane += len(payloads)
        self._batcher.offer(payloads, answer)

    async def answer(self, datagram: bytes) -> list[bytes]:
        """Return what is sent for a datagram."""
        self.link.put(datagram)
        await settle()
        await self._batcher._free.wait()
        return [sent for sent, _ in self.link.taken()]

    async def close(self) -> None:
        await self._coap.stop()
        await self._batcher.close()
        await self._coap.close()
        self._store.close()


def compare(requests: int, seed: int) -> Counter[str]:
    """Send so many datagrams; return how many the lane took, and how often each code was answered.

    AssertionError at the first difference.
    """
    # On a slow disk aiocoap would acknowledge first and answer later.
    with patch.object(TransportTuning, "EMPTY_ACK_DELAY", 60), tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_compare(Path(directory), requests, seed))


async def _compare(directory: Path, requests: int, seed: int) -> Counter[str]:
    source = random.Random(seed)
    keys = KeyRing({1: source.randbytes(32)}, {1: source.randbytes(32)}, source.randbytes(32))
    now = 0.0

    def clock() -> float:
        return now

    with_lane = _Server(directory / "lane.sqlite", keys, seed, clock, lane=True)
    without = _Server(directory / "site.sqlite", keys, seed, clock, lane=False)
    traffic = Traffic(seed, keys)
    seen: Counter[str] = Counter()
    for number in range(requests):
        now += 100 / requests  # all within the life of a transaction
        datagram = traffic.next()
        expected = await without.answer(datagram)
        answers = await with_lane.answer(datagram)
        assert answers == expected, f"datagram {number} of seed {seed}: {datagram.hex()}, {answers} not {expected}"
        assert len(answers) <= 1
        for answer in answers:
            seen[f"{answer[1] >> 5}.{answer[1] & 31:02d}"] += 1
            traffic.answered(answer)
    seen["lane"] = with_lane.by_lane
    await with_lane.close()
    await without.close()
    return seen
