"""A network and a server on it in virtual time, for the devices of a load."""

import heapq
import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from dpe_server import policy
from dpe_server.coap.piggyback import piggybacked
from dpe_server.coap.protected import plain
from dpe_server.handling.handler import handle
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.session.sessions import Sessions
from dpe_server.store.opening import open_store
from dpe_tools.load.fleet import Fleet
from dpe_tools.load.ledger import Ledger
from dpe_tools.load.network import Address, Endpoint, Received
from dpe_tools.load.plan import Plan, imei
from dpe_tools.load.tally import Tally

MS = 1_000_000
S = 1_000 * MS
URI = "coap://192.0.2.1"
OPTIONS = 8
"""Where the options of a device's request begin."""
HEADER = 24
"""Bytes of a device's REQUEST or SUCCESS before its payload."""
WALL = 1_700_000_000


class World:
    """A network and a server on it, in virtual time: every datagram takes 1 ms each way."""

    peer: Address = ("192.0.2.1", 5683)

    def __init__(self, state: StateDir, policy_text: str = policy.DEFAULT_POLICY, endpoints: int = 1_000_000) -> None:
        self.now = 0
        self.store = open_store(state.store_url)
        self.registrar = Registrar(
            realm=state.config.realm,
            keys=state.keys,
            policy=policy.parse(policy_text),
            random=secrets.token_bytes,
            ordinals=Ordinals.after(0, 0, WALL),
        )
        self.sessions = Sessions(keys=state.keys, policy=policy.parse(policy_text), random=secrets.token_bytes)
        self.loses: Callable[[bytes], bool] = lambda _datagram: False
        """Whether a device's datagram is lost."""
        self.loses_answer: Callable[[bytes], bool] = lambda _datagram: False
        """Whether the answer to it is lost."""
        self.leased = self.most_leased = 0
        self.requests: list[int] = []
        """When each REQUEST came."""
        self.reports: list[int] = []
        """When each protected request came."""
        self._endpoints = endpoints
        self._under_way: list[tuple[int, int, Received]] = []
        self._count = itertools.count()

    def lease(self, number: int) -> Endpoint | None:
        if self.leased == self._endpoints:
            return None
        self.leased += 1
        self.most_leased = max(self.most_leased, self.leased)
        return Endpoint(None, [])  # type: ignore[arg-type]

    def release(self, endpoint: Endpoint) -> None:
        self.leased -= 1
        endpoint.holder = None

    def send(self, endpoint: Endpoint, datagram: bytes) -> None:
        protected = plain(datagram, OPTIONS)
        if protected is not None:
            self.reports.append(self.now)
        elif datagram[HEADER + 2] == 1:
            self.requests.append(self.now)
        if self.loses(datagram):
            return
        handler, payload = (self.registrar, datagram[HEADER:]) if protected is None else (self.sessions, protected)
        now = self.now / S
        (reply,) = handle(handler, self.store, [payload], now, WALL + now).replies
        if not self.loses_answer(datagram):
            answer = piggybacked(datagram[2:OPTIONS], reply)
            at = self.now + 2 * MS
            heapq.heappush(self._under_way, (at, next(self._count), Received(endpoint, answer, self.peer, at)))

    def arrived(self) -> Iterator[Received]:
        while self._under_way and self._under_way[0][0] <= self.now:
            yield heapq.heappop(self._under_way)[2]

    def run(self, fleet: Fleet, plan: Plan, until: int = 10_000 * S) -> Tally:
        """Go by the plan to its end, or until this time."""
        fleet.begin(plan, self)
        due = fleet.step()
        while due is not None and self.now < until:
            arrival = self._under_way[0][0] if self._under_way else due
            self.now = max(self.now, min(due, arrival))
            due = fleet.step(self.arrived())
        return fleet.look()


def fleet_of(state: StateDir, world: World, ledger: Ledger | None = None) -> Fleet:
    def made(number: int) -> dict[str, Any]:
        return asdict(credential(state.keys, state.config, imei(number)))

    return Fleet(made, lambda: world.now, ledger)


def once(devices: int, **more: Any) -> Plan:
    return Plan(range(devices), devices, **{"at_once": 10, **more})
