"""Boards and servers in trouble that a seed repeats, and what must hold whatever happens to them.

While the trouble lasts, the invariants are checked after each step. When it is over, every board registers, its server
holds that session for it, and no server holds more than one.
"""

import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import structlog

from dpe_device import udp
from dpe_server.coap.aiocoap_endpoint import LOGGER
from dpe_server.keys.at_rest import AtRest
from dpe_tools.simulation import invariants, mishaps
from dpe_tools.simulation.board import ticks_of
from dpe_tools.simulation.events import DefectSeen, PatienceOver
from dpe_tools.simulation.machine import Condition
from dpe_tools.simulation.scene import Scene, new_keys
from dpe_tools.simulation.siege import Besieged
from dpe_tools.simulation.trouble import Trouble
from dpe_tools.simulation.world import HOUR, MINUTE, World

PATIENCE = 8 * HOUR
"""Milliseconds in which every board must register once the trouble is over."""
EXPECTED = ("store not writable", "store writable again")
"""What a server logs that is not a defect."""


class Simulation:
    """One run. ``trace`` is told what happens; ``trouble`` is what goes wrong, by default what the seed draws."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None, trouble: Trouble | None = None) -> None:
        self._seed = seed
        self._trouble = trouble = Trouble.draw(seed) if trouble is None else replace(trouble)
        self._world = world = World(seed, trouble.faults, trace)
        world.note(str(trouble))
        kinds = {
            "sqlite": trouble.sqlite,
            "workers": trouble.workers > 1,
            "aiocoap alone": not trouble.lane,
            "reports": trouble.reports > 0,
            "clusters": trouble.cluster,
        }
        world.counts.update({kind: 1 for kind, is_so in kinds.items() if is_so})
        self._keys = new_keys(world)
        invariants.watch(world, AtRest(self._keys.at_rest, world.random_bytes))

    @property
    def counts(self) -> Counter[str]:
        """How often each thing happened."""
        return self._world.counts

    def run(self) -> None:
        """Let the trouble run its course, then see that all is well; Violation if it is not."""
        with ExitStack() as stack:
            stack.enter_context(_surroundings(self._seed, self._world))
            folder = None
            if self._trouble.sqlite:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpe-simulation-")))
            self._scene = scene = Scene(self._world, self._trouble, self._keys, folder)
            stack.callback(scene.close)
            mishaps.plan(scene)
            for board in scene.boards:
                board.boot()
            self._world.run(self._trouble.lasts)
            self._calm()
            for _ in range(2):  # once more after a reboot of all
                self._settle()
                for board in scene.boards:
                    board.off(0)
            self._settle()
            self._besiege()

    def _calm(self) -> None:
        """Let the trouble be over."""
        world = self._world
        world.note("all is well now")
        world.calm()
        self._trouble.end()
        self._scene.copier.count = 0
        for host in self._scene.hosts:
            host.condition = Condition()
            host.database.calm()
            world.endpoints[host.address] = host.receive

    def _besiege(self) -> None:
        """Let all boards register anew, and report, under siege."""
        siege = self._trouble.siege
        if siege is not None:
            besieged = Besieged(self._scene, siege)
            for _ in range(siege.times):
                besieged.begin()
                self._settle()
                for _ in range(siege.reports):
                    besieged.report()
                    self._settle()

    def _settle(self) -> None:
        """Let every board register. Where the client has given up, its application asks again."""
        world, boards = self._world, self._scene.boards
        deadline = world.now + PATIENCE
        while world.now < deadline and not self._all_registered():
            world.run(world.now + 10 * MINUTE, self._all_registered)
            if not self._all_registered():
                for board in boards:
                    if board.has_given_up:
                        board.restart()
        if not self._all_registered():
            world.emit(PatienceOver(tuple((board.name, board.state) for board in boards)))
        for host in self._scene.hosts:
            host.tell()
        world.run(world.now)

    def _all_registered(self) -> bool:
        revoked = self._scene.home.revoked
        return all(
            board.is_settled or (board.device in revoked and board.registration is not None)
            for board in self._scene.boards
        )


@contextmanager
def _surroundings(seed: int, world: World) -> Iterator[None]:
    """Give the boards the world's clock, aiocoap its chance, and the server a log that notes every defect."""

    def log(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if event["event"] not in EXPECTED:
            world.emit(DefectSeen(f"{event['event']} {event.get('error')} {event.get('place')}"))
        raise structlog.DropEvent

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.emit(DefectSeen(record.msg))

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
