"""The server of the simulation: the real reader of datagrams, resources, registrar and SQLite store; no socket."""

import itertools
from collections.abc import Collection, Coroutine, Generator, Sequence
from pathlib import Path
from typing import Any

from dpe_server import policy
from dpe_server.datagram import Rejected, Request, Type, parse
from dpe_server.duplicates import Duplicates
from dpe_server.key_ring import KeyRing
from dpe_server.registrar import Registrar
from dpe_server.reply import Reply
from dpe_server.resources import Answer, Resources
from dpe_server.store import Confirmed, Outcome, Restriction, Session, StoreError
from dpe_server.store.sqlite import SqliteStore
from tests.coap import ACK, CON, CONTENT_FORMAT, MAX_AGE, NON, Message
from tests.simulation.world import WALL, Address, World

RETRY_AFTER = 30
MOST_SENDS = 3
"""Times that a separate response is sent that nobody acknowledges."""
SEPARATE_TIMEOUT = 2500
SLOW = (2000, 120_000)
"""Milliseconds in which a slow server answers."""


class CrashError(Exception):
    """The server's process ends here."""


class Store(SqliteStore):
    """The real store, which can fail before a commit, or take the process with it before or after."""

    fault = ""

    def commit(self, sessions: Sequence[Session]) -> list[Outcome]:
        fault, self.fault = self.fault, "" if self.fault.startswith("crash") else self.fault
        if fault == "broken":
            raise StoreError("made to fail")
        if fault == "crash before":
            raise CrashError
        outcomes = super().commit(sessions)
        if fault == "crash after":
            raise CrashError
        return outcomes


class NoStore:
    """The store of a server that must never come to commit anything."""

    def confirmed(self, client_ids: Collection[bytes]) -> dict[bytes, Confirmed]:
        return {client_id: Confirmed(bytes(32), None, b"") for client_id in client_ids}

    def sessions(self, client_ids: Collection[bytes]) -> dict[bytes, Session]:
        return {}

    def sessions_of(self, devices: Collection[bytes]) -> dict[bytes, Session]:
        return {}

    def held(self, client_ids: Collection[int]) -> set[int]:
        return set()

    def taken(self, first: int, last: int) -> set[int]:
        return set()

    def restrictions(self, devices: Collection[bytes]) -> dict[bytes, Restriction]:
        return {}

    def minimum_epoch(self) -> int:
        return 0

    def last_ordinal(self) -> int:
        return 0

    def commit(self, sessions: Sequence[Session]) -> list[Outcome]:
        raise AssertionError("a server without a session to commit was asked for one")

    def close(self) -> None:
        pass


class _Submission:
    """What a resource waits for: the registrar's reply to a payload."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __await__(self) -> Generator[bytes, Reply, Reply]:
        return (yield self.payload)


async def _submit(payload: bytes) -> Reply:
    return await _Submission(payload)


_Waiting = tuple[Request, Address, Coroutine[Any, Any, Answer], bytes]


class Server:
    """A server at one address. ``mode`` is how it behaves:

    "honest"; "silent": hears nothing; "acknowledging": sends empty acknowledgements and nothing else; "slow": answers
    long after it was asked; "unwilling": answers at once, with an error and without a security token.
    """

    def __init__(
        self, world: World, address: Address, keys: KeyRing, realm: str, rules: str, path: Path | None = None
    ) -> None:
        self.address = address
        self.mode = "honest"
        self.separate = 0.0
        """How often a response comes separately."""
        self._world = world
        self._keys = keys
        self._realm = realm
        self._rules = rules
        self._path = path
        self._message_ids = itertools.count(world.random.randrange(0x10000))
        self.store: Store | NoStore = NoStore()
        self.start()

    def start(self) -> None:
        """Start the process, or start it anew: what was in its memory only is gone."""
        if self._path is not None:
            self.store.close()
            self.store = Store(self._path)
        self._registrar = Registrar(
            realm=self._realm,
            keys=self._keys,
            policy=policy.parse(self._rules),
            store=self.store,
            random=self._world.random_bytes,
            retry_after=RETRY_AFTER,
        )
        self._resources = Resources(_submit)
        self._duplicates = Duplicates()
        self._waiting: list[_Waiting] = []
        self._unacknowledged: set[int] = set()

    def stop(self) -> None:
        """Free the store."""
        self.store.close()

    def receive(self, datagram: bytes, sender: Address) -> None:
        """Take a datagram, as the socket gives it."""
        world = self._world
        if self.mode == "silent":
            return
        try:
            request = parse(datagram)
        except Rejected as rejected:
            if rejected.reset is not None:
                self._send(b"\x70\0" + rejected.reset.to_bytes(2, "big"), sender)
            return
        if not isinstance(request, Request):
            self._unacknowledged.discard(request.message_id)
            return
        known = self._duplicates.begin((sender, request.message_id), datagram, world.now / 1000)
        if known is not None:
            if known and request.type is Type.CON:
                self._send(known, sender)
            return
        if self.mode == "acknowledging":
            self._acknowledge(request, sender)
        elif self.mode == "unwilling":
            code, options = world.random.choice(
                [(0x81, []), (0x80, []), (0xA0, []), (0xA3, [(MAX_AGE, b"\xff\xff\xff\xff")]), (0x44, [])]
            )
            self._send(bytes(Message(ACK, code, request.message_id, request.coap_token, options)), sender)
        else:
            self._take(request, sender)

    def _take(self, request: Request, sender: Address) -> None:
        world = self._world
        if world.chance(self.separate):
            self._acknowledge(request, sender)
        answering = self._resources.answer(request, sender)
        try:
            payload = answering.send(None)
        except StopIteration as stop:
            self._respond(request, sender, stop.value)
            return
        self._waiting.append((request, sender, answering, payload))
        if len(self._waiting) == 1:
            world.after(world.random.randint(*((1, 10) if self.mode == "honest" else SLOW)), self._batch)

    def _batch(self) -> None:
        """Decide all that waits, with one commit."""
        world = self._world
        waiting, self._waiting = self._waiting, []
        registrar, now = self._registrar, world.now / 1000
        if not waiting:
            return
        prepared = registrar.prepare([payload for _, _, _, payload in waiting], now, WALL + now)
        outcomes: list[Outcome] | None
        try:
            outcomes = self.store.commit(prepared.sessions) if prepared.sessions else []
        except StoreError:
            outcomes = None
        except CrashError:
            world.note(f"{self.address[0]} crashes")
            self.start()
            for _, _, answering, _ in waiting:
                answering.close()
            return
        replies = registrar.complete(prepared, outcomes, now)
        for (request, sender, answering, _), reply in zip(waiting, replies, strict=True):
            try:
                answering.send(reply)
            except StopIteration as stop:
                self._respond(request, sender, stop.value)

    def _acknowledge(self, request: Request, sender: Address) -> None:
        if request.type is Type.CON:
            datagram = bytes(Message(ACK, 0, request.message_id))
            self._remember(request, sender, datagram)
            self._send(datagram, sender)

    def _respond(self, request: Request, sender: Address, answer: Answer) -> None:
        options = [
            (number, value.to_bytes(2, "big").lstrip(b"\0"))
            for number, value in ((CONTENT_FORMAT, answer.content_format), (MAX_AGE, answer.max_age))
            if value is not None
        ]
        separate = request.type is Type.NON or self._duplicates.reply((sender, request.message_id)) != b""
        if not separate:
            datagram = bytes(Message(ACK, answer.code, request.message_id, request.coap_token, options, answer.payload))
            self._remember(request, sender, datagram)
            self._send(datagram, sender)
            return
        message_id = next(self._message_ids) & 0xFFFF
        kind = self._world.random.choice((CON, NON))
        datagram = bytes(Message(kind, answer.code, message_id, request.coap_token, options, answer.payload))
        self._unacknowledged.add(message_id)
        self._send_separate(datagram, message_id, sender, MOST_SENDS if kind == CON else 1)

    def _send_separate(self, datagram: bytes, message_id: int, sender: Address, left: int) -> None:
        if message_id in self._unacknowledged:
            self._send(datagram, sender)
            if left > 1:
                self._world.after(SEPARATE_TIMEOUT, lambda: self._send_separate(datagram, message_id, sender, left - 1))

    def _remember(self, request: Request, sender: Address, datagram: bytes) -> None:
        self._duplicates.remember((sender, request.message_id), datagram)

    def _send(self, datagram: bytes, receiver: Address) -> None:
        self._world.send(self.address, receiver, datagram)
