"""A board of the simulation: the real device client, on storage, entropy, power and memory that fail."""

from collections.abc import Callable
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

from dpe_coap import keys as schedule
from dpe_device import registration as client
from dpe_device import udp
from dpe_device.registration import Registration
from dpe_tools.simulation.invariants import CLIENT_RAISES, HEEDED, Invariants, belongs
from dpe_tools.simulation.world import HOUR, Address, World

TICKS_PERIOD = 1 << 23
"""Milliseconds after which ticks_ms begins anew, so that it does in many runs; on real boards 2^29 or more."""
PATIENCE = HOUR
"""The longest that a board's loop waits for a datagram, in ms, as in ``dpe_device.udp``."""


class PowerCut(BaseException):  # nothing of the client may catch it
    """The board has no power from here on."""


class X25519:
    """A fast implementation, with the interface of ``dpe_device.x25519``."""

    def __init__(self, trouble: Callable[[], None]) -> None:
        self._trouble = trouble

    def public(self, private: bytes) -> bytes:
        """Return the public key."""
        self._trouble()
        return schedule.ephemeral(private)

    def shared(self, private: bytes, peer: bytes) -> bytes:
        """Return the shared secret."""
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
        """Return the record."""
        self._trouble()
        return self.record

    def save(self, record: bytes) -> None:
        """Write the record; OSError."""
        self._trouble()
        if self._world.chance(self.fails / 2):
            raise OSError(28)
        self.record = record
        if self._world.chance(self.fails / 2):
            raise OSError(5)
        self._trouble()


class Board:
    """A board with its credential.

    ``exhaustion`` and ``power_cuts`` are how often a hook of the client raises MemoryError, or the power goes there.
    ``weak``: its entropy gives the same octets for ever.
    """

    moves = False
    """Whether its firmware's is redirected to the second server."""
    exhaustion = 0.0
    power_cuts = 0.0
    declines = 0.0
    roams = 0.0

    def __init__(
        self,
        world: World,
        invariants: Invariants,
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
        self.flash = Flash(world, self._trouble)
        self.registration: Registration | None = None
        self.address: Address = (name, 1024)
        self._world = world
        self._invariants = invariants
        self._options = options
        self._keeps_port = world.chance(0.5)
        self._generation = 0
        self._whole: bytes | None = None

    @property
    def state(self) -> str:
        """The client's state; "off" while it does not run."""
        return "off" if self.registration is None else self.registration.state

    def off(self, delay: int = 2000) -> None:
        """Lose power and what is in memory; boot again later."""
        self._world.note(f"{self.name} loses power")
        self._world.counts["power cuts"] += 1
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
        self._check("")
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
        if world.chance(self.power_cuts):
            self.off()
            return
        before = registration.state
        now = self._clock.now()
        idle = registration.due is None or now < registration.due
        stray = datagram is not None and idle and not belongs(datagram, sender, registration)
        exchange = registration._request
        try:
            out, wake, state = registration.step(now, datagram, sender)
        except PowerCut:
            self.off()
            return
        except MemoryError:
            world.note(f"{self.name} is out of memory: {before}, now {registration.state}")
            world.counts["out of memory"] += 1
            self._check(before)
            self._later(world.random.randint(0, 500), self.step)
            return
        except Exception as error:
            world.fail(CLIENT_RAISES, f"{type(error).__name__} in {before}")
            return
        if stray and (state != before or registration._request is not exchange):
            world.fail(HEEDED, f"{self.name}: {before} -> {state}")
        if state != before:
            world.note(f"{self.name}: {before} -> {state}")
            world.counts[f"client {state}"] += 1
        if out is not None:
            if self._server != registration.server or before in (client.IDLE, client.BACKOFF):
                self._server = registration.server
                self._connect()
            if world.chance(self.roams):
                self.move((self.address[0], world.random.randint(10_000, 60_000)))
            assert registration.peer is not None
            self._invariants.board_sends(self, out)
            world.send(self.address, registration.peer, out)
        self._check(before)
        self._later(PATIENCE if wake is None else min(wake - self._clock.now(), PATIENCE), self.step)

    def record_is_whole(self) -> bool:
        """Say whether what is stored is absent or whole."""
        record = self.flash.record
        if record is self._whole:
            return True
        seed = b"state 2" + self.credential["device_key"] + self.credential["handle"]
        if record is not None and sha256(seed + record[:-16]).digest()[:16] != record[-16:]:
            return False
        self._whole = record
        return True

    def _check(self, before: str) -> None:
        self._invariants.stepped(self, before)

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
        return b"\x2a" * size if self.weak else self._world.random_bytes(size)

    def _accept(self, client_id: bytes, version: tuple[int, int]) -> int:
        if len(client_id) != 7 or version not in self._options.get("versions", ((1, 0),)):
            self._world.fail("the application is asked about what it can accept", f"version {version}")
        self._trouble()
        return 16 if self._world.chance(self.declines) else 0


def ticks_of(world: World) -> Any:
    """MicroPython's ``time`` as far as ``udp.Clock`` uses it, on the world's clock, wrapping in ``TICKS_PERIOD``."""

    def ticks_diff(later: int, earlier: int) -> int:
        half = TICKS_PERIOD // 2
        return (later - earlier + half) % TICKS_PERIOD - half

    start = world.random.randrange(TICKS_PERIOD)
    return SimpleNamespace(ticks_ms=lambda: (world.now + start) % TICKS_PERIOD, ticks_diff=ticks_diff)
