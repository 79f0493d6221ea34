"""Boards and servers in trouble that a seed repeats, and what must hold whatever happens to them.

After every step: who is REGISTERED has a durable row with the same Client ID and keys at its server, what a board has
stored is whole or absent, and nothing but MemoryError has left the client. In the end, when the trouble is over, every
board registers, and its server holds that session for it, and no server more than one.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from dpe_coap.imei import Imei
from dpe_device import registration as client
from dpe_device import udp
from dpe_device.registration import Registration
from dpe_server.at_rest import AtRest
from dpe_server.key_ring import KeyRing
from dpe_server.provisioning import Credential
from dpe_tools.faults import Faults
from tests.simulation.adversary import Adversary
from tests.simulation.board import STATES, Board, ticks_of
from tests.simulation.server import Server, Store
from tests.simulation.world import WALL, Address, World

REALM = "simulated"
HOME: Address = ("home.example", 5683)
SECOND: Address = ("second.example", 5684)
MINUTE, HOUR = 60_000, 3_600_000

RULES = """
[[rule]]
name = "moved"
firmware = "moved*"
action = "redirect"
server = "coap://second.example:5684"

[[rule]]
name = "weak"
firmware = "weak*"
action = "require-x25519"

[[rule]]
name = "old"
version = "2.*"
action = "version-not-supported"
highest = "1.4"

[[rule]]
name = "all"
version = "1.*"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
"""
AT_SECOND = RULES.replace('firmware = "moved*"', 'firmware = "nobody"')
STABLE = RULES + 'client_id = "stable"\n'
CIRCLE = '[[rule]]\nname = "round"\naction = "redirect"\nserver = "coap://%s:%d"\n'


@dataclass(frozen=True)
class Trouble:
    """How bad it is: probabilities, drawn from the seed."""

    faults: Faults
    forges: float
    replays: float
    exhaustion: float
    power_cuts: float
    flash_fails: float
    declines: float
    separate: float
    lasts: int
    """Milliseconds."""

    @classmethod
    def draw(cls, chance: random.Random) -> "Trouble":
        """Draw some trouble; each kind is absent in some runs, so that it does not hide another."""
        return cls(
            faults=Faults(
                loss=chance.choice((0, 0.1, 0.2, 0.4)),
                duplication=chance.choice((0, 0.3)),
                reordering=chance.choice((0, 0.3)),
                corruption=chance.choice((0, 0.01, 0.05)),
                hold=chance.choice((0.05, 2, 30, 400)),
            ),
            forges=chance.choice((0, 0, 0.2, 0.6)),
            replays=chance.choice((0, 0.1)),
            exhaustion=chance.choice((0, 0, 0.02, 0.1)),
            power_cuts=chance.choice((0, 0, 0.03)),
            flash_fails=chance.choice((0, 0, 0.2)),
            declines=chance.choice((0, 0, 0.3)),
            separate=chance.choice((0, 0, 0.3, 1)),
            lasts=chance.randint(5, 40) * MINUTE,
        )


class Simulation:
    """One run. ``trace`` is told what happens."""

    def __init__(self, seed: int, directory: Path, trace: Callable[[str], None] | None = None) -> None:
        chance = random.Random(f"trouble {seed}")
        self._trouble = trouble = Trouble.draw(chance)
        self._world = world = World(seed, trouble.faults, trace)
        world.note(str(trouble))
        self._keys = self._ring()
        self._at_rest = AtRest(self._keys.at_rest)
        rules = world.random.choice((RULES, STABLE))
        self._home = Server(world, HOME, self._keys, REALM, rules, directory / "home.sqlite")
        self._second = Server(world, SECOND, self._keys, REALM, AT_SECOND, directory / "second.sqlite")
        self._others = [
            (Server(world, HOME, self._keys, "other realm", RULES), "another realm"),
            (Server(world, HOME, self._ring(), REALM, RULES), "other keys"),
            (Server(world, HOME, self._keys, REALM, CIRCLE % SECOND), "a redirect in a circle"),
        ]
        self._back = Server(world, SECOND, self._keys, REALM, CIRCLE % HOME)
        adversary = Adversary(world, (HOME, SECOND), trouble.forges, trouble.replays)
        world.on_sent.append(adversary.hear)
        imeis = [Imei.parse(f"00101700{number:06d}") for number in range(world.random.randint(1, 3))]
        self._device_ids = {f"board {number}": self._at_rest.device_id(imei) for number, imei in enumerate(imeis)}
        self._boards = [self._board(f"board {number}", imei) for number, imei in enumerate(imeis)]

    def run(self) -> None:
        """Let the trouble run its course, then see that all is well; AssertionError if it is not."""
        with ExitStack() as stack:
            for server in (self._home, self._second):
                stack.callback(server.stop)
            stack.enter_context(_clock_of_boards(self._world))
            self._plan()
            for board in self._boards:
                board.boot()
            self._world.run(self._trouble.lasts)
            self._calm()
            for _ in range(2):  # once more after a reboot of all
                self._settle()
                for board in self._boards:
                    board.off(0)
            self._settle()

    def _ring(self) -> KeyRing:
        draw = self._world.random_bytes
        return KeyRing(master={1: draw(32)}, handle={1: draw(32)}, at_rest=draw(32))

    def _board(self, name: str, imei: Imei) -> Board:
        chance, trouble = self._world.random, self._trouble
        key = self._keys.device_key(1, imei)
        assert key is not None
        handle = self._keys.seal_handle(1, imei, self._world.random_bytes)
        firmware = chance.choice((None, None, "moved 1", "weak 1"))
        options: dict[str, Any] = {"firmware": firmware, "suite": chance.choice((1, 1, 2))}
        if chance.random() < 0.2:
            options["versions"] = ((2, 0), (1, 4))
        credential = asdict(Credential(f"coap://{HOME[0]}", REALM, handle, key, 1))
        board = Board(self._world, name, credential, self._check, **options)
        board.flash.fails = trouble.flash_fails
        board.exhaustion, board.power_cuts, board.declines = trouble.exhaustion, trouble.power_cuts, trouble.declines
        return board

    # the trouble

    def _plan(self) -> None:
        """Draw when what goes wrong beside the network."""
        world, chance, lasts = self._world, self._world.random, self._trouble.lasts
        self._serve(self._home)
        self._serve(self._second)
        self._home.separate = self._second.separate = self._trouble.separate
        for mishap in (self._reboot, self._crash, self._break_store, self._turn, self._impersonate):
            for _ in range(chance.choice((0, 1, 4))):
                world.after(chance.randrange(lasts), mishap)
        for _ in range(chance.choice((2, 20, 40))):
            world.after(chance.randrange(lasts), self._restart)

    def _reboot(self) -> None:
        self._world.random.choice(self._boards).off()

    def _restart(self) -> None:
        self._world.random.choice(self._boards).restart()

    def _crash(self) -> None:
        server = self._one()
        if self._world.chance(0.5):
            assert isinstance(server.store, Store)
            server.store.fault = self._world.random.choice(("crash before", "crash after"))
        else:
            self._world.note(f"{server.address[0]} restarts")
            server.start()

    def _break_store(self) -> None:
        server = self._one()
        assert isinstance(server.store, Store)
        server.store.fault = "broken"
        self._world.note(f"the store of {server.address[0]} breaks")

        def mend() -> None:
            assert isinstance(server.store, Store)
            server.store.fault = ""

        self._world.after(self._world.random.randint(1, 300) * 1000, mend)

    def _turn(self) -> None:
        server = self._one()
        server.mode = self._world.random.choice(("silent", "acknowledging", "slow", "unwilling"))
        self._world.note(f"{server.address[0]} turns {server.mode}")
        self._world.after(self._world.random.randint(1, 600) * 1000, lambda: setattr(server, "mode", "honest"))

    def _impersonate(self) -> None:
        other, name = self._world.random.choice(self._others)
        self._world.note(f"{HOME[0]} is now one with {name}")
        self._serve(other)
        self._serve(self._back if "circle" in name else self._second)

        def back() -> None:
            self._serve(self._home)
            self._serve(self._second)

        self._world.after(self._world.random.randint(1, 600) * 1000, back)

    def _one(self) -> Server:
        return self._world.random.choice((self._home, self._second))

    def _serve(self, server: Server) -> None:
        self._world.endpoints[server.address] = server.receive

    # and its end

    def _calm(self) -> None:
        world = self._world
        world.note("all is well now")
        world.calm()
        world.on_sent.clear()
        for server in (self._home, self._second):
            server.mode, server.separate = "honest", 0.0
            assert isinstance(server.store, Store)
            server.store.fault = ""
            self._serve(server)
        for board in self._boards:
            board.flash.fails = board.exhaustion = board.power_cuts = board.declines = 0.0

    def _settle(self) -> None:
        """Let every board register; an application asks again where the client has come to an end."""
        world = self._world
        deadline = world.now + 8 * HOUR
        while world.now < deadline:
            world.run(world.now + 10 * MINUTE, self._all_registered)
            if self._all_registered():
                break
            for board in self._boards:
                if board.state in (client.IDLE, client.REFUSED):
                    board.restart()
        states = {board.name: board.state for board in self._boards}
        assert self._all_registered(), f"not all registered in the end: {states}"
        for server in (self._home, self._second):
            held = server.store.sessions_of(self._device_ids.values())
            for board in self._boards:
                if board.registration is not None and self._server_of(board.registration) is server:
                    assert held[self._device_ids[board.name]].client_id == board.registration.client_id
            assert isinstance(server.store, Store)
            assert server.store.count(int(WALL)) == len(held), "a session belongs to no board, or two to one"

    def _all_registered(self) -> bool:
        return all(board.state == client.REGISTERED for board in self._boards)

    def _check(self, board: Board) -> None:
        """What must hold after every step of a board."""
        board.verify_record()
        registration = board.registration
        assert registration is not None
        assert registration.state in STATES
        if registration.state != client.REGISTERED:
            return
        server = self._server_of(registration)
        client_id, oscore = registration.client_id, registration.oscore
        assert client_id is not None, "REGISTERED without a Client ID"
        assert oscore is not None, "REGISTERED without keys"
        session = server.store.sessions([client_id]).get(client_id)
        assert session is not None, "REGISTERED without a durable session"
        assert session.device == self._device_ids[board.name], "REGISTERED with the Client ID of another"
        assert self._at_rest.open_keys(session.sealed_keys, client_id) == b"".join(oscore), "other keys"

    def _server_of(self, registration: Registration) -> Server:
        address = udp.parse_uri(registration.server)
        return next(server for server in (self._home, self._second) if server.address == address)


@contextmanager
def _clock_of_boards(world: World) -> Iterator[None]:
    """Give the boards ``ticks_ms`` of the world's clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(udp, "time", ticks_of(world))
        yield
