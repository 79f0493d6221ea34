"""What happens in a simulation, as far as an invariant must know: the actors emit it, the invariants listen.

Each event is a frozen record of plain data and of the server's own records; it leads to no actor. Boards, servers and
processes are known by their names, messages by their bytes. ``World.emit`` and ``World.on`` pass them on.
"""

from dataclasses import dataclass, field

from dpe_server.handling.reply import Reply
from dpe_server.store.contract import Outcome, Session

Address = tuple[str, int]
"""A host's name and a port."""


# the devices


@dataclass(frozen=True, slots=True)
class DeviceKnown:
    """A device has a valid key."""

    device: bytes
    key: bytes = field(repr=False)
    realm: str
    handle: bytes = field(repr=False)
    """The handle in its credential."""


@dataclass(frozen=True, slots=True)
class RequestSent:
    """A board, or the attacker as a device of its own, is about to send a REQUEST."""

    device: bytes
    request: bytes
    datagram: bytes
    again: bool
    """Whether the datagram is not the first of its exchange."""


@dataclass(frozen=True, slots=True)
class SuccessSent:
    """A board is about to send a SUCCESS."""

    device: bytes
    success: bytes
    datagram: bytes
    again: bool
    """Whether the datagram is not the first of its exchange."""
    prk3: bytes = field(repr=False)
    th3: bytes
    record: bytes | None = field(repr=False)
    """What is in the board's flash."""


@dataclass(frozen=True, slots=True)
class BoardHeeded:
    """A board with nothing due has been given a datagram, and has changed its state or its open exchange."""

    board: str
    datagram: bytes
    sender: Address | None
    peer: Address | None
    """Where the board's requests go."""
    before: str
    """The client's state when the datagram came."""
    state: str
    request: bytes
    """The datagram of the exchange that was open when this one came, empty if there was none."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The session that a client in REGISTERED has, or in READY or REPORTING."""

    server: Address
    client_id: int
    th3: bytes
    oscore: bytes = field(repr=False)
    """The master secret and the salt."""


@dataclass(frozen=True, slots=True)
class BoardChanged:
    """A board has booted, or a step has changed its session or its storage."""

    board: str
    device: bytes
    session: Registered | None
    """Of a client in REGISTERED, READY or REPORTING."""
    record: bytes | None = field(repr=False)
    """What is in the board's flash."""


@dataclass(frozen=True, slots=True)
class BoardOff:
    """A board has lost power."""

    board: str


@dataclass(frozen=True, slots=True)
class ClientRaised:
    """An exception that is not MemoryError has left a client."""

    board: str
    state: str
    error: str


@dataclass(frozen=True, slots=True)
class AcceptanceAsked:
    """A client has asked its application whether it accepts what the server offers."""

    client_id: bytes
    version: tuple[int, int]
    versions: tuple[tuple[int, int], ...]
    """The versions that the client speaks."""


@dataclass(frozen=True, slots=True)
class SiegeBegan:
    """The network loses nothing from here on, and nothing fails: all that is left are those who can only send."""


@dataclass(frozen=True, slots=True)
class SiegeInterrupted:
    """The network is bad again, until the siege begins anew."""


# the servers


@dataclass(frozen=True, slots=True)
class ServerKnown:
    """The server that devices register with at ``address``; an impostor there is not announced."""

    server: str
    address: Address


@dataclass(frozen=True, slots=True)
class Stored:
    """What is in a server's store: told whenever it may have changed, and when a process starts."""

    server: str
    rows: tuple[Session, ...]
    """All sessions that are durable, those past their end too, until they are ended."""
    latest_wall: float
    """The latest Unix time that this server's clock has shown."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Nothing is left of sessions that were over, not even their traces."""

    server: str
    rows: tuple[Session, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    """A device is on the revocation list of a server from now on."""

    server: str
    device: bytes


# their processes


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """A process of a server begins, and remembers nothing."""

    process: str
    server: str
    total: int
    """The most transactions that it keeps."""


@dataclass(frozen=True, slots=True)
class DatagramRead:
    """A process without the fast lane, which leaves all to the message layer of aiocoap, reads a datagram."""

    process: str
    datagram: bytes
    sender: Address


@dataclass(frozen=True, slots=True)
class DatagramSent:
    """A process without the fast lane is about to send a datagram."""

    process: str
    datagram: bytes
    receiver: Address


@dataclass(frozen=True, slots=True)
class ResponseGiven:
    """A process has decided to answer a REQUEST with a RESPONSE, which may be one that it has given before."""

    process: str
    now: float
    """Monotonic seconds."""
    request: bytes
    response: bytes
    offer: bool
    """Whether it offers a Client ID; else it is a refusal."""
    store_answers: bool
    """Whether the store can be read."""
    looked_for: int = 0
    """Milliseconds from when the REQUEST was read until what was looked up for it was there."""


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A process with a readable store has decided to answer a REQUEST with 5.03, without a RESPONSE."""

    process: str
    now: float
    """Monotonic seconds."""
    request: bytes


@dataclass(frozen=True, slots=True)
class TransactionBegan:
    """A process has given a RESPONSE that it had not given before; and what its table of transactions says about it."""

    process: str
    now: float
    """Monotonic seconds."""
    device: bytes
    request: bytes
    client_id: int | None
    """The Client ID that is offered, if any."""
    prk3: bytes = field(repr=False)
    """Of an offer."""
    rivals: tuple[bytes, ...]
    """The other devices that may still confirm an offer of the same Client ID."""
    of_device: int
    """How many transactions of this device await no commit, this one among them."""
    of_all: int
    """How many transactions there are."""
    looked_for: int = 0
    """As in ``ResponseGiven``."""


@dataclass(frozen=True, slots=True)
class SessionMade:
    """A process has decided that a session is to be made durable."""

    process: str
    now: float
    """Monotonic seconds."""
    session: Session


@dataclass(frozen=True, slots=True)
class SessionSettled:
    """A process has been told what has become of a session in its commit."""

    process: str
    session: Session
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class SuccessRead:
    """A process begins to read a batch that has a SUCCESS in it."""

    process: str
    batch: int
    """Its number in the process."""
    success: bytes
    wall: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class SuccessAnswered:
    """A process answers a SUCCESS."""

    process: str
    batch: int
    """Its number in the process."""
    success: bytes
    reply: Reply
    confirm: bytes
    """The CONFIRM in it, empty if it has none."""
    now: float
    """Monotonic seconds."""
    wall: float
    """Unix time."""


# and the run


@dataclass(frozen=True, slots=True)
class DefectSeen:
    """The server has logged something that cannot be, or an exception has left it."""

    what: str


@dataclass(frozen=True, slots=True)
class PatienceOver:
    """The trouble has long been over, and not all boards are REGISTERED."""

    states: tuple[tuple[str, str], ...]
    """Each board's name and state."""
