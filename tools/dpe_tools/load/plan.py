"""The description of a load: how many devices, how their registrations come, on how bad a link."""

from dataclasses import dataclass, field, replace

from dpe_coap.imei import Imei
from dpe_tools.faults import Faults

MOST_DEVICES = 10_000_000
"""There are no loopback addresses for more devices."""


FIRST_PROPERTY = 1000
"""The number of the first property that a simulated device reports: one of an operator's own."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What each device does in its session. The shares are from 0 to 1."""

    reports: int | None
    """How many; None: until the load is over."""
    every: float = 5.0
    """Seconds from one report to the next, half as many more or less. A server lets a device report once a second."""
    properties: int = 1
    """In each report."""
    sleep: float = 0.0
    """The share of reports after which the device sleeps until the next, and hears nothing."""
    reboot: float = 0.0
    """The share of reports with which the device loses power: half of them before the answer comes."""
    end: float = 0.0
    """The share of devices that deregister in the end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The load of one process or of all.

    Registrations come at random times, ``rate`` per second on average; or ``at_once`` are under way at all times; or,
    with neither, all come at once. They end when ``registrations`` have begun or, if that is None, after ``duration``,
    which also ends the reports. The devices take turns. ``seed`` repeats arrivals and faults.
    """

    devices: range
    """The numbers of the devices."""
    registrations: int | None
    rate: float | None = None
    at_once: int | None = None
    duration: float | None = None
    """Seconds."""
    timeout: float = 120.0
    """Seconds after its arrival in which a registration must succeed."""
    faults: Faults = field(default_factory=Faults)
    seed: str = "1"
    suite: int = 1
    ack_timeout: int = 2000
    """Of the device client, in ms."""
    backoff: int = 5000
    """Of the device client, in ms."""
    talk: Talk | None = None
    """What comes after a registration; None: nothing."""

    @property
    def title(self) -> str:
        """The load in a few words."""
        if self.rate is not None:
            how = f"{self.rate:g} arrivals a second"
        elif self.at_once is not None:
            how = f"{self.at_once} at once"
        else:
            how = "all at once after a reboot"
        return f"{len(self.devices)} devices, {how}"

    def share(self, index: int, processes: int) -> "Plan":
        """Return the part of one process, whose devices are every n-th of all, for n processes."""

        def part(whole: int | None) -> int | None:
            return None if whole is None else whole // processes + (index < whole % processes)

        return replace(
            self,
            devices=self.devices[index::processes],
            registrations=part(self.registrations),
            rate=None if self.rate is None else self.rate / processes,
            at_once=part(self.at_once),
            seed=f"{self.seed} {index}",
        )


def imei(number: int) -> Imei:
    """Return the IMEI of a simulated device, under the reporting body for tests (00). No real device has it."""
    return Imei.parse(f"0010{number:010d}")
