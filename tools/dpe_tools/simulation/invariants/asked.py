"""What devices have asked for in their sessions, and what commits have accepted of it: the truth for all that follows.

Everything is read from the wire again, with the keys that the devices have: nothing is taken from a server's word but
which number a commit has accepted, and when; and which of several requests with that number, where there are any.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_coap.session_messages import MAX_PROPERTIES, MAX_RECORD, decode_report
from dpe_server.store.contract import Contact, Deregister, Session
from dpe_tools.simulation.events import Registered, Stored
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.session_events import (
    Accepted,
    PolicyLoaded,
    ProtectedRead,
    ProtectedSent,
    RequestsAccepted,
)
from dpe_tools.simulation.world import World

POST, DELETE = 2, 4
NULL = b"\xf6"
_BEFORE_REPORT = b"\xb3dpe\x11\x3c\xff"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a device has made."""

    device: bytes
    session: bytes
    """TH3."""
    number: int
    method: int
    report: bytes
    """The dpe-report of a POST."""


@dataclass(frozen=True, slots=True)
class Held:
    """What must be durable of a session."""

    mark: int | None
    expires_at: int | None
    values: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    """Encoded properties and values, and when they were accepted (Unix seconds)."""


@dataclass(slots=True)
class InSession:
    """A session as its device knows it."""

    device: bytes
    registered: Registered
    keys: oscore.Keys = field(repr=False)
    held: Held | None = None
    """None: it has not been durable yet."""
    accepted: dict[int, Asked] = field(default_factory=dict)
    ends: bool = False
    """Whether its device has sent a DELETE."""


class Requests:
    """All requests of all sessions. It sees an event before any invariant does."""

    def __init__(self, world: World, durable: Durable) -> None:
        self.sessions: dict[bytes, InSession] = {}
        """By TH3."""
        self.made: dict[bytes, Asked] = {}
        """By what the server is to decide."""
        self.just: list[tuple[Asked | None, Session | None, bool]] = []
        """What the last ``RequestsAccepted`` has accepted, the row that there was, and whether that is new."""
        self.told: dict[tuple[str, str], tuple[bytes, int | None]] = {}
        """By process and rule, the dpe-answer and the lifetime that devices are told."""
        self._lifetimes: dict[tuple[str, bytes, int], set[int | None]] = {}
        """By process, session and number: the lifetimes that were told when it read a request with that number."""
        self._numbers: dict[tuple[bytes, int], list[Asked]] = {}
        """By session and number; several requests have one if the device's storage was rolled back."""
        self._durable = durable
        self._rows: dict[bytes, Session] = {}
        world.on(ProtectedSent, self._sent)
        world.on(Stored, self._stored)
        world.on(PolicyLoaded, self._loaded)
        world.on(ProtectedRead, self._read)
        world.on(RequestsAccepted, self._accepted)

    def _loaded(self, event: PolicyLoaded) -> None:
        self.told |= {(event.process, rule): (answer, lifetime) for rule, answer, lifetime in event.told}

    def _sent(self, event: ProtectedSent) -> None:
        request, session = event.request, event.session
        known = self.sessions.get(session.th3)
        if known is None:
            master = session.oscore
            keys = oscore.derive(master[:16], master[16:], client_id_bytes(session.client_id))
            known = self.sessions[session.th3] = InSession(event.device, session, keys)
            self._begin(session.th3)
        if request not in self.made:
            asked = self.made[request] = _read(event, known.keys)
            self._numbers.setdefault((session.th3, asked.number), []).append(asked)
            known.ends |= asked.method == DELETE

    def _begin(self, th3: bytes) -> None:
        row, known = self._rows.get(th3), self.sessions.get(th3)
        if row is not None and known is not None and known.held is None:
            known.held = Held(None, row.expires_at)

    def _stored(self, _: Stored) -> None:
        for row in self._durable.new:
            self._rows[row.th3] = row
            self._begin(row.th3)

    def _read(self, event: ProtectedRead) -> None:
        asked = self.made.get(event.request)
        row = None if asked is None else self._rows.get(asked.session)
        told = None if row is None else self.told.get((event.process, row.rule))
        if asked is not None and told is not None:  # another server may have no such rule
            self._lifetimes.setdefault((event.process, asked.session, asked.number), set()).add(told[1])

    def _lifetime(self, process: str, accepted: Accepted, asked: Asked, rule: str) -> int | None:
        """Return the lifetime that goes with an accepted request.

        The database may carry out what it was given before the process crashed, and has another policy since.
        """
        told = self._lifetimes.get((process, asked.session, asked.number), ())
        if isinstance(accepted, Contact) and accepted.lifetime in told:
            return accepted.lifetime
        return self.told[process, rule][1]

    def _accepted(self, event: RequestsAccepted) -> None:
        self.just = []
        server = self._durable.server_of[event.process]
        for one in event.accepted:
            row = self._durable.by_ordinal.get((server, one.client_id, one.ordinal))
            asked = None if row is None else _which(one, self._numbers.get((row.th3, one.number), []))
            if row is None or asked is None:
                self.just.append((None, row, False))
                continue
            known = self.sessions[row.th3]
            is_new = one.number not in known.accepted
            self.just.append((asked, row, is_new))
            known.accepted[one.number] = asked
            if known.held is not None:
                lifetime = self._lifetime(event.process, one, asked, row.rule)
                known.held = _after(known.held, asked, int(event.wall), lifetime)


def _read(event: ProtectedSent, keys: oscore.Keys) -> Asked:
    """Open a request as a server of RFC 8613 would; ValueError if it is none."""
    end = 1 + (event.request[0] & 7) + oscore.MAX_ID
    sender, number = oscore.read_option(event.request[:end])
    nonce, data = oscore.nonce(keys.common_iv, sender, number), oscore.additional_data(sender, number)
    plaintext = oscore.decrypt(keys.client, nonce, data, event.request[end + 1 :])
    if plaintext is None:
        raise ValueError("a device has sent what its own keys do not open")
    method, rest = plaintext[0], plaintext[1:].removeprefix(_BEFORE_REPORT)
    return Asked(event.device, event.session.th3, number, method, rest if method == POST else b"")


def _which(accepted: Accepted, asked: Sequence[Asked]) -> Asked | None:
    """Return which of the requests with one number was accepted."""
    if len(asked) < 2:
        return asked[0] if asked else None
    return next((one for one in asked if _is_of(accepted, one)), None)


def _is_of(accepted: Accepted, asked: Asked) -> bool:
    if isinstance(accepted, Deregister) or asked.method != POST:
        return isinstance(accepted, Deregister) and asked.method == DELETE
    return (accepted.items or {}) == (decode_report(asked.report).properties or {})


def opened(asked: Asked, known: InSession, ciphertext: bytes) -> bytes | None:
    """Return the plaintext of a response to a request; None if no server with the session's keys has made it."""
    sender = client_id_bytes(known.registered.client_id)
    nonce = oscore.nonce(known.keys.common_iv, sender, asked.number)
    return oscore.decrypt(known.keys.server, nonce, oscore.additional_data(sender, asked.number), ciphertext)


def _after(held: Held, asked: Asked, now: int, lifetime: int | None) -> Held:
    """Return what is held once a request is accepted."""
    held = replace(held, mark=asked.number)
    values = dict(held.values)
    reported = decode_report(asked.report).properties if asked.method == POST else None
    for property_, value in (reported or {}).items():
        if value == NULL:
            values.pop(property_, None)
        else:
            values[property_] = value, now
    if len(values) > MAX_PROPERTIES or sum(map(len, _items(values))) > MAX_RECORD:
        return held  # nothing of it is applied
    return replace(held, values=values, expires_at=None if lifetime is None else now + lifetime)


def _items(values: dict[bytes, tuple[bytes, int]]) -> Iterator[bytes]:
    for property_, (value, _) in values.items():
        yield property_
        yield value
