"""The devices of one process. Each registration is the device package's own ``Registration``, stepped when it is due.

There are no sockets and no clock here, so tests run it in no time.
"""

import heapq
import os
import random
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from dpe_coap import keys
from dpe_coap.errors import MalformedMessage
from dpe_device.registration import CONFIRMING, REGISTERED, REQUESTING, Registration
from dpe_tools.load.ledger import Ledger
from dpe_tools.load.network import Address, Endpoint, Received
from dpe_tools.load.plan import Plan
from dpe_tools.load.tally import Tally

BURST = 64
"""The most registrations that begin in one step, so that answers need not wait while a storm builds up."""
NOT_BEGUN = "NOT BEGUN"
REDIRECTED = "REDIRECTED"
GIVEN_UP = "GIVEN UP"

_ERROR = 0x80  # the least CoAP code of an error
_CON = 0x44  # the first byte of our requests: confirmable, a CoAP token of 4 bytes
_MS = 1_000_000
_S = 1_000_000_000


class Wire(Protocol):
    """What a fleet needs from its network."""

    @property
    def peer(self) -> Address: ...  # noqa: D102
    def lease(self, number: int) -> Endpoint | None: ...  # noqa: D102
    def release(self, endpoint: Endpoint) -> None: ...  # noqa: D102
    def send(self, endpoint: Endpoint, datagram: bytes) -> None: ...  # noqa: D102


class X25519:
    """The device client's X25519, by a library, because the server is what is measured."""

    public = staticmethod(keys.ephemeral)

    @staticmethod
    def shared(private: bytes, peer: bytes) -> bytes:
        """Return the shared secret. Raises ValueError if it is all zero."""
        try:
            return keys.agree(private, peer)
        except MalformedMessage as error:
            raise ValueError(str(error)) from None


class Client(Registration):
    """A device whose message IDs go on where those of the last device on its port ended, not at a random one."""

    def post(self, payload: bytes, *options: bytes) -> None:
        """Open an exchange."""
        mid = self.mid + 1 & 0xFFFF
        super().post(payload, *options)
        self.mid = mid
        self._request = self._request[:2] + mid.to_bytes(2, "big") + self._request[4:]


class Device:
    """A simulated device while it is off: its number, its credential, and its storage."""

    __slots__ = ("credential", "number", "record")

    def __init__(self, number: int, credential: dict[str, Any]) -> None:
        self.number = number
        self.credential = credential
        self.record: bytes | None = None

    def load(self) -> bytes | None:
        """Return the last record that was saved."""
        return self.record

    def save(self, record: bytes) -> None:
        """Keep a record."""
        self.record = record


class Attempt:
    """A registration under way. Times are in ns, except ``due``, which is in ms as in the device client."""

    __slots__ = (
        "arrived",
        "confirming",
        "deadline",
        "device",
        "due",
        "endpoint",
        "last",
        "opened",
        "registration",
        "requests",
    )

    def __init__(
        self, device: Device, endpoint: Endpoint, registration: Registration, arrived: int, deadline: int
    ) -> None:
        self.device = device
        self.endpoint = endpoint
        self.registration = registration
        self.arrived = arrived
        self.deadline = deadline
        self.due = -1
        self.opened = 0
        """When the REQUEST or SUCCESS that awaits its answer was first sent."""
        self.confirming = False
        """Whether the message that awaits its answer is a SUCCESS."""
        self.last = b""
        self.requests = 0


class Fleet:
    """All devices. ``credential`` makes one's credential from its number. ``clock`` returns ns and never goes back.

    What a device has stored outlives a plan, and each registration begins with a boot. ``ledger`` is told how every
    registration ended.
    """

    def __init__(
        self,
        credential: Callable[[int], dict[str, Any]],
        clock: Callable[[], int],
        ledger: Ledger | None = None,
    ) -> None:
        self._credential = credential
        self._clock = clock
        self._ledger = ledger
        self._devices: dict[int, Device] = {}
        self._attempts: dict[int, Attempt] = {}
        self._wakes: list[tuple[int, int]] = []
        self._to_begin = 0
        self.tally = Tally()

    def begin(self, plan: Plan, network: Wire) -> None:
        """Follow ``plan`` from now on, with a new tally. The previous plan must be over."""
        self._network = network
        self._plan = plan
        self._random = random.Random(plan.seed)  # noqa: S311  # a simulation must repeat
        self._arrival = now = self._clock()
        self._last_arrival = None if plan.duration is None else now + int(plan.duration * _S)
        self._to_begin = sys.maxsize if plan.registrations is None else plan.registrations
        self._fresh: Iterator[int] = iter(plan.devices)
        self._rested: deque[int] = deque()
        self._wakes.clear()
        self.tally = Tally()
        if plan.rate is not None:
            self._arrival += self._interval()

    def begin_no_more(self) -> None:
        """Begin nothing more, but let go on what is under way."""
        self._to_begin = 0

    def stop(self) -> None:
        """Begin nothing more, and give up what is under way."""
        self.begin_no_more()
        for attempt in list(self._attempts.values()):
            self._fail(attempt, GIVEN_UP)

    def look(self) -> Tally:
        """Return the tally, with the current states."""
        self.tally.under_way = Counter(attempt.registration.state for attempt in self._attempts.values())
        return self.tally

    def step(self, received: Iterable[Received] = ()) -> int | None:
        """Take what was received, and do what is due. Return when to step again, in ns, or None if all is over."""
        for endpoint, datagram, sender, at in received:
            self.tally.received += 1
            if len(datagram) > 1 and datagram[1] >= _ERROR:
                self.tally.errors[datagram[1]] += 1
            if endpoint.holder is not None:
                self._advance(endpoint.holder, datagram, sender, at)
        while self._wakes and self._wakes[0][0] * _MS <= self._clock():
            due, number = heapq.heappop(self._wakes)
            attempt = self._attempts.get(number)
            if attempt is not None and attempt.due == due:
                self._advance(attempt)
        arrival = self._begin_registrations()
        if not self._attempts and not self._to_begin:
            return None
        wakes = [] if arrival is None else [arrival]
        if self._wakes:
            wakes.append(self._wakes[0][0] * _MS)
        return min(wakes, default=self._clock() + _S)

    # -- arrivals --

    def _begin_registrations(self) -> int | None:
        """Begin what has arrived. Return when more begins, or None if another registration must end first."""
        for _ in range(BURST):
            now = self._clock()
            if self._last_arrival is not None and self._arrives(now) > self._last_arrival:
                self._to_begin = 0
            if not self._to_begin or self._is_full():
                return None
            arrival = self._arrives(now)
            if arrival > now:
                return arrival
            if now >= arrival + self._plan.timeout * _S:
                self.tally.failed[NOT_BEGUN] += 1
            elif not self._begin_one(arrival):
                return None
            self.tally.begun += 1
            self._to_begin -= 1
            if self._plan.rate is not None:
                self._arrival += self._interval()
        return self._clock()

    def _arrives(self, now: int) -> int:
        return now if self._plan.at_once is not None else self._arrival

    def _is_full(self) -> bool:
        return self._plan.at_once is not None and len(self._attempts) >= self._plan.at_once

    def _interval(self) -> int:
        assert self._plan.rate is not None
        return int(self._random.expovariate(self._plan.rate) * _S)

    def _begin_one(self, arrival: int) -> bool:
        """Begin a registration. Return False if no device or no endpoint is free."""
        number = next(self._fresh, None)
        if number is None:
            if not self._rested:
                return False
            number = self._rested.popleft()
        endpoint = self._network.lease(number)
        if endpoint is None:
            self._rested.appendleft(number)
            return False
        device = self._devices.get(number)
        if device is None:
            device = self._devices[number] = Device(number, self._credential(number))
        plan = self._plan
        registration = Client(
            device.credential,
            device,
            os.urandom,
            x25519=X25519,
            suite=plan.suite,
            ack_timeout=plan.ack_timeout,
            backoff=plan.backoff,
        )
        registration.start()
        registration.mid = endpoint.mid
        attempt = Attempt(device, endpoint, registration, arrival, arrival + int(plan.timeout * _S))
        self._attempts[number] = endpoint.holder = attempt
        self.tally.latest = max(self.tally.latest, (self._clock() - arrival) // 1000)
        self._advance(attempt)
        return True

    # -- a registration --

    def _advance(self, attempt: Attempt, datagram: bytes | None = None, sender: Address = (), at: int = 0) -> None:
        """Step a registration until it has nothing to do at the moment."""
        registration = attempt.registration
        while True:
            now = self._clock()
            if now >= attempt.deadline:
                self._fail(attempt, registration.state)
                return
            before = registration.state
            registration.status = None
            out, due, state = registration.step(now // _MS, datagram, sender)
            if registration.status:
                self.tally.refusals[registration.status] += 1
            if before == REQUESTING and state == CONFIRMING:
                self.tally.response.add((at - attempt.opened) // 1000)
            if out is not None:
                registration.peer = self._network.peer
                if registration.server != attempt.device.credential["server"]:
                    self._fail(attempt, REDIRECTED)
                    return
                self._send(attempt, out)
            if due is None:
                if state == REGISTERED:
                    self._succeed(attempt, at)
                else:
                    self._fail(attempt, state)
                return
            if due * _MS > now:
                break
            datagram = None
        due = min(due, -(-attempt.deadline // _MS))
        if due != attempt.due:
            attempt.due = due
            heapq.heappush(self._wakes, (due, attempt.device.number))

    def _send(self, attempt: Attempt, out: bytes) -> None:
        self.tally.sent += 1
        confirming = attempt.registration.state == CONFIRMING
        if out is attempt.last:
            self.tally.retransmissions += 1
        elif out[0] == _CON and not (confirming and attempt.confirming):  # the same SUCCESS in another exchange
            attempt.opened = self._clock()
            attempt.confirming = confirming
            attempt.requests += not confirming
            self.tally.requests += not confirming
        attempt.last = out
        self._network.send(attempt.endpoint, out)

    def _succeed(self, attempt: Attempt, at: int) -> None:
        self.tally.confirm.add((at - attempt.opened) // 1000)
        self.tally.registration.add((at - attempt.arrived) // 1000)
        self.tally.registered += 1
        self.tally.first_time += attempt.requests == 1
        self._let_go(attempt, registered=True)

    def _fail(self, attempt: Attempt, state: str) -> None:
        self.tally.failed[state] += 1
        self._let_go(attempt, registered=False)

    def _let_go(self, attempt: Attempt, *, registered: bool) -> None:
        number, registration = attempt.device.number, attempt.registration
        if self._ledger is not None:
            if registered:
                assert registration.client_id is not None
                assert registration.oscore is not None
                self._ledger.registered(number, registration.client_id, registration.oscore)
            else:
                self._ledger.failed(number)
        del self._attempts[number]
        attempt.endpoint.mid = registration.mid
        self._network.release(attempt.endpoint)
        self._rested.append(number)
