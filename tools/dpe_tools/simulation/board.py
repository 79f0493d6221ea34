"""A board of the simulation: the real device client, on storage, entropy, power and memory that fail.

If the trouble has reports, the client is a device in its session, and the board has an application.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from dpe_coap import keys as schedule
from dpe_coap.numbers import MessageType
from dpe_device import udp
from dpe_device.registration import IDLE, REFUSED, REGISTERED, Registration
from dpe_device.session import Session
from dpe_tools.simulation import client_state
from dpe_tools.simulation.application import Application
from dpe_tools.simulation.events import (
    AcceptanceAsked,
    Address,
    BoardChanged,
    BoardHeeded,
    BoardOff,
    ClientRaised,
    RequestSent,
    SuccessSent,
)
from dpe_tools.simulation.session_events import ProtectedSent, RecordSaved, ResponseBelieved, RolledBack
from dpe_tools.simulation.trouble import Trouble
from dpe_tools.simulation.world import HOUR, World
from dpe_tools.voice import Method

TICKS_PERIOD = 1 << 23
"""Milliseconds after which ticks_ms begins anew: so few that many runs see it. On real boards 2^29 or more."""
PATIENCE = HOUR
"""The longest that a board's loop waits for a datagram, in ms, as in ``dpe_device.udp``."""


class PowerCut(BaseException):  # nothing of the client may catch it
    """The board has no power from here on."""


class X25519:
    """A fast implementation, with the interface of ``dpe_device.x25519``."""

    def __init__(self, strike: Callable[[], None]) -> None:
        self._strike = strike

    def public(self, private: bytes) -> bytes:
        """Return the public key."""
        self._strike()
        return schedule.ephemeral(private)

    def shared(self, private: bytes, peer: bytes) -> bytes:
        """Return the shared secret."""
        self._strike()
        return schedule.agree(private, peer)


class Flash:
    """Storage that writes a record whole or not at all, and may then still report a failure, or lose power.

    ``saved`` is told of each record.
    """

    def __init__(
        self, world: World, trouble: Trouble, strike: Callable[[], None], saved: Callable[[bytes], None]
    ) -> None:
        self.record: bytes | None = None
        self.earlier: bytes | None = None
        """The record before."""
        self._saved = saved
        self._world = world
        self._trouble = trouble
        self._strike = strike

    def load(self) -> bytes | None:
        """Return the record."""
        self._strike()
        return self.record

    def save(self, record: bytes) -> None:
        """Write the record; OSError."""
        self._strike()
        if self._world.chance(self._trouble.flash_fails / 2):
            raise OSError(28)
        self.earlier, self.record = self.record, record
        self._saved(record)
        if self._world.chance(self._trouble.flash_fails / 2):
            raise OSError(5)
        self._strike()


class Board:
    """A board with its credential. ``weak``: its entropy gives the same octets for ever."""

    def __init__(
        self,
        world: World,
        trouble: Trouble,
        name: str,
        device: bytes,
        credential: dict[str, Any],
        *,
        weak: bool,
        **options: Any,
    ) -> None:
        self.name = name
        self.device = device
        self.credential = credential
        self.weak = weak
        self.flash = Flash(world, trouble, self._strike, self._saved)
        self._application = Application(world, self._strike, self._answered) if trouble.reports else None
        self.registration: Registration | None = None
        self.address: Address = (name, 1024)
        self._world = world
        self._trouble = trouble
        self._options = options
        self._keeps_port = world.chance(0.5)
        self._generation = 0
        self._told: object = None
        self._th3 = b""
        """Of its last session."""

    @property
    def state(self) -> str:
        """The client's state; "off" while it does not run."""
        return "off" if self.registration is None else self.registration.state

    @property
    def is_settled(self) -> bool:
        """Whether it is registered and has nothing to report."""
        registration = self.registration
        if isinstance(registration, Session) and self._application is not None:
            return self._application.is_told(registration, self._clock.now())
        return self.state == REGISTERED

    @property
    def has_given_up(self) -> bool:
        """Whether it goes on only when its application asks for a registration."""
        return self.state in (IDLE, REFUSED)

    def off(self, delay: int = 2000) -> None:
        """Lose power and what is in memory; boot again after ``delay`` ms."""
        self._world.note(f"{self.name} loses power")
        self._world.counts["power cuts"] += 1
        self.registration = None
        self._told = None
        self._world.emit(BoardOff(self.name))
        self._world.endpoints.pop(self.address, None)
        self._later(delay, self.boot)

    def erase(self) -> None:
        """Lose all that is stored, and reboot at once."""
        self._world.note(f"{self.name} is erased")
        self.flash.record = None
        self.off(0)

    def roll_back(self) -> None:
        """Find in storage what was there before the last write, and reboot at once: a copy was put back."""
        self._world.note(f"{self.name}: storage is rolled back")
        self.flash.record = self.flash.earlier
        self._world.emit(RolledBack(self.device, self.flash.record))
        self.off(0)

    def change(self) -> None:
        """Let the application measure something else."""
        if self._application is not None:
            self._application.change()
            self.step()

    def ask(self, method: Method) -> None:
        """Let the application ask for the policies, or deregister."""
        if self._application is not None and isinstance(self.registration, Session):
            self._world.note(f"{self.name}: the application wants {method.name}")
            self._application.ask(self.registration, method)
            self.step()

    def boot(self) -> None:
        """Power on."""
        world = self._world
        try:
            self._clock = udp.Clock()
            self.registration = (Registration if self._application is None else self._application.boot)(
                self.credential,
                self.flash,
                self._entropy,
                accept=self._accept,
                x25519=X25519(self._strike),
                **self._options,
            )
        except PowerCut:
            self.off()
            return
        except MemoryError:
            self._later(1000, self.boot)
            return
        world.note(f"{self.name} boots: {self.state}")
        self._tell()
        self.step()

    def restart(self) -> None:
        """Let the application ask for a new registration."""
        if self.registration is not None:
            self.registration.start()
            self.step()

    def move(self, address: Address) -> None:
        """Be seen under another address from now on: a NAT has lost its entry."""
        world = self._world
        world.counts["rebindings"] += 1
        if world.endpoints.pop(self.address, None) is not None:
            world.endpoints[address] = self._receive
        world.note(f"{self.name} is now {address[0]}:{address[1]}")
        self.address = address

    def step(self, datagram: bytes | None = None, sender: Address | None = None) -> None:
        """Let the client do what is due, as the loop of ``udp.register`` does."""
        registration, world = self.registration, self._world
        if registration is None:
            return
        if world.chance(self._trouble.power_cuts):
            self.off()
            return
        before = registration.state
        now = self._clock.now()
        idle = registration.due is None or now < registration.due
        request, peer = client_state.open_request(registration), registration.peer
        try:
            out, wake, state = registration.step(now, datagram, sender)
        except PowerCut:
            self.off()
            return
        except MemoryError:
            world.note(f"{self.name} is out of memory: {before}, now {registration.state}")
            world.counts["out of memory"] += 1
            self._tell()
            self._later(world.random.randint(0, 500), self.step)
            return
        except Exception as error:
            world.emit(ClientRaised(self.name, before, type(error).__name__))
            return
        if datagram is not None and idle and (state != before or client_state.open_request(registration) != request):
            world.emit(BoardHeeded(self.name, datagram, sender, peer, before, state, request))
        if state != before:
            world.note(f"{self.name}: {before} -> {state}")
            world.counts[f"client {state}"] += 1
        if isinstance(registration, Session) and self._application is not None:
            wake = self._application.wish(registration, now)
        if out is not None:
            if registration.peer is None:
                self._connect()
            if world.chance(self._trouble.roams):
                self.move((self.address[0], world.random.randint(10_000, 60_000)))
            assert registration.peer is not None
            self._tell_sent(registration, out)
            world.send(self.address, registration.peer, out)
        self._tell()
        self._later(PATIENCE if wake is None else min(wake - self._clock.now(), PATIENCE), self.step)

    def _tell(self) -> None:
        """Tell what is different after a step, if anything is."""
        registration, record = self.registration, self.flash.record
        assert registration is not None
        seen = client_state.claims(registration), record
        if seen != self._told:
            self._told = seen
            if seen[0] is not None and seen[0][2] != self._th3:
                self._th3 = seen[0][2]
                self._world.counts["registrations"] += 1
            self._world.emit(BoardChanged(self.name, self.device, client_state.session(registration), record))

    def _tell_sent(self, registration: Registration, datagram: bytes) -> None:
        """Tell of a datagram that is about to be sent, if there is a message in it."""
        payload, device = client_state.payload_of(datagram), self.device
        again = client_state.sent_before(registration)
        if protected := client_state.protected_of(datagram):
            session = client_state.asked_in(registration)
            self._world.emit(ProtectedSent(device, session, protected, datagram, again))
        if payload:
            if payload[2] == MessageType.REQUEST:
                self._world.emit(RequestSent(device, payload, datagram, again))
            else:
                prk3, th3 = client_state.secrets(registration)
                self._world.emit(SuccessSent(device, payload, datagram, again, prk3, th3, self.flash.record))

    def _saved(self, record: bytes) -> None:
        self._world.emit(RecordSaved(self.device, record))

    def _answered(self, code: int, payload: bytes) -> None:
        assert self.registration is not None
        request = client_state.protected_of(client_state.open_request(self.registration))
        self._world.emit(ResponseBelieved(self.device, request, code, payload))

    def _connect(self) -> None:
        registration, world = self.registration, self._world
        assert registration is not None
        world.endpoints.pop(self.address, None)
        if not self._keeps_port:
            self.address = (self.address[0], self.address[1] + 1)
        world.endpoints[self.address] = self._receive
        registration.peer = udp.parse_uri(registration.server)

    def _receive(self, datagram: bytes, sender: Address) -> None:
        self.step(datagram[: udp.LONGEST], sender)

    def _later(self, delay: int, action: Callable[[], None]) -> None:
        # Only the newest one counts: the loop of a board waits for one thing at a time.
        self._generation += 1
        generation = self._generation

        def wake() -> None:
            if generation == self._generation:
                action()

        self._world.after(delay, wake)

    def _strike(self) -> None:
        if self._world.chance(self._trouble.power_cuts):
            raise PowerCut
        if self._world.chance(self._trouble.exhaustion):
            raise MemoryError

    def _entropy(self, size: int) -> bytes:
        self._strike()
        return b"\x2a" * size if self.weak else self._world.random_bytes(size)

    def _accept(self, client_id: bytes, version: tuple[int, int]) -> int:
        self._world.emit(AcceptanceAsked(client_id, version, self._options.get("versions", ((1, 0),))))
        self._strike()
        return 16 if self._world.chance(self._trouble.declines) else 0


def ticks_of(world: World) -> Any:
    """Return MicroPython's ``time`` as ``udp.Clock`` uses it, on the world's clock, wrapping in ``TICKS_PERIOD``."""

    def ticks_diff(later: int, earlier: int) -> int:
        half = TICKS_PERIOD // 2
        return (later - earlier + half) % TICKS_PERIOD - half

    start = world.random.randrange(TICKS_PERIOD)
    return SimpleNamespace(ticks_ms=lambda: (world.now + start) % TICKS_PERIOD, ticks_diff=ticks_diff)
