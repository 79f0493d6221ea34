"""A process of a load: its fleet, its sockets, and the pipe to the command.

The command sends a ``Plan``, and gets a ``Tally`` now and then until the plan is over. Then the process sends ``OVER``,
and the command the next plan, or None. With ``STOP`` the command ends a plan early. After the last plan, the process
sends its ``Ledger``.
"""

import gc
import selectors
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from dpe_server.keys.ring import KeyRing
from dpe_server.operation.config import Config
from dpe_server.operation.credential import Credential, credential
from dpe_tools.faults import Faults
from dpe_tools.load.bad_link import BadLink
from dpe_tools.load.fleet import Fleet
from dpe_tools.load.ledger import Ledger
from dpe_tools.load.network import Network, Server
from dpe_tools.load.plan import Plan, imei
from dpe_tools.load.tally import Tally

OVER = "over"
STOP = "stop"
TELL_EVERY = 0.5
"""Seconds."""
MANY = 32
"""Sockets."""


@dataclass(frozen=True, slots=True)
class FromKeys:
    """Makes the credentials of simulated devices with a server's keys."""

    keys: KeyRing = field(repr=False)
    config: Config

    def __call__(self, number: int) -> Credential:
        """Return the credential of a device."""
        return credential(self.keys, self.config, imei(number))


@dataclass(frozen=True, slots=True)
class FromFiles:
    """Returns credentials that were read from files."""

    credentials: list[Credential] = field(repr=False)

    def __call__(self, number: int) -> Credential:
        """Return the credential of a device."""
        return self.credentials[number]


Maker = FromKeys | FromFiles


def work(pipe: Connection, server: Server, make: Maker, *, keep_ledger: bool) -> None:
    """Do what the command says until it has no more plans or has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which then sends STOP
    ledger = Ledger()

    def made(number: int) -> dict[str, Any]:
        one = make(number)
        kept = {"handle": one.handle, "device_key": one.device_key, "epoch": one.epoch}
        return {"server": server.uri, "realm": one.realm, **kept}

    try:
        with server.network() as network:
            fleet = Fleet(made, time.monotonic_ns, ledger if keep_ledger else None)
            gc.freeze()
            while True:
                plan: Plan | None = pipe.recv()
                if plan is None:
                    break
                _carry_out(plan, fleet, network, pipe)
                pipe.send(OVER)
        pipe.send(ledger)
    except (EOFError, BrokenPipeError):
        return


def _carry_out(plan: Plan, fleet: Fleet, network: Network, pipe: Connection) -> None:
    link = None if plan.faults == Faults() else BadLink(network, plan.faults, plan.seed)
    wire = link or network
    start, processor, overflowed = time.monotonic(), time.process_time(), network.overflowed
    tell_at = start + TELL_EVERY

    def tally() -> Tally:
        told = fleet.look()
        told.overflowed = network.overflowed - overflowed
        told.seconds = time.monotonic() - start
        told.processor = time.process_time() - processor
        if link is not None:
            told.faults = link.faults
        return told

    # select watches a few sockets with an exact time-out; the time-out of epoll is in whole ms.
    few = len(network.sockets) < MANY
    with selectors.SelectSelector() if few else selectors.DefaultSelector() as selector:
        for one in network.sockets:
            selector.register(one, selectors.EVENT_READ)
        selector.register(pipe, selectors.EVENT_READ)
        fleet.begin(plan, wire)
        due = fleet.step()
        while due is not None:
            if wire.due is not None:
                due = min(due, wire.due)
            wait = min(max(0, due - time.monotonic_ns()) / 1e9, TELL_EVERY)
            ready = {key.fileobj for key, _ in selector.select(wait)}
            if pipe in ready:
                ready.remove(pipe)
                if pipe.recv() == STOP:
                    fleet.stop()
            due = fleet.step(wire.receive(one for one in network.sockets if one in ready))
            if time.monotonic() >= tell_at:
                pipe.send(tally())
                tell_at = time.monotonic() + TELL_EVERY
    pipe.send(tally())
