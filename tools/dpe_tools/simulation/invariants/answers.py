"""What is answered in sessions: under protection once, after the commit, what the rule says, and always the same.

What is not protected says nothing.
"""

from dataclasses import dataclass
from hashlib import sha256

import cbor2

from dpe_coap.binding import Code
from dpe_coap.session_messages import decode_report
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.session.answers import LIFE, REPEATS
from dpe_tools.simulation.invariants.asked import DELETE, POST, Asked, Requests, opened
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.names import (
    END_IS_DURABLE,
    MARK_IS_DURABLE,
    ONE_PLAINTEXT,
    ONLY_PROTECTED,
    REFUSED_ALIKE,
    REQUEST_NEEDS_KEY,
    SAME_REPLY,
    TOLD,
)
from dpe_tools.simulation.session_events import (
    PolicyLoaded,
    ProtectedAnswered,
    ProtectedRead,
    ResponseBelieved,
    Unauthorized,
)
from dpe_tools.simulation.world import World

_CBOR = b"\xc1\x3c\xff"
"""Content-Format 60 as the first option of a response, and the marker of its payload."""
_TOO_LARGE = b"\x8d"


@dataclass(slots=True)
class _Last:
    """The last answer of a process in a session."""

    request: bytes
    asked: Asked
    at: float
    repeats: int = 0

    def keeps(self, now: float) -> bool:
        """Whether it must still be sent again."""
        return self.repeats <= REPEATS and now <= self.at + LIFE


class Answers:
    """Looks at each answer when it is made, and when it is believed."""

    def __init__(self, world: World, durable: Durable, requests: Requests) -> None:
        self._fail = world.fail
        self._durable = durable
        self._requests = requests
        self._given: dict[tuple[bytes, int], bytes] = {}
        """By session and number, the ciphertext."""
        self._by: set[tuple[str, bytes]] = set()
        """Each process that has answered a request under protection, and the request."""
        self._plaintexts: dict[tuple[bytes, int], bytes] = {}
        """By session and number. If a storage that was rolled back has repeated a number, the answer to the one request
        cannot be told from one to the other."""
        self._last: dict[tuple[str, int], _Last] = {}
        """By process and Client ID: a session that has been replaced makes room too."""
        world.on(PolicyLoaded, self._loaded)
        world.on(ProtectedRead, self._read)
        world.on(ProtectedAnswered, self._answered)
        world.on(ResponseBelieved, self._believed)
        world.on(Unauthorized, self._refused)

    def _loaded(self, event: PolicyLoaded) -> None:
        for rule, answer, lifetime in event.told:
            told = cbor2.loads(answer)
            etag = told.pop(0)
            if sha256(cbor2.dumps(told)).digest()[:4] != etag or told.get(2) != lifetime:
                self._fail(TOLD, f"rule {rule} has an etag of something else")

    def _read(self, event: ProtectedRead) -> None:
        asked = self._requests.made.get(event.request)
        last = None if asked is None else self._last.get(self._name(event.process, asked))
        if last is not None and last.request == event.request:
            last.repeats += 1

    def _name(self, process: str, asked: Asked) -> tuple[str, int]:
        return process, self._requests.sessions[asked.session].registered.client_id

    def _answered(self, event: ProtectedAnswered) -> None:
        asked, reply = self._requests.made.get(event.request), event.reply
        if reply.code == Code.UNAUTHORIZED and reply != UNAUTHORIZED:
            self._fail(REFUSED_ALIKE, "it has more than its code")
        if asked is None:
            if reply.protected:
                self._fail(REQUEST_NEEDS_KEY, "a protected answer")
            return
        name = self._name(event.process, asked)
        last = self._last.get(name)
        if reply.protected:
            given = self._given.get((asked.session, asked.number))
            if given is None or (event.process, event.request) not in self._by:
                self._by.add((event.process, event.request))
                if last is None or last.asked.session != asked.session or last.asked.number < asked.number:
                    self._last[name] = _Last(event.request, asked, event.now)
                self._protected(event, asked, reply.payload)
            elif reply.payload != given:
                self._fail(SAME_REPLY, "another answer to the same request")
        elif last is not None and last.request == event.request and last.keeps(event.now):
            self._fail(SAME_REPLY, "a request of a session that was answered is refused")

    def _protected(self, event: ProtectedAnswered, asked: Asked, ciphertext: bytes) -> None:
        known = self._requests.sessions[asked.session]
        if asked.number not in known.accepted:
            self._fail(MARK_IS_DURABLE, f"number {asked.number} has not been accepted")
            return
        if self._given.setdefault((asked.session, asked.number), ciphertext) != ciphertext:
            self._fail(ONE_PLAINTEXT, "of a response")
        plaintext = opened(asked, known, ciphertext)
        if plaintext is None:
            self._fail(TOLD, "the device cannot open it")
            return
        self._plaintexts[asked.session, asked.number] = plaintext
        if asked.method == DELETE:
            rows = self._durable.rows[self._durable.server_of[event.process]]
            if any(row.th3 == asked.session for row in rows):
                self._fail(END_IS_DURABLE, "the row is still there")
        elif plaintext[:1] != _TOO_LARGE and plaintext != self._expected(event.process, asked):
            self._fail(TOLD, "it is told something else")

    def _expected(self, process: str, asked: Asked) -> bytes:
        row = self._durable.by_th3[asked.session]
        answer, _ = self._requests.told[process, row.rule]
        if asked.method != POST:
            return b"\x45" + _CBOR + answer
        return (
            b"\x44" if decode_report(asked.report).policy_etag == cbor2.loads(answer)[0] else b"\x44" + _CBOR + answer
        )

    def _believed(self, event: ResponseBelieved) -> None:
        asked = self._requests.made[event.request]
        plaintext = self._plaintexts.get((asked.session, asked.number), b"")
        _, _, payload = plaintext.partition(b"\xff")
        if (event.code, event.payload) != (plaintext[:1] and plaintext[0], payload):
            self._fail(ONLY_PROTECTED, f"code {event.code}")

    def _refused(self, event: Unauthorized) -> None:
        size = event.datagram[0] & 15
        if len(event.datagram) != 4 + size:
            self._fail(REFUSED_ALIKE, f"{len(event.datagram) - 4 - size} bytes behind the CoAP token")
