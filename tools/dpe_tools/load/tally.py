"""What a fleet counts."""

from collections import Counter
from dataclasses import dataclass, field, fields

from dpe_tools.load.histogram import Histogram


@dataclass(slots=True)
class Tally:
    """The counts of one process; ``merge`` adds those of the others."""

    begun: int = 0
    registered: int = 0
    requests: int = 0
    """REQUESTs that were made. There are more than registrations if one had to start over."""
    first_time: int = 0
    """Registrations that succeeded without starting over."""
    failed: Counter[str] = field(default_factory=Counter)
    """Registrations that did not succeed, by the client's state when they were given up."""
    under_way: Counter[str] = field(default_factory=Counter)
    """Registrations under way, by the client's state."""
    refusals: Counter[int] = field(default_factory=Counter)
    """Statuses under a valid security token, other than ok."""
    errors: Counter[int] = field(default_factory=Counter)
    """CoAP codes of error responses, authenticated or not."""
    sent: int = 0
    received: int = 0
    retransmissions: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """What the link did to datagrams, by fault."""
    overflowed: int = 0
    """Datagrams that the kernel dropped because this process did not read them in time."""
    response: Histogram = field(default_factory=Histogram)
    """From the first transmission of a REQUEST to its RESPONSE."""
    confirm: Histogram = field(default_factory=Histogram)
    """From the first transmission of a SUCCESS to its CONFIRM."""
    registration: Histogram = field(default_factory=Histogram)
    """From the arrival of a registration to its CONFIRM."""
    reports: int = 0
    """Reports that were begun."""
    reported: int = 0
    """Reports that the server has taken."""
    cut_off: int = 0
    """Reports whose device lost power before the answer came."""
    unreported: Counter[str] = field(default_factory=Counter)
    """Reports that got no answer, by the device's state when they were given up."""
    problems: Counter[int] = field(default_factory=Counter)
    """CoAP codes of protected errors."""
    slept: int = 0
    rebooted: int = 0
    anew: int = 0
    """Registrations in the middle of a session, because the server did not know it any more."""
    ended: int = 0
    """Devices that have deregistered."""
    unconfirmed: int = 0
    """Devices that wished to deregister, but have not heard that they have."""
    report: Histogram = field(default_factory=Histogram)
    """From the first transmission of a report to its answer."""
    latest: int = 0
    """The greatest delay, in µs, with which a registration began."""
    processor: float = 0.0
    """Seconds of processor time."""
    seconds: float = 0.0
    """From the beginning to the end, or to now."""

    def merge(self, other: "Tally") -> None:
        """Add the counts of another process."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if one.name in ("latest", "seconds"):
                setattr(self, one.name, max(mine, theirs))
            elif isinstance(mine, Counter):
                mine.update(theirs)
            elif isinstance(mine, Histogram):
                mine.merge(theirs)
            else:
                setattr(self, one.name, mine + theirs)
