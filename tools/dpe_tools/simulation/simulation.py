"""Boards and servers in trouble that a seed repeats, and what must hold whatever happens to them.

While it lasts, the invariants are looked at after each step. In the end, when the trouble is over, every board
registers, and its server holds that session for it, and no server more than one.
"""

import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from dpe_coap.imei import Imei
from dpe_device import registration as client
from dpe_device import udp
from dpe_server.coap.aiocoap_endpoint import LOGGER
from dpe_server.coap.piggyback import piggybacked
from dpe_server.handling.reply import Reply
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.credential import Credential
from dpe_tools.simulation.attacker import Attacker, Insider
from dpe_tools.simulation.board import Board, ticks_of
from dpe_tools.simulation.host import Host
from dpe_tools.simulation.invariants import LAST_WORD, NO_DEFECT, Invariants
from dpe_tools.simulation.process import WAKE
from dpe_tools.simulation.trouble import AT_SECOND, CIRCLE, RULES, WIDE, Trouble, terms
from dpe_tools.simulation.world import HOUR, MINUTE, SECOND, Address, World

REALM = "simulated"
HOME: Address = ("home.example", 5683)
AWAY: Address = ("second.example", 5684)
POINTS = ("await", "send", "write", "before the commit", "after the commit")
YEARS = 3 * 365 * 86400.0
FAST = (1, 3)
"""Milliseconds of a commit when all is well."""
PATIENCE = 8 * HOUR
"""In which every board registers once the trouble is over."""
EXPECTED = ("store not writable", "store writable again")
"""What a server logs that is not a defect."""


class Simulation:
    """One run. ``trace`` is told what happens; ``trouble`` is what goes wrong, if not what the seed draws."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None, trouble: Trouble | None = None) -> None:
        self._seed = seed
        self._trouble = trouble = Trouble.draw(seed) if trouble is None else trouble
        self._world = world = World(seed, trouble.faults, trace)
        world.note(str(trouble))
        kinds = {"sqlite": trouble.sqlite, "workers": trouble.workers > 1, "aiocoap alone": not trouble.lane}
        world.counts.update({kind: 1 for kind, is_so in kinds.items() if is_so})
        self._keys = self._ring()
        at_rest = AtRest(self._keys.at_rest, world.random_bytes)
        self._invariants = Invariants(world, at_rest)
        self._device_id = at_rest.device_id
        self._commits = trouble.commits
        self._hosts: list[Host] = []
        self._others: list[Host] = []

    @property
    def counts(self) -> Counter[str]:
        """What happened how often."""
        return self._world.counts

    def run(self) -> None:
        """Let the trouble run its course, then see that all is well; Violation if it is not."""
        world, trouble = self._world, self._trouble
        with ExitStack() as stack:
            stack.enter_context(_surroundings(self._seed, world))
            folder = (
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpe-simulation-")))
                if trouble.sqlite
                else None
            )
            stack.callback(self._close)
            self._set_up(folder)
            self._plan()
            for board in self._boards:
                board.boot()
            world.run(trouble.lasts)
            self._calm()
            for _ in range(2):  # once more after a reboot of all
                self._settle()
                for board in self._boards:
                    board.off(0)
            self._settle()

    # who is there

    def _set_up(self, folder: Path | None) -> None:
        world, trouble, chance = self._world, self._trouble, self._world.random
        self._home = self._host(HOME, RULES, folder)
        imeis = [Imei.parse(f"00101700{number:06d}") for number in range(trouble.boards)]
        self._boards = [self._board(f"board {number}", imei) for number, imei in enumerate(imeis)]
        self._invariants.boards = self._boards
        if any(board.moves for board in self._boards) or chance.random() < 0.1:
            self._host(AWAY, AT_SECOND, folder)
        imei = Imei.parse("00101709000000")
        key = self._know(imei)
        insider = Insider(self._device_id(imei), key, self._keys.seal_handle(1, imei, world.random_bytes), REALM)
        servers = [host.address for host in self._hosts]
        self._attacker = Attacker(
            world,
            self._invariants,
            servers,
            trouble.forges,
            trouble.replays,
            trouble.reflects,
            trouble.mixes,
            trouble.withholds,
            insider,
        )
        if trouble.forges or trouble.replays or trouble.reflects or trouble.mixes or trouble.withholds:
            world.on_sent.append(self._attacker.hear)

    def _ring(self) -> KeyRing:
        draw = self._world.random_bytes
        return KeyRing(master={1: draw(32)}, handle={1: draw(32)}, at_rest=draw(32))

    def _know(self, imei: Imei) -> bytes:
        """Return a device's key, which the invariants know from now on."""
        key = self._keys.device_key(1, imei)
        assert key is not None
        self._invariants.know(self._device_id(imei), key, REALM)
        return key

    def _host(self, address: Address, rules: str, folder: Path | None) -> Host:
        trouble = self._trouble
        host = Host(
            self._world,
            self._invariants,
            address,
            self._keys,
            REALM,
            rules,
            trouble.terms,
            workers=trouble.workers,
            lane=trouble.lane,
            total=trouble.total,
            path=None if folder is None else folder / f"{address[0]}.sqlite",
        )
        host.crashes = trouble.crashes
        host.commits = trouble.commits
        self._hosts.append(host)
        self._invariants.hosts.append(host)
        self._world.endpoints[address] = host.receive
        return host

    def _board(self, name: str, imei: Imei) -> Board:
        world, trouble, chance = self._world, self._trouble, self._world.random
        handle = self._keys.seal_handle(1, imei, world.random_bytes)
        credential = asdict(Credential(f"coap://{HOME[0]}", REALM, handle, self._know(imei), 1))
        firmware = chance.choice((None, None, None, "moved 1", "weak 1"))
        options: dict[str, Any] = {"firmware": firmware, "suite": chance.choice((1, 1, 1, 2))}
        if chance.random() < 0.2:
            options["versions"] = ((2, 0), (1, 4))
        weak = chance.random() < 0.1 and not trouble.flash_fails  # counters that cannot be saved begin again
        board = Board(world, self._invariants, name, self._device_id(imei), credential, weak=weak, **options)
        board.moves = firmware == "moved 1"
        board.flash.fails, board.roams = trouble.flash_fails, trouble.roams
        board.exhaustion, board.power_cuts, board.declines = trouble.exhaustion, trouble.power_cuts, trouble.declines
        return board

    # the trouble

    def _plan(self) -> None:
        """Draw when what goes wrong beside the network."""
        world, trouble, chance = self._world, self._trouble, self._world.random
        kinds = (
            self._reboot,
            self._crash,
            self._crash,
            self._shut_down,
            self._break_disk,
            self._slow_down,
            self._impersonate,
            self._set_clock,
            self._reload,
            self._revoke,
            self._prune,
        )
        for _ in range(trouble.mishaps):
            world.after(chance.randrange(trouble.lasts), chance.choice(kinds))
        for count, action in (
            (trouble.restarts, self._restart),
            (trouble.rebindings, self._rebind),
            (trouble.floods, self._attacker.flood),
        ):
            for _ in range(count):
                world.after(chance.randrange(trouble.lasts), action)

    def _reboot(self) -> None:
        self._world.random.choice(self._boards).off()

    def _restart(self) -> None:
        self._world.random.choice(self._boards).restart()

    def _rebind(self) -> None:
        """Let a NAT lose its entry for a board; the address may be another board's from now on."""
        world = self._world
        board = world.random.choice(self._boards)
        before, fresh = board.address, (board.address[0], world.random.randint(10_000, 60_000))
        board.move(fresh)
        other = world.random.choice(self._boards)
        if other is not board and world.chance(0.5):
            other.move(before)

    def _crash(self) -> None:
        host = self._one()
        host.crash_at = self._world.random.choice(POINTS)

    def _shut_down(self) -> None:
        self._one().restart()

    def _break_disk(self) -> None:
        host = self._one()
        host.fault = self._world.random.choice(("broken", "broken", "unreadable"))
        self._world.note(f"the store of {host.address[0]} is {host.fault}")
        self._world.after(self._world.random.randint(1, 300) * SECOND, lambda: setattr(host, "fault", ""))

    def _slow_down(self) -> None:
        host = self._one()
        host.commits, host.wakes = (500, 60_000), self._world.random.choice((1, 2000))
        self._world.note(f"{host.address[0]} turns slow")

        def recover() -> None:
            host.commits, host.wakes = self._commits, WAKE

        self._world.after(self._world.random.randint(1, 300) * SECOND, recover)

    def _set_clock(self) -> None:
        jump = self._world.random.choice((-YEARS, -HOUR / 1000, -1.0, 60.0, YEARS))
        self._one().set_clock(jump)

    def _reload(self) -> None:
        self._one().reload(terms(self._world.random))

    def _prune(self) -> None:
        host = self._one()
        for process in host.processes[:1]:
            if process.is_alive:
                process.prune(int(host.wall()))

    def _revoke(self) -> None:
        if self._world.chance(0.5):
            device = self._world.random.choice(self._boards).device
            for host in self._hosts:
                host.revoke(device)

    def _impersonate(self) -> None:
        """Let another server have an address for a while: nobody may be REGISTERED by it."""
        world, chance = self._world, self._world.random
        address = self._one().address
        answers = (b"\x81", b"\x80", b"\xa0", b"\x44")
        what = chance.choice(("silent", "acknowledging", "unwilling", "another realm", "other keys", "in a circle"))
        world.note(f"{address[0]} is now one that is {what}")
        receive: Callable[[bytes, Address], None]
        if what == "silent":
            receive = lambda _, __: None  # noqa: E731
        elif what == "acknowledging":

            def receive(datagram: bytes, sender: Address) -> None:
                world.send(address, sender, b"\x60\0" + datagram[2:4])
        elif what == "unwilling":

            def receive(datagram: bytes, sender: Address) -> None:
                if len(datagram) >= 6:
                    code = chance.choice(answers)[0]
                    reply = Reply(code, max_age=chance.choice((None, 0xFFFFFFFF)))  # type: ignore[arg-type]
                    world.send(address, sender, piggybacked(datagram[2:6], reply))
        else:
            keys = self._ring() if what == "other keys" else self._keys
            realm = "other realm" if what == "another realm" else REALM
            rules = RULES + WIDE
            if what == "in a circle":
                rules = CIRCLE % (AWAY if address == HOME else HOME)
            other = Host(world, self._invariants, address, keys, realm, rules)
            self._others.append(other)
            receive = other.receive
        world.endpoints[address] = receive
        world.after(chance.randint(1, 300) * SECOND, partial(self._reinstate, address))

    def _reinstate(self, address: Address) -> None:
        self._world.endpoints[address] = next(host for host in self._hosts if host.address == address).receive

    def _one(self) -> Host:
        return self._world.random.choice(self._hosts)

    # and its end

    def _calm(self) -> None:
        world = self._world
        world.note("all is well now")
        self._commits = FAST
        world.calm()
        for host in self._hosts:
            host.fault, host.crashes, host.crash_at, host.commits, host.wakes = "", 0.0, "", self._commits, WAKE
            world.endpoints[host.address] = host.receive
        for board in self._boards:
            board.flash.fails = board.roams = board.exhaustion = board.power_cuts = board.declines = 0.0

    def _settle(self) -> None:
        """Let every board register; an application asks again where the client has come to an end."""
        world = self._world
        deadline = world.now + PATIENCE
        while world.now < deadline and not self._all_registered():
            world.run(world.now + 10 * MINUTE, self._all_registered)
            if not self._all_registered():
                for board in self._boards:
                    if board.state in (client.IDLE, client.REFUSED):
                        board.restart()
        if not self._all_registered():
            world.fail(LAST_WORD, str({board.name: board.state for board in self._boards}))
        for board in self._boards:
            self._invariants.stepped(board, board.state)
        world.run(world.now)

    def _all_registered(self) -> bool:
        return all(
            board.state == client.REGISTERED or (board.device in self._home.revoked and board.registration is not None)
            for board in self._boards
        )

    def _close(self) -> None:
        for host in (*self._hosts, *self._others):
            host.close()


@contextmanager
def _surroundings(seed: int, world: World) -> Iterator[None]:
    """Give the boards the world's clock, aiocoap its chance, and the server a log that notes every defect."""

    def log(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if event["event"] not in EXPECTED:
            world.fail(NO_DEFECT, f"{event['event']} {event.get('error')} {event.get('place')}")
        raise structlog.DropEvent

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.fail(NO_DEFECT, record.msg)

    handler, logger = Handler(), logging.getLogger(LOGGER)
    state, configuration = random.getstate(), structlog.get_config()
    random.seed(f"aiocoap {seed}")
    structlog.configure(processors=[log], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    logger.addHandler(handler)
    try:
        with mock.patch.object(udp, "time", ticks_of(world)):
            yield
    finally:
        logger.removeHandler(handler)
        structlog.configure(**configuration)
        random.setstate(state)
