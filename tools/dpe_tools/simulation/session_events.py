"""What happens in a simulation once devices are registered: the other half of ``events``."""

from dataclasses import dataclass, field

from dpe_server.handling.reply import Reply
from dpe_server.store.contract import Contact, Deregister
from dpe_tools.simulation.events import Registered

# the devices


@dataclass(frozen=True, slots=True)
class RecordSaved:
    """A record is in a board's flash now, whatever the client is told of that."""

    device: bytes
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Somebody has put an earlier record into a board's flash."""

    device: bytes
    record: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProtectedSent:
    """A board is about to send a request of its session."""

    device: bytes
    session: Registered
    request: bytes
    """What the server is to decide: the value of the OSCORE option, a payload marker and the ciphertext."""
    datagram: bytes
    again: bool
    """Whether the datagram is not the first of its exchange."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Copies of a request of a session are on their way to its server, from other addresses."""

    request: bytes
    """As in ``ProtectedSent``."""


@dataclass(frozen=True, slots=True)
class ResponseBelieved:
    """A board believes a response of its session."""

    device: bytes
    request: bytes
    """As in ``ProtectedSent``: what it is an answer to."""
    code: int
    payload: bytes = field(repr=False)


# the servers and their processes


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    """An operator has ended sessions, or has put back an earlier copy of the database."""

    sessions: tuple[bytes, ...]
    """The SHA-256 of the SUCCESS of each."""


@dataclass(frozen=True, slots=True)
class PolicyLoaded:
    """What a process tells devices to report from now on."""

    process: str
    told: tuple[tuple[str, bytes, int | None], ...]
    """Of each rule that accepts devices: its name, the dpe-answer, and how long sessions live (s, None: for ever)."""


Accepted = Contact | Deregister
"""A request of a session that a commit has accepted."""


@dataclass(frozen=True, slots=True)
class RequestsAccepted:
    """A commit of a process has accepted these, in this order. Told before ``Stored``."""

    process: str
    wall: float
    """Unix time."""
    accepted: tuple[Accepted, ...]


@dataclass(frozen=True, slots=True)
class ProtectedRead:
    """A process begins to read a batch that has a request of a session in it."""

    process: str
    request: bytes
    """As in ``ProtectedSent``."""


@dataclass(frozen=True, slots=True)
class ProtectedAnswered:
    """A process answers a request of a session."""

    process: str
    now: float
    """Monotonic seconds."""
    request: bytes
    """As in ``ProtectedSent``."""
    reply: Reply


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """A process is about to send 4.01."""

    process: str
    datagram: bytes
