"""Response times of refusals: in this process by the lane, and over loopback from a server in another process.

Messages come one at a time, so each is its own batch. In each round every class has one turn, in a newly drawn order.
"""

import gc
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from dpe_server.handling.batching import Batcher
from dpe_server.handling.handler import Handler, handle
from dpe_server.operation.resources import lane
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transactions import LIFE
from dpe_server.store.sqlite.store import SqliteStore
from tests.assurance.timing.planting import DELAYS, SlowRegistrar, version
from tests.assurance.timing.refusals import Ask, Make, Refusals, registrar, sessions
from tests.assurance.timing.session_refusals import OSCORE, SessionRefusals, protected, split
from tests.coap import CON, POST, REGISTER, Client, Message
from tests.end_to_end.processes import Process
from tests.links import FakeLink

Times = dict[str, list[int]]
"""Nanoseconds by class, in the order in which they were measured."""
Exchange = Callable[[bytes], tuple[int, bytes]]
"""Sends a datagram. Returns how long the answer took, in nanoseconds, and the answer."""

REFRESH = LIFE / 2
"""Seconds after which new transactions are begun, before the life of the old ones ends."""
POOL = 256
"""Messages of each class that are made beforehand, because a computation affects the time of what follows it."""
PLANTED_PROGRAM = ("-m", "tests.assurance.timing.planting")
TRIES = 5
TOKEN = b"tt"
REFUSED = 0x81


class LostError(Exception):
    """An answer did not come in time."""


class InProcess:
    """The handlers behind their batcher and lane, with a clock that can be advanced."""

    def __init__(self, refusals: Refusals, make: Callable[..., Registrar] = Registrar) -> None:
        self.store = SqliteStore(refusals.state.path / "dpe.sqlite")
        self.registrar = registrar(refusals.state, self.store, make)
        self.sessions = sessions(refusals.state)
        self._ahead = 0.0
        self._link = FakeLink()
        self._batcher = Batcher(self.store, retry_after=60, clock=self._clock)
        takes = [partial(self._batcher.take, handler) for handler in (self.registrar, self.sessions)]
        lane(self._link, *takes).start(_unexpected)

    def _clock(self) -> float:
        return time.monotonic() + self._ahead

    def ask(self, payload: bytes) -> bytes:
        """Let a message be answered, with its commit."""
        return self._ask(self.registrar, payload)

    def ask_protected(self, payload: bytes) -> bytes:
        """Let a protected request be answered, with its commit."""
        return self._ask(self.sessions, payload)

    def _ask(self, handler: Handler[Any], payload: bytes) -> bytes:
        return handle(handler, self.store, [payload], self._clock(), time.time()).replies[0].payload

    def expire(self) -> None:
        """Let all transactions end."""
        self._ahead += LIFE + 1

    def exchange(self, datagram: bytes) -> tuple[int, bytes]:
        """See ``Exchange``."""
        put, endpoints, datagrams = self._link.received, [b"peer"], [datagram]
        start = time.perf_counter_ns()
        put(datagrams, endpoints)
        taken = time.perf_counter_ns() - start
        ((answer, _),) = self._link.taken()
        return taken, answer

    def close(self) -> None:
        self.store.close()


class OverLoopback:
    """A client of a server that runs in another process. With ``pin``, each has its own core."""

    def __init__(
        self, refusals: Refusals, log: Path, program: Sequence[str] = ("-m", "dpe_server"), *, pin: bool = False
    ) -> None:
        self._process = Process(refusals.state, log, ["127.0.0.1:0"], program)
        self._client = Client(self._process.started())
        self._before = os.sched_getaffinity(0)
        if pin:
            mine, *others = sorted(self._before)
            os.sched_setaffinity(0, {mine})
            os.sched_setaffinity(self._process.process.pid, {others[0] if others else mine})

    def ask(self, payload: bytes) -> bytes:
        """Let a message be answered."""
        return self._client.post(payload).payload

    def ask_protected(self, payload: bytes) -> bytes:
        """Let a protected request be answered."""
        option, ciphertext = split(payload)
        return self._client.request(POST, [(OSCORE, option)], ciphertext).payload

    def exchange(self, datagram: bytes) -> tuple[int, bytes]:
        """See ``Exchange``."""
        send, receive = self._client.socket.send, self._client.socket.recv
        self._client.socket.settimeout(1)
        start = time.perf_counter_ns()
        send(datagram)
        try:
            answer = receive(64)
        except TimeoutError:
            self._drain()
            raise LostError from None
        return time.perf_counter_ns() - start, answer

    def _drain(self) -> None:
        with suppress(TimeoutError):
            while self._client.socket.recv(64):
                pass

    def close(self) -> None:
        os.sched_setaffinity(0, self._before)
        self._client.__exit__()
        self._process.process.terminate()
        self._process.ended()
        assert self._process.process.stdout is not None
        self._process.process.stdout.close()


def register(message_id: int, coap_token: bytes, payload: bytes) -> bytes:
    """Return a message of a registration as nearly every device sends it."""
    return bytes(Message(CON, POST, message_id, coap_token, REGISTER, payload))


def measure(
    name: str,
    exchange: Exchange,
    classes: Callable[[], Mapping[str, Make]],
    rounds: int,
    source: random.Random,
    datagram_of: Callable[[int, bytes, bytes], bytes] = register,
) -> Times:
    """Measure every class so many times. ``classes`` is called again now and then. ``name`` is for the progress.

    ``datagram_of`` makes a request of a message ID, a CoAP token and a payload.
    """
    times: Times = {}
    made: dict[str, Iterator[bytes]] = {}
    made_at = -REFRESH
    message_id = 0
    with _steady():
        for number in range(rounds):
            if time.monotonic() - made_at > REFRESH:
                made = {one: cycle([make() for _ in range(POOL)]) for one, make in classes().items()}
                made_at = time.monotonic()
                times = times or {one: [] for one in made}
            order = list(made)
            source.shuffle(order)
            for one in order:
                message_id = (message_id + 1) & 0xFFFF
                datagram = datagram_of(message_id, TOKEN, next(made[one]))
                taken, answer = _surely(exchange, datagram)
                if answer != bytes([0x60 | len(TOKEN), REFUSED]) + datagram[2 : 4 + len(TOKEN)]:
                    raise AssertionError(f"{one}: answered {answer.hex()}")
                times[one].append(taken)
            if number % 1_000 == 999:
                print(f"\r{name}: {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(f"\r{name}: done{' ' * 20}", file=sys.stderr)
    return times


def _surely(exchange: Exchange, datagram: bytes) -> tuple[int, bytes]:
    for _ in range(TRIES):
        with suppress(LostError):
            return exchange(datagram)
    raise LostError(f"no answer to a datagram that was sent {TRIES} times")


@contextmanager
def _steady() -> Iterator[None]:
    """Let no garbage collection happen meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def planted(refusals: Refusals) -> dict[str, Make]:
    """Return makers of REQUESTs with a wrong key, which the planted server answers late, by delay."""
    return {_delay(number): partial(refusals.wrong_key, version(number)) for number in range(len(DELAYS))}


def _delay(number: int) -> str:
    return f"planted {DELAYS[number] / 1_000:g} µs"


def _unexpected(datagrams: Sequence[bytes], endpoints: Sequence[object]) -> None:
    raise AssertionError("the lane did not take a plain request")


def in_process(refusals: Refusals, rounds: int, seed: int) -> Iterator[Times]:
    """Yield the times of the REQUESTs, of the SUCCESSes, of requests of sessions, and of planted delays."""
    of_sessions = SessionRefusals(refusals.state)
    server = InProcess(refusals)
    try:
        expired = refusals.begin_expiring(server.ask)
        server.expire()
        source = random.Random(seed)
        yield measure("in process, REQUEST", server.exchange, refusals.requests, rounds, source)
        successes = _successes(refusals, server.ask, expired)
        yield measure("in process, SUCCESS", server.exchange, successes, rounds, source)
        of_sessions.speak(server.ask_protected)
        yield measure("in process, session", server.exchange, of_sessions.requests, rounds, source, protected)
    finally:
        server.close()
    slow = InProcess(refusals, SlowRegistrar)
    try:
        yield measure("in process, planted", slow.exchange, lambda: planted(refusals), rounds, source)
    finally:
        slow.close()


def over_loopback(refusals: Refusals, rounds: int, seed: int, logs: Path, *, pin: bool, wait: bool) -> Iterator[Times]:
    """Yield the same over loopback. With ``wait``, wait until transactions have expired, which takes five minutes."""
    of_sessions = SessionRefusals(refusals.state)
    server = OverLoopback(refusals, logs / "server.log", pin=pin)
    try:
        expired = refusals.begin_expiring(server.ask) if wait else []
        begun = time.monotonic()
        source = random.Random(seed)
        yield measure("over loopback, REQUEST", server.exchange, refusals.requests, rounds, source)
        while expired and (left := begun + LIFE + 1 - time.monotonic()) > 0:
            print(f"\rtransactions expire in {left:.0f} s ", end="", file=sys.stderr, flush=True)
            time.sleep(min(left, 5))
        successes = _successes(refusals, server.ask, expired)
        yield measure("over loopback, SUCCESS", server.exchange, successes, rounds, source)
        of_sessions.speak(server.ask_protected)
        yield measure("over loopback, session", server.exchange, of_sessions.requests, rounds, source, protected)
    finally:
        server.close()
    slow = OverLoopback(refusals, logs / "planted.log", PLANTED_PROGRAM, pin=pin)
    try:
        yield measure("over loopback, planted", slow.exchange, lambda: planted(refusals), rounds, source)
    finally:
        slow.close()


def _successes(refusals: Refusals, ask: Ask, expired: list[bytes]) -> Callable[[], Mapping[str, Make]]:
    return lambda: refusals.successes(ask, expired)
