"""What must hold whatever happens (docs/protocol.md, "State machines"), looked at after each step of either side.

The truth is what the boards have sent: the bytes of every REQUEST and SUCCESS are remembered with who made them. What
a server believes, answers or makes durable is held against that.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from dpe_coap.binding import CONTENT_FORMAT_CBOR, Code
from dpe_coap.client_ids import client_id_bytes, client_id_of
from dpe_coap.numbers import MessageType, Status
from dpe_device import registration as client
from dpe_device import udp
from dpe_device.registration import Registration
from dpe_server.coap.duplicates import EXCHANGE_LIFETIME
from dpe_server.handling.reply import Reply
from dpe_server.keys.at_rest import AtRest
from dpe_server.registration.registrar import Prepared
from dpe_server.registration.transactions import LIFE, PER_DEVICE, State
from dpe_server.store.contract import Outcome, Session
from dpe_tools.simulation import tokens
from dpe_tools.simulation.world import Address, World

if TYPE_CHECKING:
    from dpe_tools.simulation.board import Board
    from dpe_tools.simulation.host import Host
    from dpe_tools.simulation.process import Process

HEADER = 22
"""Bytes of a client's request before its payload."""
MOST_SENDS = 5
"""Times that one datagram is sent (RFC 7252 section 4.8: MAX_RETRANSMIT + 1)."""

REGISTERED_IS_DURABLE = "REGISTERED has a durable row with the same Client ID and TH3"
CLIENT_IDS_DIFFER = "two devices never hold the same Client ID"
ONE_SESSION = "a device has at most one live session"
KEY_NEEDED = "no input without a valid key changes durable state"
SAME_REPLY = "the same bytes get the same reply while what they belong to lives"
AFTER_COMMIT = "CONFIRM leaves after the durable commit"
LIFE_ENDS = "a transaction is over when its life ends"
BOUNDED = "pending is bounded, per device and in total"
REVOKED = "a revoked device gets nothing"
NONCES_DIFFER = "no nonce is used twice"
TOKENS = "the security tokens are those of the protocol"
NEWER_WINS = "of two registrations the newer wins"
HEEDED = "only an answer to the open request is heeded"
CLIENT_RAISES = "nothing but MemoryError leaves the client"
NO_DEFECT = "nothing fails inside the server"
LAST_WORD = "in the end every device registers"
RETRANSMISSION = "a retransmission is the same bytes, at most five times"
DUPLICATES = "a duplicate is not decided again by the message layer"
WHOLE_RECORD = "what a board has stored is absent or whole"
PERSISTED = "SUCCESS(ok) leaves after its session is stored"


@dataclass(slots=True)
class Made:
    """A message that a device has made."""

    device: bytes
    datagram: bytes
    status: int = 0
    prk3: bytes = b""
    th3: bytes = b""
    client_id: bytes = b""
    sends: int = 1
    request: bytes = b""
    """Of a SUCCESS, the REQUEST before it."""


@dataclass(slots=True)
class Answered:
    """What a process has answered to a REQUEST."""

    response: bytes
    at: float
    of_device: int
    of_all: int


@dataclass(slots=True)
class Exchange:
    """A datagram that a process has read, and how it has acknowledged it."""

    request: bytes
    began: int
    acknowledgement: bytes = b""


@dataclass
class Memory:
    """What the invariants remember of one process."""

    answered: dict[bytes, Answered] = field(default_factory=dict)
    of_device: defaultdict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    of_all: int = 0
    offered: dict[tuple[bytes, int], float] = field(default_factory=dict)
    """When a Client ID was offered to a device."""
    exchanges: dict[tuple[Address, bytes], Exchange] = field(default_factory=dict)


class Invariants:
    """Told by all sides what they do; notes with ``World.fail`` what does not hold."""

    def __init__(self, world: World, at_rest: AtRest) -> None:
        self.boards: list[Board] = []
        self.hosts: list[Host] = []
        self._world = world
        self._at_rest = at_rest
        self._made: dict[bytes, Made] = {}
        self._successes: dict[bytes, Made] = {}
        self._keys: dict[bytes, tuple[bytes, str]] = {}
        self._committed: dict[bytes, Session] = {}
        self._of_device: defaultdict[bytes, list[Session]] = defaultdict(list)
        self._hosts: dict[bytes, Host] = {}
        self._requests: dict[bytes, bytes] = {}
        """By PRK3, what the offer was an answer to."""
        self._answers: defaultdict[bytes, list[int]] = defaultdict(list)
        """By REQUEST, the places of its RESPONSEs among all."""
        self._pruned: set[bytes] = set()
        self._nonces: set[tuple[bytes, bytes]] = set()
        self._memories: dict[Process, Memory] = defaultdict(Memory)

    def know(self, device: bytes, key: bytes, realm: str) -> None:
        """Take note of a device that has a valid key."""
        self._keys[device] = key, realm

    # the clients

    def board_sends(self, board: "Board", datagram: bytes) -> None:
        """Look at a datagram that a board is about to send."""
        payload = datagram[HEADER:]
        if not payload:
            return
        registration = board.registration
        assert registration is not None
        made = self._made.get(payload)
        again = registration._left < MOST_SENDS - 1  # not the first datagram of its exchange
        if payload[2] == MessageType.REQUEST:
            if made is None:
                self.request_made(board.device, datagram, payload)
            elif not again:
                self._world.fail(RETRANSMISSION, "a REQUEST in another exchange")
            else:
                self._sent_again(made, datagram)
        elif made is None:
            status = payload[13] if payload[13] < 24 else payload[14]  # a4 00 03 03 47 client-id 04 status
            made = Made(board.device, datagram, status, registration._prk3, registration._th, payload[5:12])
            # Not always the last REQUEST: after a power cut a stored session goes on, from before another attempt.
            made.request = self._requests.get(made.prk3, b"")
            self._made[payload] = self._successes[sha256(payload).digest()] = made
            if not tokens.success_is_valid(made.prk3, payload):
                self._world.fail(TOKENS, "SUCCESS")
            if status == Status.OK and (board.flash.record or b"")[26:33] != made.client_id:
                self._world.fail(PERSISTED, board.name)
        elif again:
            self._sent_again(made, datagram)
        else:
            made.datagram, made.sends = datagram, 1

    def request_made(self, device: bytes, datagram: bytes, payload: bytes) -> None:
        """Take note of a REQUEST that somebody with a valid key has made."""
        self._made[payload] = Made(device, datagram)
        self._fresh(device, payload)
        if not tokens.request_is_valid(*self._keys[device], payload):
            self._world.fail(TOKENS, "REQUEST")

    def _sent_again(self, made: Made, datagram: bytes) -> None:
        made.sends += 1
        if made.datagram != datagram:
            self._world.fail(RETRANSMISSION, "other bytes")
        elif made.sends > MOST_SENDS:
            self._world.fail(RETRANSMISSION, f"sent {made.sends} times")

    def _fresh(self, owner: bytes, payload: bytes) -> None:
        nonce = owner, payload[-32:-16]
        if nonce in self._nonces:
            self._world.fail(NONCES_DIFFER, f"of a {MessageType(payload[2]).name}")
        self._nonces.add(nonce)

    def stepped(self, board: "Board", before: str) -> None:
        """Look at a board after a step, which began in the state ``before``."""
        registration = board.registration
        assert registration is not None
        if registration.state == client.REGISTERED:
            row = self._registered(board, registration)
            if row is not None and before != client.REGISTERED:
                keys = self._at_rest.open_keys(row.sealed_keys, client_id_bytes(row.client_id))
                if registration.oscore is None or keys != b"".join(registration.oscore):
                    self._world.fail(REGISTERED_IS_DURABLE, "other keys")
        if not board.record_is_whole():
            self._world.fail(WHOLE_RECORD, board.name)

    def _registered(self, board: "Board", registration: Registration) -> Session | None:
        """Look at a board in REGISTERED; return its row."""
        host = self.host_of(registration)
        client_id = client_id_of(registration.client_id or b"")
        rows = [row for row in host.rows() if row.device == board.device]
        for row in rows:
            if row.client_id == client_id and row.th3 == registration._th:
                return row
        was = [s for s in self._of_device[board.device] if s.client_id == client_id and s.th3 == registration._th]
        over = [s for s in was if s.expires_at is not None and s.expires_at <= host.latest_wall]
        if not over and not (was and board.device in host.revoked):
            what = "the row is of another registration" if rows else "there is no row"
            self._world.fail(REGISTERED_IS_DURABLE, f"{board.name}: {what}")
        return None

    def host_of(self, registration: Registration) -> "Host":
        """Return the server that a client registers with."""
        address = udp.parse_uri(registration.server)
        return next(host for host in self.hosts if host.address == address)

    # the servers

    def live(self, host: "Host", batch: Sequence[bytes]) -> set[bytes]:
        """Return the hashes of those SUCCESSes of a batch whose session lives."""
        if not any(_is(payload, MessageType.SUCCESS) for payload in batch):
            return set()
        now = host.wall()
        live = {row.success_hash for row in host.rows() if row.expires_at is None or row.expires_at > now}
        return live.intersection(sha256(payload).digest() for payload in batch)

    def prepared(self, process: "Process", batch: Sequence[bytes], prepared: Prepared, now: float) -> None:
        """Look at a batch that a process has decided."""
        memory = self._memories[process]
        for payload, slot in zip(batch, prepared.slots, strict=True):
            if (
                isinstance(slot, Reply)
                and slot.content_format == CONTENT_FORMAT_CBOR
                and _is(payload, MessageType.REQUEST)
            ):
                self._responded(process, memory, payload, slot.payload, now)
        for session in prepared.sessions:
            self._explained(session)
            offered = memory.offered.get((session.device, session.client_id))
            if offered is not None and offered + LIFE <= now:
                self._world.fail(LIFE_ENDS, "a SUCCESS was taken")
        if len(process.transactions) > process.host.total:
            self._world.fail(BOUNDED, f"{len(process.transactions)} in total")

    def _responded(self, process: "Process", memory: Memory, request: bytes, response: bytes, now: float) -> None:
        made = self._made.get(request)
        if made is None:
            self._world.fail(KEY_NEEDED, "a RESPONSE to a REQUEST that no device has made")
            return
        known = memory.answered.get(request)
        if known is not None:
            lives = now < known.at + LIFE
            evicted = (
                memory.of_device[made.device] - known.of_device >= PER_DEVICE
                or memory.of_all - known.of_all >= process.host.total
            )
            if known.response == response:
                if not lives:
                    self._world.fail(LIFE_ENDS, "a RESPONSE was sent again")
                return
            if lives and not evicted:
                self._world.fail(SAME_REPLY, "another RESPONSE to the same REQUEST")
        memory.of_device[made.device] += 1
        memory.of_all += 1
        memory.answered[request] = Answered(response, now, memory.of_device[made.device], memory.of_all)
        self._began(process, memory, made, request, response, now)

    def _began(
        self, process: "Process", memory: Memory, made: Made, request: bytes, response: bytes, now: float
    ) -> None:
        """Look at a transaction that is new."""
        self._answers[request].append(len(self._nonces))
        self._fresh(b"", response)
        key, _ = self._keys[made.device]
        if b"\x06\x58\x20" not in response and not tokens.response_is_valid(key, request, response):
            self._world.fail(TOKENS, "RESPONSE")
        if made.device in process.host.revoked and process.host.fault != "unreadable":
            self._world.fail(REVOKED, "a RESPONSE")
        mine = process.transactions.of_device(made.device)
        if sum(one.state != State.COMMITTING for one in mine) > PER_DEVICE:
            self._world.fail(BOUNDED, f"{len(mine)} of one device")
        offer = next((one.offer for one in mine if one.response == response), None)
        if offer is None:
            return
        self._requests[offer.prk3] = request
        memory.offered[made.device, offer.client_id] = now
        rivals = process.transactions.of_client_id(offer.client_id)
        open_states = (State.PENDING, State.COMMITTING)
        holders = {row.device for row in process.host.rows() if row.client_id == offer.client_id}
        if holders - {made.device}:
            self._world.fail(CLIENT_IDS_DIFFER, "one is offered that another device has")
        # What a device has by another worker it may be offered again, whatever this worker has offered to whom.
        if not holders and any(one.device != made.device and one.state in open_states for one in rivals):
            self._world.fail(CLIENT_IDS_DIFFER, "one is offered to two")

    def _explained(self, session: Session) -> None:
        """Look at a session that is to be made durable."""
        made = self._successes.get(session.success_hash)
        client_id = client_id_bytes(session.client_id)
        if made is None:
            self._world.fail(KEY_NEEDED, "a session of a SUCCESS that no device has made")
        elif made.status != Status.OK or made.device != session.device or made.client_id != client_id:
            self._world.fail(KEY_NEEDED, f"a session of another SUCCESS, with status {made.status}")
        elif made.th3 != session.th3:
            self._world.fail(REGISTERED_IS_DURABLE, "the server has another TH3 than the client")

    def committed(self, host: "Host") -> None:
        """Look at what is durable after a commit."""
        rows = host.rows()
        if len({row.client_id for row in rows}) != len(rows):
            self._world.fail(CLIENT_IDS_DIFFER, "two rows have one")
        if len({row.device for row in rows}) != len(rows):
            self._world.fail(ONE_SESSION, "two rows have one device")
        for row in rows:
            if row.success_hash not in self._committed:
                self._explained(row)
                self._committed[row.success_hash] = row
                self._replaces(row, host)
                self._hosts[row.success_hash] = host
                self._of_device[row.device].append(row)
                self._world.counts["commits"] += 1
                if row.device in host.revoked:
                    self._world.fail(REVOKED, "a session")
        for board in self.boards:
            registration = board.registration
            if registration is not None and registration.state == client.REGISTERED:
                self._registered(board, registration)

    def _replaces(self, row: Session, host: "Host") -> None:
        """Look at a new row and at the one before it of the same device here, by the order of their RESPONSEs."""
        before = [one for one in self._of_device[row.device] if self._hosts[one.success_hash] is host]
        rows = [row, *[one for one in before[-1:] if one.success_hash not in self._pruned]]
        made = [self._successes[one.success_hash] for one in rows if one.success_hash in self._successes]
        if len(made) == 2:
            new, old = (self._answers[one.request] for one in made)
            if new and old and max(new) < min(old):
                self._world.fail(NEWER_WINS, "an older registration has replaced a newer one")

    def pruned(self, host: "Host", devices: Collection[bytes]) -> None:
        """Take note of sessions that are over and about to be forgotten."""
        self._pruned.update(row.success_hash for row in host.rows() if row.device in devices)

    def ended(self, process: "Process", sessions: Sequence[Session], outcomes: Sequence[Outcome]) -> None:
        """Take note of the transactions that end with a commit which did not take them."""
        for session, outcome in zip(sessions, outcomes, strict=True):
            made = self._successes.get(session.success_hash)
            if made is not None and outcome in (Outcome.CLIENT_ID_TAKEN, Outcome.REVOKED):
                self._memories[process].answered.pop(made.request, None)

    def completed(self, process: "Process", batch: Sequence[bytes], live: set[bytes], replies: Sequence[Reply]) -> None:
        """Look at the replies to a batch. ``live`` are the SUCCESSes whose session lived when it was decided."""
        for payload, reply in zip(batch, replies, strict=True):
            if not _is(payload, MessageType.SUCCESS):
                continue
            name = sha256(payload).digest()
            if reply.content_format == CONTENT_FORMAT_CBOR:
                self._confirmed(payload, name, reply.payload)
            lives = name in live and self.live(process.host, [payload])
            if lives and reply.code != Code.SERVICE_UNAVAILABLE and reply.payload != self._committed[name].confirm:
                self._world.fail(SAME_REPLY, "no CONFIRM to the SUCCESS of a live session")

    def _confirmed(self, success: bytes, name: bytes, confirm: bytes) -> None:
        made = self._made.get(success)
        if made is None:
            self._world.fail(KEY_NEEDED, "a CONFIRM to a SUCCESS that no device has made")
            return
        if not tokens.confirm_is_valid(made.prk3, made.th3, confirm):
            self._world.fail(TOKENS, "CONFIRM")
        status = confirm[4] if confirm[4] < 24 else confirm[5]  # a3 00 04 04 status
        if status == Status.OK:
            durable = self._committed.get(name)
            if durable is None:
                self._world.fail(AFTER_COMMIT, "it has not been made durable")
            elif durable.confirm != confirm:
                self._world.fail(SAME_REPLY, "another CONFIRM to the same SUCCESS")
        elif status == Status.RELEASED:
            if made.status == Status.OK:
                self._world.fail(SAME_REPLY, "released, though the device has not declined")
        else:
            others = (self._successes[row.success_hash] for row in self._of_device[made.device])
            mine = min(self._answers[made.request])
            if not any(max(self._answers[other.request]) > mine for other in others if other is not made):
                self._world.fail(NEWER_WINS, "there is no other")

    def server_reads(self, process: "Process", datagram: bytes, sender: Address) -> None:
        """Take note of a datagram that a process reads which leaves all to the message layer of aiocoap."""
        exchanges = self._memories[process].exchanges
        known = exchanges.get((sender, datagram[2:4]))
        now = self._world.now
        if known is None:
            exchanges[sender, datagram[2:4]] = Exchange(datagram, now)
        elif known.request != datagram:
            known.request = b""  # a message ID used twice, or damage: which of them is acknowledged is not to be seen

    def server_sends(self, process: "Process", datagram: bytes, receiver: Address) -> None:
        """Look at a datagram that such a process is about to send."""
        exchange = self._memories[process].exchanges.get((receiver, datagram[2:4]))
        if exchange is None or not exchange.request or datagram[0] >> 4 != 6:
            return
        if exchange.acknowledgement not in (b"", datagram):
            if self._world.now - exchange.began < EXCHANGE_LIFETIME * 1000:
                self._world.fail(DUPLICATES, "another acknowledgement of the same message")
            exchange.began = self._world.now
        exchange.acknowledgement = datagram


def _is(payload: bytes, kind: MessageType) -> bool:
    return payload[1:3] == bytes((0, kind))


def belongs(datagram: bytes, sender: Address | None, registration: Registration) -> bool:
    """Say whether a datagram may be the answer to the open request of a client (RFC 7252 sections 4.2 and 5.3.2)."""
    request = registration._request
    if sender != registration.peer or len(datagram) < 4 or datagram[0] >> 6 != 1 or not request:
        return False
    same_message = datagram[2:4] == request[2:4]
    same_token = datagram[0] & 15 == 2 and datagram[4:6] == request[4:6]
    kind = datagram[0] >> 4 & 3
    if kind == 3 or (kind == 2 and datagram[1] == 0):
        return same_message
    return same_token and (same_message or kind != 2)
