"""A board of the simulation: the real device client, on storage, entropy, power and memory that fail."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from dpe_coap import keys as schedule
from dpe_device import registration as client
from dpe_device import udp
from dpe_device.registration import Registration
from tests.device.scripted import sealed
from tests.simulation.world import Address, World

TICKS_PERIOD = 1 << 23
"""Milliseconds after which ticks_ms begins anew, so that it does in most runs; on real boards 2^29 or more."""
STATES = {client.IDLE, client.REQUESTING, client.CONFIRMING, client.REGISTERED, client.REFUSED, client.BACKOFF}


class PowerCut(BaseException):
    """The board has no power from here on. Nothing of the client may catch it."""


class X25519:
    """A fast implementation, with the interface of ``dpe_device.x25519``."""

    def __init__(self, trouble: Callable[[], None]) -> None:
        self._trouble = trouble

    def public(self, private: bytes) -> bytes:
        self._trouble()
        return schedule.ephemeral(private)

    def shared(self, private: bytes, peer: bytes) -> bytes:
        self._trouble()
        return schedule.agree(private, peer)


class Flash:
    """Storage that writes a record whole or not at all, and then may still say that it failed, or lose power."""

    def __init__(self, world: World, trouble: Callable[[], None]) -> None:
        self.record: bytes | None = None
        self.fails = 0.0
        self._world = world
        self._trouble = trouble

    def load(self) -> bytes | None:
        self._trouble()
        return self.record

    def save(self, record: bytes) -> None:
        self._trouble()
        before, after = (self._world.chance(self.fails / 2) for _ in range(2))
        if before:
            raise OSError(28)
        self.record = record
        if after:
            raise OSError(5)
        self._trouble()


class Board:
    """A board with its credential. ``check`` is called after each step and each mishap.

    ``exhaustion`` and ``power_cuts`` are how often a hook of the client raises MemoryError, or the power goes there.
    """

    exhaustion = 0.0
    power_cuts = 0.0
    declines = 0.0

    def __init__(
        self, world: World, name: str, credential: dict[str, Any], check: Callable[["Board"], None], **options: Any
    ) -> None:
        self.name = name
        self.credential = credential
        self.flash = Flash(world, self._trouble)
        self.registration: Registration | None = None
        self.address: Address = (name, 1024)
        self._world = world
        self._check = check
        self._options = options
        self._keeps_port = world.chance(0.5)
        self._generation = 0

    @property
    def state(self) -> str:
        """The client's state; "off" while it does not run."""
        return "off" if self.registration is None else self.registration.state

    def off(self, delay: int = 2000) -> None:
        """Lose power and what is in memory; boot again later."""
        self._world.note(f"{self.name} loses power")
        self.registration = None
        self._world.endpoints.pop(self.address, None)
        self._later(delay, self.boot)

    def boot(self) -> None:
        """Power on."""
        world = self._world
        try:
            self._clock = udp.Clock()
            self.registration = Registration(
                self.credential,
                self.flash,
                self._entropy,
                accept=self._accept,
                x25519=X25519(self._trouble),
                **self._options,
            )
        except PowerCut:
            self.off()
            return
        except MemoryError:
            self._later(1000, self.boot)
            return
        world.note(f"{self.name} boots: {self.state}")
        self._server = ""
        self._check(self)
        self.step()

    def restart(self) -> None:
        """Let the application ask for a new registration."""
        if self.registration is not None:
            self.registration.start()
            self.step()

    def step(self, datagram: bytes | None = None, sender: Address | None = None) -> None:
        """Let the client do what is due, as the loop of ``udp.register`` does."""
        registration, world = self.registration, self._world
        if registration is None:
            return
        before = registration.state
        try:
            out, wake, state = registration.step(self._now(), datagram, sender)
        except PowerCut:
            self.off()
            return
        except MemoryError:
            world.note(f"{self.name} is out of memory: {before}, now {registration.state}")
            self._check(self)
            self._later(world.random.randint(0, 500), self.step)
            return
        if state != before:
            world.note(f"{self.name}: {before} -> {state}")
        if out is not None:
            if self._server != registration.server or before in (client.IDLE, client.BACKOFF):
                self._server = registration.server
                self._connect()
            assert registration.peer is not None
            world.send(self.address, registration.peer, out)
        self._check(self)
        wait = udp._PATIENCE if wake is None else min(wake - self._now(), udp._PATIENCE)
        self._later(wait, self.step)

    def verify_record(self) -> None:
        """Check that what is stored is absent or whole."""
        record = self.flash.record
        if record is not None:
            assert record == sealed(record[:-16], self.credential)

    def _now(self) -> int:
        return self._clock.now()

    def _connect(self) -> None:
        registration, world = self.registration, self._world
        assert registration is not None
        world.endpoints.pop(self.address, None)
        if not self._keeps_port:
            self.address = (self.name, self.address[1] + 1)
        world.endpoints[self.address] = self._receive
        registration.peer = udp.parse_uri(registration.server)

    def _receive(self, datagram: bytes, sender: Address) -> None:
        self.step(datagram[: udp.LONGEST], sender)

    def _later(self, delay: int, action: Callable[[], None]) -> None:
        # The newest wish alone counts: the loop of a board waits for one thing at a time.
        self._generation += 1
        generation = self._generation

        def wake() -> None:
            if generation == self._generation:
                action()

        self._world.after(delay, wake)

    def _trouble(self) -> None:
        if self._world.chance(self.power_cuts):
            raise PowerCut
        if self._world.chance(self.exhaustion):
            raise MemoryError

    def _entropy(self, size: int) -> bytes:
        self._trouble()
        return self._world.random_bytes(size)

    def _accept(self, client_id: bytes, version: tuple[int, int]) -> int:
        assert len(client_id) == 7
        assert version in self._options.get("versions", ((1, 0),))
        self._trouble()
        return 16 if self._world.chance(self.declines) else 0


def ticks_of(world: World) -> Any:
    """MicroPython's ``time`` as far as ``udp.Clock`` uses it, on the world's clock, wrapping in ``TICKS_PERIOD``."""

    def ticks_diff(later: int, earlier: int) -> int:
        half = TICKS_PERIOD // 2
        return (later - earlier + half) % TICKS_PERIOD - half

    start = world.random.randrange(TICKS_PERIOD)
    return SimpleNamespace(ticks_ms=lambda: (world.now + start) % TICKS_PERIOD, ticks_diff=ticks_diff)
