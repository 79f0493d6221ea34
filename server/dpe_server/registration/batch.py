"""What the registrar remembers of a batch of REQUESTs and SUCCESSes until it is over."""

from dataclasses import dataclass, field

from dpe_coap.messages import Success
from dpe_server.handling.handler import Batch
from dpe_server.handling.reply import Reply
from dpe_server.registration.admission import Applications
from dpe_server.registration.transactions import Transaction
from dpe_server.store.contract import Session


@dataclass(slots=True)
class Confirmation:
    """A SUCCESS(ok) from when it is accepted until its commit is over. Its repetitions wait for the same reply."""

    transaction: Transaction
    session: Session
    reply: Reply
    end: bytes  # of the SUCCESS (AuditRecord)


@dataclass(slots=True)
class Registrations(Batch):
    """A batch of REQUESTs and SUCCESSes."""

    slots: list[Reply | Confirmation] = field(default_factory=list)
    """The replies, or what they wait for."""
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    """Place and TH1 of each REQUEST that is new."""
    applications: Applications | None = None
    """The new REQUESTs, until they are answered."""
    number: int = 0
    """What their first look has told (``OrdinalSource.begin``)."""
    successes: list[tuple[int, Success, bytes]] = field(default_factory=list)
    """Place, message and payload of each SUCCESS, until its transaction has been looked for."""
    unknown: list[tuple[int, int, bytes]] = field(default_factory=list)
    """Place, Client ID and payload of each SUCCESS that fits no transaction: the store may know its session."""
    confirmations: list[Confirmation] = field(default_factory=list)
    """One for each change, in the same order."""
