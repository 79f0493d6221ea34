"""Devices in their sessions that report to a real server, and what they must find there whatever has happened to it.

Each has a socket of its own and one request under way, which it repeats at random, as a network would. It notes what it
has sent under each number, and every protected answer.
"""

import random
import select
import socket
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import Self

from dpe_coap.binding import Code
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.store.opening import open_store
from dpe_server.store.record import entries
from tests import coap
from tests.in_session import BATTERY, DELETE, OSCORE, InSession, put, report

PATIENCE = 1.0
"""Seconds after which a request is sent again, and then under a new number."""
PAUSE = 0.9
"""Seconds between an answer and the next request, at least: a device may send one a second, after a burst."""
TRIES = 3
ENDS = 0.02
"""The share of requests that end the session."""
ASKED_AGAIN = 20
"""How many sessions that have ended are asked again after each start."""
REPEATS = 0.1
"""The share of requests after which an old datagram is sent again."""


@dataclass(slots=True, eq=False)
class Reporter:
    """One device, and what it knows."""

    device: InSession
    socket: socket.socket
    number: int = 0
    """The last one that was used."""
    values: dict[int, int] = field(default_factory=dict)
    """By number, what was reported; -1 for a request that ends the session."""
    datagrams: dict[int, bytes] = field(default_factory=dict, repr=False)
    answers: dict[int, bytes] = field(default_factory=dict, repr=False)
    """By number, the ciphertext of the answer."""
    tries: int = 0
    due: float = 0.0
    ended: bool = False
    """Whether the session is gone, as the device has wished."""
    ends: float = ENDS
    since_start: int | None = None
    """Requests under a new number since the server has started; None: one was answered."""

    @property
    def client_id(self) -> int:
        """The device's Client ID."""
        return self.device.client_id


class Reporters:
    """``devices`` with sessions in the store of ``state``, at the server 127.0.0.1:``port``, which must not run yet."""

    def __init__(self, state: StateDir, port: int, *, devices: int, seed: int) -> None:
        self._state = state
        self._server = ("127.0.0.1", port)
        self._random = random.Random(seed)
        self._cleanup = ExitStack()
        self._ordinal = 0
        self.faults: list[str] = []
        self.accepted = 0
        self.ended: list[Reporter] = []
        self.slowest = 0
        """The most exchanges that a device needed after a start until one was answered."""
        self._count = devices

    def __enter__(self) -> Self:
        self.reporters = self._made(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def started(self) -> None:
        """Count the exchanges from now on: the server has started."""
        for one in self.reporters:
            one.since_start = 0
            one.tries = TRIES  # what was under way began before
            one.due = 0.0

    def work(self, seconds: float) -> None:
        """Let the devices report for a while."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            for one in self.reporters:
                if now >= one.due and not one.ended:
                    self._go_on(one, now)
            self.hear(0.005)

    def work_until_accepted(self, count: int, longest: float) -> None:
        """Let the devices report until so many more reports were accepted, or for at most ``longest`` seconds."""
        aim, until = self.accepted + count, time.monotonic() + longest
        while self.accepted < aim and time.monotonic() < until:
            self.work(0.01)

    def all_report(self) -> None:
        """Let each device have a request answered; who takes more than two exchanges is a fault."""
        self.started()
        until = time.monotonic() + 30
        while any(one.since_start is not None and not one.ended for one in self.reporters):
            if time.monotonic() > until:
                self.faults += [f"{one.client_id}: no answer" for one in self.reporters if one.since_start is not None]
                return
            self.work(0.05)

    def compare(self) -> int:
        """Compare what the store has with what each device knows; return how many devices were compared."""
        with closing(open_store(self._state.store_url)) as store:
            for one in self.reporters:
                self._compare(one, store.session(one.client_id))
            for one in self.ended:
                if store.session(one.client_id) is not None:
                    self.faults.append(f"{one.client_id}: its session is back")
        return len(self.reporters) + len(self.ended)

    def _compare(self, one: Reporter, session: Session | None) -> None:
        answered = max(one.answers, default=0)
        if session is None:
            one.ended = -1 in one.values.values()  # even if it has not heard so
            if not one.ended:
                self.faults.append(f"{one.client_id}: its session is gone")
            return
        mark = session.mark or 0
        if mark < answered or mark > one.number:
            self.faults.append(f"{one.client_id}: mark {mark}, answered {answered}, sent {one.number}")
        record = {entry.property: entry.value for entry in entries(session.record)}
        expected = {} if mark == 0 else {BATTERY: b"\x1a" + one.values[mark].to_bytes(4, "big")}
        if record != expected:
            self.faults.append(f"{one.client_id}: its record is not what it reported under {mark}")

    def replace_ended(self) -> None:
        """Let new devices take the places of those whose session has ended. The server must not run."""
        gone = [one for one in self.reporters if one.ended]
        self.ended += gone
        for one in self.ended[:-ASKED_AGAIN]:
            one.socket.close()
        self.reporters = [one for one in self.reporters if not one.ended] + self._made(len(gone))

    def _made(self, count: int) -> list[Reporter]:
        made: list[Reporter] = []
        for one in put(self._state, count, self._random, first=self._ordinal + 1):
            end = self._cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            end.setblocking(False)
            end.connect(self._server)
            made.append(Reporter(one, end))
        self._ordinal += count
        return made

    def _go_on(self, one: Reporter, now: float) -> None:
        one.due = now + PATIENCE * self._random.uniform(1, 1.5)
        if one.tries and one.tries < TRIES and one.number not in one.answers:
            one.tries += 1
            self._send(one, one.number)
            return
        if one.since_start is not None:
            one.since_start += 1
            self.slowest = max(self.slowest, one.since_start)
        one.number += 1
        one.tries = 1
        ends = self._random.random() < one.ends
        one.values[one.number] = -1 if ends else self._random.getrandbits(31) | 1 << 30
        plaintext = DELETE if ends else report(one.values[one.number])
        one.datagrams[one.number] = one.device.request(one.number, plaintext)
        self._send(one, one.number)
        if self._random.random() < REPEATS:
            self._send(one, self._random.randint(1, one.number))

    def _send(self, one: Reporter, number: int) -> None:
        with suppress(ConnectionRefusedError):  # of what was sent before: the server is down
            one.socket.send(one.datagrams[number])

    def hear(self, wait: float = 0.0) -> None:
        """Read all answers that have come, or that come within ``wait`` seconds."""
        everyone = [*self.reporters, *self.ended[-ASKED_AGAIN:]]
        readable, _, _ = select.select([one.socket for one in everyone], [], [], wait)
        ready = set(readable)
        for one in everyone:
            if one.socket in ready:
                self._read(one)

    def _read(self, one: Reporter) -> None:
        while True:
            try:
                answer = coap.Message.parse(one.socket.recv(2048))
            except (BlockingIOError, ConnectionRefusedError):
                return
            if not answer.code:
                continue
            number = int.from_bytes(answer.coap_token, "big")
            if answer.option(OSCORE) is None:
                if answer.code not in (Code.UNAUTHORIZED, Code.SERVICE_UNAVAILABLE):
                    self.faults.append(f"{one.client_id}: {answer.code}")
                continue
            self._believe(one, number, answer.payload)

    def _believe(self, one: Reporter, number: int, ciphertext: bytes) -> None:
        known = one.answers.setdefault(number, ciphertext)
        if known != ciphertext:
            self.faults.append(f"{one.client_id}: two answers under number {number}")
        plaintext = one.device.opened(number, ciphertext)
        ends = one.values[number] == -1
        if plaintext is None or plaintext[0] != (Code.DELETED if ends else Code.CHANGED):
            self.faults.append(f"{one.client_id}: not the answer to number {number}")
        if one in self.ended and not ends:
            self.faults.append(f"{one.client_id}: an answer after the end")
        if number == one.number:
            self.accepted += 1
            one.ended = one.ended or ends
            one.since_start = None
            one.due = time.monotonic() + PAUSE * self._random.uniform(1, 1.5)

    def ask_the_ended(self) -> None:
        """Send what ended sessions have sent, and something new, under their keys."""
        for one in self.ended[-ASKED_AGAIN:]:
            one.due = 0.0
            one.tries = TRIES
            self._go_on(one, 0.0)
            self._send(one, self._random.randint(1, one.number))
        self.work(0.2)
