"""The report of a load, for a person and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from dpe_tools.annotate import status_name
from dpe_tools.load.histogram import Histogram
from dpe_tools.load.ledger import Agreement
from dpe_tools.load.tally import Tally

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BAR = 40
BUSY = 0.9
"""From this share of a core on, a process of devices may limit the load."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a load. ``agreement`` is None if the server's store is not available."""

    server: str
    load: str
    processes: int
    tally: Tally
    agreement: Agreement | None
    interrupted: bool

    @property
    def rate(self) -> float:
        """Successful registrations per second."""
        return self.tally.registered / self.tally.seconds if self.tally.seconds else 0.0

    @property
    def succeeded(self) -> float:
        """The percentage of registrations that ended REGISTERED."""
        return 100 * self.tally.registered / self.tally.begun if self.tally.begun else 0.0

    @property
    def busy(self) -> float:
        """The share of a core that a process of devices used on average."""
        return self.tally.processor / self.tally.seconds / self.processes if self.tally.seconds else 0.0

    @property
    def latencies(self) -> dict[str, Histogram]:
        """The histograms by what they measure."""
        return {
            "REQUEST to RESPONSE": self.tally.response,
            "SUCCESS to CONFIRM": self.tally.confirm,
            "registration": self.tally.registration,
            **({"report to answer": self.tally.report} if self.talks else {}),
        }

    @property
    def talks(self) -> bool:
        """Whether the load had sessions."""
        return bool(self.tally.reports)

    @property
    def reported(self) -> float:
        """The percentage of reports that the server has taken, of those whose devices did not lose power."""
        meant = self.tally.reports - self.tally.cut_off
        return 100 * self.tally.reported / meant if meant else 100.0

    def json(self) -> dict[str, Any]:
        """Return the report as a JSON object. Times are in seconds, latencies in µs."""
        tally = self.tally
        return {
            "server": self.server,
            "load": self.load,
            "seconds": round(self.tally.seconds, 3),
            "interrupted": self.interrupted,
            "registrations": {
                "begun": tally.begun,
                "REGISTERED": tally.registered,
                "first time": tally.first_time,
                "REQUESTs": tally.requests,
                "failed": dict(tally.failed),
            },
            "rate": round(self.rate, 1),
            "sessions": None
            if not self.talks
            else {
                "reports": tally.reports,
                "taken": tally.reported,
                "cut off": tally.cut_off,
                "failed": dict(tally.unreported),
                "problems": {_dotted(code): count for code, count in sorted(tally.problems.items())},
                "slept": tally.slept,
                "rebooted": tally.rebooted,
                "registered anew": tally.anew,
                "ended": tally.ended,
                "end not confirmed": tally.unconfirmed,
            },
            "refusals": {status_name(status): count for status, count in sorted(tally.refusals.items())},
            "errors": {_dotted(code): count for code, count in sorted(tally.errors.items())},
            "datagrams": {
                "sent": tally.sent,
                "received": tally.received,
                "retransmitted": tally.retransmissions,
                "faults": {fault: count for fault, count in tally.faults.items() if count},
                "overflowed": tally.overflowed,
            },
            "latency": {name: _latency(histogram) for name, histogram in self.latencies.items()},
            "generator": {
                "processes": self.processes,
                "busy": round(self.busy, 3),
                "latest": tally.latest,
            },
            "store": None if self.agreement is None else asdict(self.agreement) | {"holds": self.agreement.holds},
        }

    def lines(self) -> list[str]:
        """Return the report as text, line by line."""
        tally = self.tally
        ended = f"{tally.registered} of {tally.begun} registrations ended REGISTERED"
        lines = [f"{self.load}, at {self.server}"]
        if self.talks:
            taken = f"{tally.reported} of {tally.reports} reports were taken"
            lines += [ended, f"{taken} in {tally.seconds:.1f} s: {tally.reported / tally.seconds:.0f} a second"]
        else:
            lines.append(f"{ended} in {tally.seconds:.1f} s: {self.rate:.0f} a second")
        if self.interrupted:
            lines.append("interrupted: what was under way counts as GIVEN UP")
        for name, counts in (
            ("not registered", [f"{state} {count}" for state, count in tally.failed.most_common()]),
            ("not reported", [f"{state} {count}" for state, count in tally.unreported.most_common()]),
            ("the devices", [f"{what} {count}" for what, count in self._mishaps() if count]),
            ("problems", [f"{_dotted(code)} {count}" for code, count in tally.problems.most_common()]),
            ("refusals", [f"{status_name(status)} {count}" for status, count in tally.refusals.most_common()]),
            ("error codes", [f"{_dotted(code)} {count}" for code, count in tally.errors.most_common()]),
            ("the link", [f"{fault} {count}" for fault, count in tally.faults.items() if count]),
        ):
            if counts:
                lines.append(f"{name:<16}{', '.join(counts)}")
        sent = f"{tally.sent} sent, {tally.retransmissions} of them again; {tally.received} received"
        lines += [f"{'datagrams':<16}{sent}", "", *self._table(), "", *_bars(tally.registration), ""]
        return lines + self._notes()

    def _mishaps(self) -> list[tuple[str, int]]:
        tally = self.tally
        return [
            ("slept", tally.slept),
            ("rebooted", tally.rebooted),
            ("lost power before the answer", tally.cut_off),
            ("registered anew", tally.anew),
            ("ended their session", tally.ended),
            ("did not hear of its end", tally.unconfirmed),
        ]

    def _table(self) -> list[str]:
        names = [f"p{percent:g}" for percent in PERCENTILES] + ["max"]
        lines = [f"{'latency, ms':<20}" + "".join(f"{name:>10}" for name in names)]
        for name, histogram in self.latencies.items():
            values = [*map(histogram.percentile, PERCENTILES), histogram.most]
            lines.append(f"{name:<20}" + "".join(f"{value / 1000:>10.2f}" for value in values))
        return lines

    def _notes(self) -> list[str]:
        late = f"the latest registration began {self.tally.latest / 1000:.1f} ms after its time"
        lines = [f"generator: {self.busy:.0%} of a core for each of {self.processes}; {late}"]
        if self.busy > BUSY:
            lines.append("its devices may be what limits this load: use more --processes, on cores that are free")
        if self.tally.overflowed:
            lines.append(f"{self.tally.overflowed} datagrams overflowed its own sockets: the server is not to blame")
        if self.agreement is None:
            lines.append("the server's store is not at hand (no STATE): not compared")
        elif self.agreement.holds:
            lines.append(self._stored(self.agreement))
        else:
            wrong = {name.replace("_", " "): count for name, count in asdict(self.agreement).items() if count}
            lines.append(f"STORE AND DEVICES DISAGREE: {', '.join(f'{name} {n}' for name, n in wrong.items())}")
        return lines

    def _stored(self, agreement: Agreement) -> str:
        record = ", and what it has reported last" if self.talks else ""
        line = f"store: {agreement.devices} devices, each with its one session, Client ID and keys{record}"
        return line + (f"; {agreement.ended} without one, which has ended" if agreement.ended else "")


def _latency(histogram: Histogram) -> dict[str, Any]:
    return {
        "count": histogram.count,
        **{f"p{percent:g}": histogram.percentile(percent) for percent in PERCENTILES},
        "max": histogram.most,
        "histogram": list(histogram),
    }


def _dotted(code: int) -> str:
    return f"{code >> 5}.{code & 31:02d}"


def _bars(histogram: Histogram) -> list[str]:
    """Draw the latencies of whole registrations, with a bar for each power of two."""
    powers: dict[int, int] = {}
    for upper, count in histogram:
        powers[upper.bit_length()] = powers.get(upper.bit_length(), 0) + count
    if not powers:
        return []
    most = max(powers.values())
    lines = ["registrations by how long they took, ms"]
    for power in range(min(powers), max(powers) + 1):
        count = powers.get(power, 0)
        bar = "#" * -(-BAR * count // most)
        lines.append(f"{(1 << power) / 2000:>10.2f} to {(1 << power) / 1000:<10.2f}{count:>9}  {bar}".rstrip())
    return lines
