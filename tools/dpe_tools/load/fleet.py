"""The devices of one process. Each registration is the device package's own ``Registration``, stepped when it is due.

There are no sockets and no clock here, so tests run it in no time.
"""

import heapq
import random
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dpe_device.registration import CONFIRMING, REGISTERED, REQUESTING, Registration
from dpe_device.session import READY
from dpe_tools.load.devices import CON, MS, REDIRECTED, Device, S, Talker, Wire
from dpe_tools.load.ledger import Ledger
from dpe_tools.load.network import Address, Endpoint, Received
from dpe_tools.load.plan import Plan
from dpe_tools.load.talks import Talk, Talks
from dpe_tools.load.tally import Tally

BURST = 64
"""The most registrations that begin in one step, so that answers need not wait while a storm builds up."""
NOT_BEGUN = "NOT BEGUN"
GIVEN_UP = "GIVEN UP"
_ERROR = 0x80  # the least CoAP code of an error


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
        self._talks: dict[int, Talk] = {}
        self._wakes: list[tuple[int, int]] = []
        self._to_begin = 0
        self.tally = Tally()

    def begin(self, plan: Plan, network: Wire) -> None:
        """Follow ``plan`` from now on, with a new tally. The previous plan must be over."""
        self._network = network
        self._plan = plan
        self._random = random.Random(plan.seed)  # noqa: S311  # a simulation must repeat
        self._arrival = now = self._clock()
        self._last_arrival = None if plan.duration is None else now + int(plan.duration * S)
        self._to_begin = sys.maxsize if plan.registrations is None else plan.registrations
        self._fresh: Iterator[int] = iter(plan.devices)
        self._rested: deque[int] = deque()
        self._wakes.clear()
        self.tally = Tally()
        if plan.rate is not None:
            self._arrival += self._interval()
        if plan.talk is not None:
            self._talking = Talks(
                plan, network, self._clock, self.tally,
                over=self._last_arrival, wake=self._wake, leave=self._leave, ledger=self._ledger,
            )  # fmt: skip

    def begin_no_more(self) -> None:
        """Begin nothing more, but let go on what is under way."""
        self._to_begin = 0

    def stop(self) -> None:
        """Begin nothing more, and give up what is under way."""
        self.begin_no_more()
        for attempt in list(self._attempts.values()):
            self._fail(attempt, GIVEN_UP)
        for talk in list(self._talks.values()):
            self._talking.give_up(talk, GIVEN_UP)

    def registering(self) -> list[int]:
        """Return the numbers of the devices that register, and have no session that goes on."""
        return list(self._attempts)

    def look(self) -> Tally:
        """Return the tally, with the current states."""
        self.tally.under_way = Counter(attempt.registration.state for attempt in self._attempts.values())
        self.tally.under_way.update(talk.registration.state for talk in self._talks.values())
        return self.tally

    def step(self, received: Iterable[Received] = ()) -> int | None:
        """Take what was received, and do what is due. Return when to step again, in ns, or None if all is over."""
        for endpoint, datagram, sender, at in received:
            self.tally.received += 1
            if len(datagram) > 1 and datagram[1] >= _ERROR:
                self.tally.errors[datagram[1]] += 1
            if isinstance(endpoint.holder, Talk):
                self._talking.advance(endpoint.holder, datagram, sender, at)
            elif endpoint.holder is not None:
                self._advance(endpoint.holder, datagram, sender, at)
        while self._wakes and self._wakes[0][0] * MS <= self._clock():
            due, number = heapq.heappop(self._wakes)
            attempt, talk = self._attempts.get(number), self._talks.get(number)
            if attempt is not None and attempt.due == due:
                self._advance(attempt)
            elif talk is not None and talk.due == due:
                self._talking.advance(talk)
        arrival = self._begin_registrations()
        if not self._attempts and not self._talks and not self._to_begin:
            return None
        wakes = [] if arrival is None else [arrival]
        if self._wakes:
            wakes.append(self._wakes[0][0] * MS)
        return min(wakes, default=self._clock() + S)

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
            if now >= arrival + self._plan.timeout * S:
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
        return int(self._random.expovariate(self._plan.rate) * S)

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
        registration = device.boot(plan)
        registration.start()
        registration.mid = endpoint.mid
        attempt = Attempt(device, endpoint, registration, arrival, arrival + int(plan.timeout * S))
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
            out, due, state = registration.step(now // MS, datagram, sender)
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
            if state in (REGISTERED, READY):
                self._succeed(attempt, at)
                return
            if due is None:
                self._fail(attempt, state)
                return
            if due * MS > now:
                break
            datagram = None
        self._wake(attempt, min(due, -(-attempt.deadline // MS)))

    def _wake(self, one: "Attempt | Talk", due: int) -> None:
        """Have a registration, or a session, advanced at this time in ms."""
        if due != one.due:
            one.due = due
            heapq.heappush(self._wakes, (due, one.device.number))

    def _send(self, attempt: Attempt, out: bytes) -> None:
        self.tally.sent += 1
        confirming = attempt.registration.state == CONFIRMING
        if out is attempt.last:
            self.tally.retransmissions += 1
        elif out[0] == CON and not (confirming and attempt.confirming):  # the same SUCCESS in another exchange
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
        registration = attempt.registration
        if isinstance(registration, Talker):
            device, endpoint = attempt.device, attempt.endpoint
            del self._attempts[device.number]
            talk = self._talks[device.number] = endpoint.holder = self._talking.begin(device, endpoint, registration)
            self._talking.advance(talk)
        else:
            self._let_go(attempt, registered=True)

    def _leave(self, talk: Talk) -> None:
        del self._talks[talk.device.number]
        self._rested.append(talk.device.number)

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
