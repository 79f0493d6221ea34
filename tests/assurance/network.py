"""Registrations over a bad network between two hosts: loss, duplication, reordering and corruption, at several rates.

The hosts are two network namespaces with a link of their own. The kernel's netem makes the link bad; without netem,
`dpe load` draws the same faults from the seed. Without the right to make namespaces, both hosts are on 127.0.0.1. Every
device runs the device client's own core. Every one that is REGISTERED is looked up in the server's database, all must
register in the end, and the server must log nothing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from dpe_coap.errors import LocalError
from dpe_tools.server_process import ServerProcess
from tests.assurance import trials
from tests.assurance.administration import call
from tests.assurance.crowd import open_state

LOSSES = (0.0, 0.1, 0.2, 0.4)
DUPLICATION = 0.3
REORDERING = 0.3
CORRUPTION = 0.01
ACK_TIMEOUT = 0.2
"""Seconds: a tenth of CoAP's."""
TIMEOUT = 600
"""Seconds in which a registration must succeed, in any number of attempts."""
HOSTS = ("198.18.0.1", "198.18.0.2")
"""The server and the devices (RFC 2544: for tests of networks), each alone in a namespace with the other."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where the server and the devices are: commands that run something there, and the server's address."""

    server: Sequence[str]
    devices: Sequence[str]
    address: str
    netem: bool
    """Whether the kernel makes the link bad."""

    def __str__(self) -> str:
        """One line."""
        if not self.server:
            return "both on 127.0.0.1, faults drawn by dpe load"
        return f"two network namespaces, faults {'by netem' if self.netem else 'drawn by dpe load'}"


@contextmanager
def namespaces() -> Iterator[Hosts]:
    """Make two network namespaces with a link between them. Raises LocalError if that is impossible."""
    name = f"dpe-{os.getpid()}-{next(_numbers)}"
    spaces = [f"{name}-s", f"{name}-d"]
    with ExitStack() as undo:
        for space in spaces:
            call("ip", "netns", "add", space)
            undo.callback(call, "ip", "netns", "delete", space)
        call("ip", "-n", spaces[0], "link", "add", "dpe0", "type", "veth", "peer", "name", "dpe0", "netns", spaces[1])
        for space, address in zip(spaces, HOSTS, strict=True):
            call("ip", "-n", space, "address", "add", f"{address}/30", "dev", "dpe0")
            for link in ("lo", "dpe0"):
                call("ip", "-n", space, "link", "set", link, "up")
        server, devices = ([*_inside(space)] for space in spaces)
        try:
            call(*server, "tc", "qdisc", "replace", "dev", "dpe0", "root", "netem", "loss", "0%")
        except LocalError:
            netem = False
        else:
            netem = True
        yield Hosts(server, devices, HOSTS[0], netem)


def _inside(space: str) -> Sequence[str]:
    return ("ip", "netns", "exec", space)


def make_bad(hosts: Hosts, loss: float) -> list[str]:
    """Make the link bad in both directions. Return options for `dpe load` to do so, or none if the kernel does it."""
    if not hosts.netem:
        faults = {"loss": loss, "duplicate": DUPLICATION, "reorder": REORDERING, "corrupt": CORRUPTION}
        return [word for name, share in faults.items() for word in (f"--{name}", str(share))]
    shares = ["loss", f"{loss:%}", "duplicate", f"{DUPLICATION:%}", "corrupt", f"{CORRUPTION:%}"]
    for within in (hosts.server, hosts.devices):
        late = [
            "delay",
            "10ms",
            "reorder",
            f"{1 - REORDERING:%}",
        ]  # with netem, datagrams without delay overtake the delayed ones
        call(*within, "tc", "qdisc", "replace", "dev", "dpe0", "root", "netem", *shares, *late)
    return []


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the registrations at one rate of loss."""

    loss: float
    registrations: int
    registered: int
    requests: int
    first_time: int
    datagrams: dict[str, Any]
    milliseconds: tuple[float, float, float]
    """p50, p99 and the longest."""
    faults: Sequence[str]

    def __str__(self) -> str:
        """A line of the table."""
        done, link = self.datagrams, self.datagrams["faults"]
        times = "".join(f"{value:>10.0f}" for value in self.milliseconds)
        kinds = "".join(f"{link.get(kind, 0):>9}" for kind in ("lost", "doubled", "delayed", "damaged"))
        share = self.first_time / self.registrations
        return (
            f"{self.loss:>5.0%}{self.registrations:>14}{self.registered:>12}{self.requests:>10}{share:>12.2%}"
            f"{done['sent'] + done['received']:>11}{kinds}{times}{len(self.faults):>8}"
        )


HEAD = (
    f"{'loss':>5}{'registrations':>14}{'REGISTERED':>12}{'REQUESTs':>10}{'first time':>12}{'datagrams':>11}"
    f"{'lost':>9}{'doubled':>9}{'delayed':>9}{'damaged':>9}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}{'faults':>8}"
)


def measure(hosts: Hosts, loss: float, folder: Path, *, registrations: int, at_once: int, seed: int) -> Row:
    """Do the registrations with a new server in ``folder``, from a quarter as many devices."""
    state = open_state(folder)
    log = folder / "log"
    with ServerProcess(state.path, log, host=hosts.address, within=hosts.server) as server:
        options = make_bad(hosts, loss)
        host, port = server.address
        command = [
            *hosts.devices, sys.executable, "-m", "dpe_tools", "load", str(state.path),
            "--server", f"coap://{host}:{port}", "--devices", str(max(1, registrations // 4)),
            "--count", str(registrations), "--closed", str(at_once), "--timeout", str(TIMEOUT),
            "--ack-timeout", str(ACK_TIMEOUT), "--seed", str(seed), "--json", "-", *options,
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise LocalError(f"dpe load ended with status {done.returncode} and no report")
    told = json.loads(done.stdout)
    ended = told["registrations"]
    faults = [f"{count} devices ended {state_}" for state_, count in ended["failed"].items()]
    faults += [f"{number} devices: {name}" for name, number in told["store"].items() if name in _WRONG and number]
    faults += [
        f"the server said: {line}" for line in log.read_text(encoding="utf-8").splitlines() if "[info" not in line
    ]
    took = told["latency"]["registration"]
    return Row(
        loss=loss,
        registrations=registrations,
        registered=ended["REGISTERED"],
        requests=ended["REQUESTs"],
        first_time=ended["first time"],
        datagrams=told["datagrams"],
        milliseconds=(took["p50"] / 1000, took["p99"] / 1000, took["max"] / 1000),
        faults=faults,
    )


_WRONG = ("missing", "other_client_id", "other_keys", "two_sessions")


@contextmanager
def best_hosts() -> Iterator[Hosts]:
    """Return two namespaces, or 127.0.0.1 for both, and say so."""
    with ExitStack() as stack:
        try:
            hosts = stack.enter_context(namespaces())
        except LocalError as error:
            print(f"no network namespaces: {error}", file=sys.stderr)
            hosts = Hosts((), (), "127.0.0.1", netem=False)
        yield hosts


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("network", __doc__)
    parser.add_argument("--registrations", type=int, default=25_000, metavar="N", help="at each rate of loss [25000]")
    parser.add_argument("--loss", type=float, action="append", metavar="P", help="0 to 1, may be repeated [0 .1 .2 .4]")
    parser.add_argument("--at-once", type=int, default=400, metavar="N", help="registrations under way [400]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="repeats the faults, not when they strike [1]")
    given = parser.parse_args(arguments)
    settings = {"registrations": given.registrations, "at_once": given.at_once, "seed": given.seed}
    with best_hosts() as hosts:
        print(f"{hosts}; {DUPLICATION:.0%} doubled, {REORDERING:.0%} delayed, {CORRUPTION:.0%} damaged\n{HEAD}")
        return trials.run_each(partial(measure, hosts, loss, **settings) for loss in given.loss or LOSSES)
