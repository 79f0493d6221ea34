"""What registered devices do in their sessions: they report, sleep, lose power and deregister, when it is due."""

import random
from collections.abc import Callable

from dpe_coap.binding import Code
from dpe_device.registration import CONFIRMING, IDLE, REFUSED, REQUESTING
from dpe_device.session import ENDING, READY, REPORTING
from dpe_tools.load.devices import CON, MS, REDIRECTED, Device, Meter, S, Talker, Wire
from dpe_tools.load.ledger import Ledger, Told
from dpe_tools.load.network import Address, Endpoint
from dpe_tools.load.plan import Plan
from dpe_tools.load.tally import Tally
from dpe_tools.voice import Method

_NO_ENDPOINT = 50 * MS
"""ns after which a device looks again for a free endpoint."""


class Talk:
    """A device in its session. Times are in ns, except ``due``, which is in ms as in the device client."""

    __slots__ = (
        "client_id", "confirmed", "cut_off", "deadline", "device", "due", "endpoint", "ends", "keys", "last", "left",
        "meter", "next", "opened", "registering", "registration", "wants",
    )  # fmt: skip

    def __init__(self, device: Device, endpoint: Endpoint, talker: Talker) -> None:
        assert device.meter is not None
        self.device = device
        self.endpoint: Endpoint | None = endpoint
        """None while it sleeps."""
        self.registration = talker
        self.meter: Meter = device.meter
        self.left: int | None = None
        """Reports that are still to be begun; None: until the load is over."""
        self.next = 0
        """When it wants something, if it wants nothing now."""
        self.wants: Method | None = None
        self.deadline = 0
        """When it gives up what it wants."""
        self.ends = False
        self.cut_off = False
        """Whether it loses power before the answer comes."""
        self.confirmed = False
        """Whether it knows that its session has ended."""
        self.registering = False
        """Whether it registers anew: then it is not known which session the server has."""
        self.opened = 0
        self.last = b""
        self.due = -1
        self.begin()

    def begin(self) -> None:
        """Begin the session that the device has now."""
        assert self.registration.client_id is not None
        assert self.registration.oscore is not None
        self.client_id, self.keys = self.registration.client_id, self.registration.oscore
        self.registering = False
        self.meter.begin()


class Talks:
    """All sessions of a plan that has some, which end at ``over`` at the latest (ns).

    ``wake`` has a talk advanced at a time in ms, and ``leave`` is told when a device is done. ``ledger`` is told what
    each knows in the end.
    """

    def __init__(
        self,
        plan: Plan,
        network: Wire,
        clock: Callable[[], int],
        tally: Tally,
        *,
        over: int | None,
        wake: Callable[[Talk, int], None],
        leave: Callable[[Talk], None],
        ledger: Ledger | None,
    ) -> None:
        assert plan.talk is not None
        self._plan = plan
        self._talk = plan.talk
        self._network = network
        self._clock = clock
        self._tally = tally
        self._over = over
        self._wake = wake
        self._leave = leave
        self._ledger = ledger
        self._random = random.Random(f"{plan.seed} talks")  # noqa: S311  # a simulation must repeat

    def begin(self, device: Device, endpoint: Endpoint, talker: Talker) -> Talk:
        """Let a device that has just registered begin its session."""
        talk = Talk(device, endpoint, talker)
        talk.left = self._talk.reports
        talk.ends = self._random.random() < self._talk.end
        self._note(talk, Told.REGISTERED)
        self._rest(talk)
        return talk

    def give_up(self, talk: Talk, state: str) -> None:
        """Let a device do nothing more."""
        if talk.wants is Method.REPORT:
            self._tally.unreported[state] += 1
        told = Told.UNKNOWN if talk.registering or talk.registration.state == REFUSED else Told.REGISTERED
        if talk.wants is Method.END:
            self._tally.unconfirmed += 1
            told = Told.PERHAPS_ENDED
            talk.device.record = None  # else it would go on, after its next boot, and end its next session
        self._finish(talk, told)

    def advance(self, talk: Talk, datagram: bytes | None = None, sender: Address = (), at: int = 0) -> None:
        """Step a device until it has nothing to do at the moment."""
        while True:
            now = self._clock()
            if talk.wants is None and now >= self._next(talk) and not self._want(talk, now):
                return
            if talk.endpoint is None:  # it sleeps
                break
            if talk.wants is not None and now >= talk.deadline:
                self.give_up(talk, talk.registration.state)
                return
            talk.meter.reply = None
            out, _, state = talk.registration.step(now // MS, datagram, sender)
            datagram = None
            if out is not None and not self._send(talk, talk.endpoint, out, state):
                return
            self._follow(talk, state)
            due = talk.registration.due
            if talk.meter.reply is not None:
                self._answered(talk, talk.meter.reply.code, at)
            elif due is None and state in (IDLE, REFUSED):
                self._gone(talk, state)
                return
            elif due is None or due * MS > now:
                break
        wait = self._next(talk) if talk.wants is None else talk.deadline
        due = talk.registration.due if talk.endpoint is not None else None
        latest = -(-wait // MS)
        self._wake(talk, latest if due is None else min(due, latest))

    # -- what a device wants --

    def _next(self, talk: Talk) -> int:
        return talk.next if self._over is None else min(talk.next, self._over)

    def _want(self, talk: Talk, now: int) -> bool:
        """Let a device want what comes next; return False if it is done or must wait for an endpoint."""
        over = self._over is not None and now >= self._over
        if (over or talk.left == 0) and not talk.ends:
            self._finish(talk, Told.REGISTERED)
            return False
        if talk.endpoint is None:
            talk.endpoint = self._network.lease(talk.device.number)
            if talk.endpoint is None:
                self._wake(talk, (now + _NO_ENDPOINT) // MS)
                return False
            talk.endpoint.holder = talk
            talk.registration.mid = talk.endpoint.mid
        if over or talk.left == 0:
            wants = Method.END
        else:
            wants = Method.REPORT
            talk.left = None if talk.left is None else talk.left - 1
            talk.cut_off = self._random.random() < self._talk.reboot / 2
        self._begin(talk, wants, now)
        talk.registration.want(wants)
        return True

    def _begin(self, talk: Talk, wants: Method, now: int) -> None:
        talk.wants = wants
        talk.deadline = now + int(self._plan.timeout * S)
        self._tally.reports += wants is Method.REPORT

    def _rest(self, talk: Talk) -> None:
        """Let a device do nothing until its next report is due; with no more to come, it is done."""
        now = self._clock()
        talk.wants = None
        talk.cut_off = False
        if talk.left == 0:
            talk.next = now
        elif talk.next <= now:  # or it has only refreshed its session
            talk.next = now + int(self._talk.every * self._random.uniform(0.5, 1.5) * S)

    # -- what comes of it --

    def _send(self, talk: Talk, endpoint: Endpoint, out: bytes, state: str) -> bool:
        """Send; return False if the device gives up or loses power."""
        talk.registration.peer = self._network.peer
        if talk.registration.server != talk.device.credential["server"]:
            self.give_up(talk, REDIRECTED)
            return False
        again = out is talk.last
        self._tally.sent += 1
        self._tally.retransmissions += again
        talk.last = out
        self._network.send(endpoint, out)
        if again or out[0] != CON or state not in (REPORTING, ENDING):
            return True
        talk.opened = self._clock()
        if talk.wants is None:  # it refreshes its session by itself
            self._begin(talk, Method.REPORT, talk.opened)
        if not talk.cut_off:
            return True
        self._tally.cut_off += 1
        self._reboot(talk)
        self._rest(talk)
        self._wake(talk, -(-self._next(talk) // MS))
        return False

    def _follow(self, talk: Talk, state: str) -> None:
        """See whether a device registers anew, and goes on then."""
        if state in (REQUESTING, CONFIRMING):
            talk.registering = True
        elif state == READY and talk.registering:
            talk.begin()
            self._tally.anew += 1
            self._note(talk, Told.REGISTERED)
            if talk.wants is not None:
                talk.registration.want(talk.wants)

    def _answered(self, talk: Talk, code: int, at: int) -> None:
        if code == Code.DELETED:
            talk.confirmed = True
            return
        if talk.wants is not Method.REPORT:
            return
        if code == Code.CHANGED:
            self._tally.reported += 1
        else:
            self._tally.problems[code] += 1
        self._tally.report.add((at - talk.opened) // 1000)
        self._rest(talk)
        if self._random.random() < self._talk.reboot / 2:
            self._reboot(talk)
        if self._random.random() < self._talk.sleep:
            self._tally.slept += 1
            self._release(talk)

    def _reboot(self, talk: Talk) -> None:
        self._tally.rebooted += 1
        mid, peer = talk.registration.mid, talk.registration.peer
        talker = talk.device.boot(self._plan)
        assert isinstance(talker, Talker)
        talk.registration = talker
        talker.mid, talker.peer = mid, peer

    def _gone(self, talk: Talk, state: str) -> None:
        """See off a device whose session has ended, or who may not register any more."""
        if state == REFUSED:
            self.give_up(talk, REFUSED)
            return
        self._tally.ended += talk.confirmed
        self._tally.unconfirmed += not talk.confirmed
        self._finish(talk, Told.ENDED if talk.confirmed else Told.PERHAPS_ENDED)

    def _finish(self, talk: Talk, told: Told) -> None:
        self._note(talk, told)
        if talk.endpoint is not None:
            self._release(talk)
        self._leave(talk)

    def _release(self, talk: Talk) -> None:
        assert talk.endpoint is not None
        talk.endpoint.mid = talk.registration.mid
        self._network.release(talk.endpoint)
        talk.endpoint = None

    def _note(self, talk: Talk, told: Told) -> None:
        if self._ledger is None:
            return
        if told is Told.UNKNOWN:
            self._ledger.failed(talk.device.number)
        else:
            self._ledger.told(talk.device.number, told, talk.client_id, talk.keys, talk.meter)
