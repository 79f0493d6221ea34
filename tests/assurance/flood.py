"""A flood of forged, replayed and valid messages at ten times a server's capacity, and what it does to honest devices.

The server has one core; the flood and the honest devices share another. First the server's capacity is measured. Then
honest devices register at a steady rate, without a flood and with one. The flood has five kinds of message, a fifth
each: REQUESTs with a forged handle, REQUESTs with a forged MAC, recorded REQUESTs, recorded SUCCESSes, and fresh valid
REQUESTs that are never confirmed. It comes from --sources addresses. The devices keep to CoAP's times. Their rate is
how many complete per second, compared with how many arrive. In the end every device that is REGISTERED is compared with
the database.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dpe_bench import fleet, generator
from dpe_bench.native import compile_c
from dpe_bench.process import on_core
from dpe_coap.errors import LocalError
from dpe_tools.server_process import ServerProcess
from tests.assurance import trials
from tests.assurance.crowd import Crowd, open_state, steady_port

KINDS = ("forged handle", "forged MAC", "replayed REQUEST", "replayed SUCCESS", "valid REQUEST")
FIRST_SOURCE = "127.128.0.0"
"""The flood's addresses begin here. The devices have others."""
WARM_UP = 200
"""How many registrations the flood has recorded."""
INSIDERS = 1000
"""For how many devices the flood has the keys."""
CAPACITY_SECONDS = 4.0
CAPACITY_WINDOW = 64
SERVER, OTHERS = 1, 0
"""Cores."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do."""

    times: float = 10.0
    """The flood's rate in datagrams, as a multiple of the server's capacity in messages."""
    rate: float = 200.0
    """How many honest devices arrive per second."""
    seconds: float = 60.0
    """Seconds of each measurement, with a flood and without."""
    settle: float = 30.0
    """Seconds of flood before it is measured."""
    sources: int = 1
    weights: tuple[int, ...] = (1,) * len(KINDS)
    ack_timeout: int = 2000
    backoff: int = 5000
    """The devices' times in ms: CoAP's, and the client's own."""
    seed: int = 1


@dataclass(slots=True)
class Measured:
    """What was seen in one measurement."""

    seconds: float
    arrived: int
    completed: int
    p50: float
    p99: float
    """Milliseconds from the arrival of a device to CONFIRM."""
    dropped: int
    """Datagrams that the kernel dropped because the server's socket was full."""
    errors: int
    """Error responses that devices got. There should be none but 5.03."""
    resident: list[int] = field(default_factory=list)
    """Bytes of the server's memory, second by second."""

    @property
    def share(self) -> float:
        """How many devices completed, of those that arrived."""
        return self.completed / self.arrived if self.arrived else 0.0

    def __str__(self) -> str:
        """A line of the table."""
        first, last = (self.resident[at] / 1e6 for at in (0, -1))
        rates = f"{self.arrived / self.seconds:>12.1f}{self.completed / self.seconds:>14.1f}{self.share:>10.1%}"
        return f"{rates}{self.p50:>10.0f}{self.p99:>10.0f}{self.dropped:>12}{self.errors:>8}{first:>10.1f}{last:>8.1f}"


COLUMNS = f"{'p50 ms':>10}{'p99 ms':>10}{'dropped':>12}{'5.03':>8}{'MB from':>10}{'to':>8}"
HEAD = f"{'':<16}{'arrivals/s':>12}{'completed/s':>14}{'share':>10}{COLUMNS}"


@dataclass(slots=True)
class Report:
    """What was found."""

    capacity: float = 0.0
    """Messages per second."""
    offered: float = 0.0
    """Datagrams of the flood per second."""
    calm: Measured | None = None
    flooded: Measured | None = None
    compared: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The honest devices' rate with the flood, divided by their rate without it."""
        assert self.calm is not None
        assert self.flooded is not None
        return self.flooded.share / self.calm.share

    def __str__(self) -> str:
        """Some lines for a person."""
        lines = [
            f"capacity {self.capacity:.0f} messages a second; flood {self.offered:.0f} datagrams a second, "
            f"{self.offered / self.capacity:.1f} times as many",
            HEAD,
            f"{'without a flood':<16}{self.calm}",
            f"{'with the flood':<16}{self.flooded}",
            f"the honest rate is {self.ratio:.1%} of that without a flood; "
            f"{self.compared} rows compared; faults {len(self.faults)}",
        ]
        return "\n".join(lines)


def run(settings: Settings, folder: Path) -> Report:
    """Measure a new server in ``folder``. Raises LocalError if that is impossible."""
    report = Report()
    state = open_state(folder)
    devices = folder / "devices"
    fleet.provision(state, INSIDERS, devices)
    load = generator.build(folder)
    flood = compile_c(
        folder, "flood", ["flood.c", "registration_job.c"], ["libcrypto"], "sudo apt-get install libssl-dev"
    )
    cores = (SERVER, OTHERS) if (os.cpu_count() or 1) > 1 else (None, None)
    server = ServerProcess(state.path, folder / "log", port=steady_port(), within=on_core(cores[0], []))
    with _pinned(cores[1]), server:
        port = server.address[1]
        honest = generator.Generator(
            load, cores[1], job="registration", argument=f"{devices}:{os.devnull}:{state.config.realm}",
            port=port, endpoints=INSIDERS, exchanges=2,
        )  # fmt: skip
        report.capacity = 2 * honest.run(seconds=CAPACITY_SECONDS, window=CAPACITY_WINDOW).rate
        crowd = Crowd(
            state, port, devices=1_000_000, rate=settings.rate, seed=settings.seed,
            ack_timeout=settings.ack_timeout, backoff=settings.backoff,
        )  # fmt: skip
        with crowd:
            crowd.work_until_registered(WARM_UP)
            recorded = folder / "recorded"
            recorded.write_bytes(b"".join(bytes([len(payload)]) + payload for payload in crowd.recorded()))
            report.calm = _measure(crowd, server, settings.seconds)
            arguments = [
                port, settings.times * report.capacity, settings.settle + settings.seconds + 600, settings.sources,
                FIRST_SOURCE, recorded, devices, state.config.realm, *settings.weights,
            ]  # fmt: skip
            with subprocess.Popen(
                on_core(cores[1], [str(flood), *map(str, arguments)]), stdout=subprocess.PIPE, text=True
            ) as flooding:
                try:
                    crowd.work(settings.settle)
                    report.flooded = _measure(crowd, server, settings.seconds)
                    if flooding.poll() is not None:
                        raise LocalError("the flood has ended early")
                finally:
                    flooding.terminate()
                told, _ = flooding.communicate()
            done = json.loads(told)
            report.offered = sum(done[kind] for kind in KINDS) / done["seconds"]
            report.compared, report.faults = crowd.compare()
            others = {code: count for code, count in crowd.errors.items() if code != "5.03"}
            report.faults += [f"devices got {count} answers {code}" for code, count in others.items()]
    return report


@contextmanager
def _pinned(core: int | None) -> Iterator[None]:
    """Keep this process on one core meanwhile."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _measure(crowd: Crowd, server: ServerProcess, seconds: float) -> Measured:
    counted = crowd.count_anew()
    dropped = _dropped(server.address[1])
    began = time.monotonic()
    resident = [_resident(server.process.pid)]
    while time.monotonic() < began + seconds:
        crowd.work(min(1.0, seconds))
        resident.append(_resident(server.process.pid))
    times = counted.registration
    return Measured(
        seconds=time.monotonic() - began,
        arrived=counted.begun,
        completed=counted.registered,
        p50=times.percentile(50) / 1000,
        p99=times.percentile(99) / 1000,
        dropped=_dropped(server.address[1]) - dropped,
        errors=counted.errors.total(),
        resident=resident,
    )


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _dropped(port: int) -> int:
    """Return how many datagrams the kernel has dropped at the sockets on a port."""
    count = 0
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            count += int(fields[-1])
    return count


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("flood", __doc__)
    usual = Settings()
    for name, text in (
        ("times", "the flood, in capacities of the server"),
        ("rate", "honest devices a second"),
        ("seconds", "of each measurement"),
        ("settle", "seconds of flood before it is measured"),
    ):
        default = getattr(usual, name)
        parser.add_argument(f"--{name}", type=float, metavar="N", default=default, help=f"{text} [{default:g}]")
    parser.add_argument("--sources", type=int, metavar="N", default=1, help="addresses that the flood comes from [1]")
    parser.add_argument("--seed", type=int, metavar="N", default=1, help="of the arrivals [1]")
    parser.add_argument("--only", choices=KINDS, action="append", help="send these kinds alone; may be repeated")
    given = vars(parser.parse_args(arguments))
    only = given.pop("only")
    weights = tuple(int(only is None or kind in only) for kind in KINDS)
    return trials.run_each([partial(run, Settings(**given, weights=weights))])
