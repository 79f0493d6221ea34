"""Visitors of a page and its API: python -m dpe_bench.visitors PORT COUNT < REQUESTS.

Each has a connection of its own, asks over it without a pause, and verifies each answer. The first line of standard
input is a JSON array of what they ask for in turn: a path, a header and a text that the answer must have. Prints
"ready" when each has had an answer. When standard input ends, prints as JSON how many answers came and how many of
them were wrong or missing.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from typing import NamedTuple

_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "


class Asked(NamedTuple):
    """What a visitor asks for."""

    path: str
    header: str
    """By which he is known."""
    expected: str
    """What must be in the answer."""

    def request(self, port: int) -> bytes:
        """Return the request."""
        return f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{self.header}\r\n\r\n".encode()


@dataclass
class Tally:
    """What all visitors have seen."""

    answered: int = 0
    wrong: int = 0
    """Among the answers."""
    lost: int = 0
    """Connections that were closed or refused."""
    told: str = ""
    """The beginning of the first wrong answer."""


class _Visitor(asyncio.Protocol):
    def __init__(self, requests: Iterator[tuple[bytes, bytes]], tally: Tally, served: asyncio.Future[None]) -> None:
        self._requests = requests
        self._tally = tally
        self._served = served
        self._come = b""
        self._expected = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._come += data
        head, end, body = self._come.partition(_END)
        if not end:
            return
        _, found, rest = head.lower().partition(_LENGTH)
        length = int(rest.split(b"\r\n")[0]) if found else 0
        if len(body) < length:
            return
        self._tally.answered += 1
        if not head.startswith(b"HTTP/1.1 200 ") or self._expected not in body:
            self._tally.wrong += 1
            self._tally.told = self._tally.told or self._come[:200].decode(errors="replace")
        self._come = b""
        if not self._served.done():
            self._served.set_result(None)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.lost += 1
        if not self._served.done():
            self._served.set_result(None)

    def _ask(self) -> None:
        request, self._expected = next(self._requests)
        self._transport.write(request)


async def _visit(port: int, count: int, asked: Sequence[Asked]) -> Tally:
    tally = Tally()
    loop = asyncio.get_running_loop()
    requests = cycle([(one.request(port), one.expected.encode()) for one in asked])
    served = [loop.create_future() for _ in range(count)]
    transports = []
    for future in served:
        try:
            transport, _ = await loop.create_connection(partial(_Visitor, requests, tally, future), "127.0.0.1", port)
        except OSError:
            tally.lost += 1
        else:
            transports.append(transport)
    await asyncio.gather(*served)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    seen = Tally(**asdict(tally))  # what is lost from now on, is lost by closing
    for transport in transports:
        transport.abort()
    return seen


if __name__ == "__main__":
    wanted = [Asked(*one) for one in json.loads(sys.stdin.readline())]
    print(json.dumps(asdict(asyncio.run(_visit(int(sys.argv[1]), int(sys.argv[2]), wanted)))), flush=True)
