"""The end of a run: boards register anew on a good network, besieged by those who can send, but stop nothing.

If they report, they do that too.
"""

from dpe_tools.simulation.eavesdroppers import Injector
from dpe_tools.simulation.events import Address, SiegeBegan, SiegeInterrupted
from dpe_tools.simulation.scene import Scene
from dpe_tools.simulation.trouble import ALL_REPORTS, ERASED, MANY, OLDER, SAME, WIDE, Siege
from dpe_tools.simulation.world import MINUTE

MUTE = 12 * MINUTE
"""Milliseconds in which a board without an answer sends five REQUESTs, all with the same handle."""

COPYING = 2 * MINUTE
"""Milliseconds in which requests are copied: enough for a board to lose three answers, and to register anew."""


class Besieged:
    """A scene in which all is well, and the siege laid to it."""

    def __init__(self, scene: Scene, siege: Siege) -> None:
        self._scene = scene
        self._siege = siege
        self._kind = siege.kind
        scene.trouble.total = MANY  # a full table forgets by age, whatever the handles
        scene.replayer.count = 0
        for host in scene.hosts:
            host.reload(
                WIDE + (ALL_REPORTS if scene.trouble.reports else "")
            )  # replayed REQUESTs can reserve all of four Client IDs
            host.restart()
        scene.world.note(str(siege))
        if siege.kind == ERASED and any(host.clock_is_behind for host in scene.hosts):
            self._kind = OLDER  # the next handle of an erased device is then no fresher than what is recorded
        self._servers = [host.address for host in scene.hosts]
        if siege.injects:
            scene.world.on_heard.append(Injector(scene.world, self._servers).hear)

    def begin(self) -> None:
        """Let all boards register anew."""
        world, boards = self._scene.world, self._scene.boards
        world.run(world.now + 2 * MINUTE)  # the servers are back, and a new minute of each device begins
        if self._kind == SAME:
            world.emit(SiegeInterrupted())
            self._scene.replayer.count = 0
            world.on_sent.append(self._mute)
            for board in boards:
                board.restart()
            world.run(world.now + MUTE)
            world.on_sent.clear()
        self._scene.replayer.count, self._scene.replayer.reacts = self._siege.recordings, self._siege.reacts
        world.emit(SiegeBegan())
        for board in boards:
            if self._kind == ERASED and not board.weak:  # the counters of a weak one must not begin again
                board.erase()
            else:
                board.restart()  # without effect while it is trying

    def report(self) -> None:
        """Let all boards measure something else, and have their requests copied for a while."""
        scene, copier = self._scene, self._scene.copier
        copier.count, copier.first = self._siege.copies, self._siege.first
        for board in scene.boards:
            board.change()
        if copier.count:
            scene.world.run(scene.world.now + COPYING)
        copier.count = 0

    def _mute(self, source: Address, _: Address, __: bytes) -> bool:
        return source in self._servers
